// `deno task story`: tells in plain sentences what happened to an order, one transaction after the other.

import { ordersPageSchema } from "../../shared/ops/answers.ts";
import { EXIT_DONE, type FlagValues, task, UsageError } from "./command.ts";
import { ApiError, type AskOps, fetchDirectly, opsApi, urlFlag } from "./ops_api.ts";

const FLAGS = { url: urlFlag };

/** How long an answer may take, in milliseconds. */
const ANSWER_MS = 10_000;

async function run({ url: given }: FlagValues<typeof FLAGS>, rest: readonly string[]): Promise<number> {
  const search = oneOrder(rest) ?? "";
  const { ask, url } = opsApi(given, ANSWER_MS);
  const id = await findOneOrder(ask, search);
  const init = { signal: AbortSignal.timeout(ANSWER_MS) };
  const { status, text } = await fetchDirectly(`${url}/orders/${id}/timeline?as=story`, init);
  if (status !== 200) {
    throw new ApiError(status, `The API answered ${status} when asked for the story of ${id}.`);
  }
  console.log(text.trimEnd());
  return EXIT_DONE;
}

/** The word that names an order, of those given; undefined where there is none. Errors: `UsageError` for several. */
export function oneOrder([search, ...more]: readonly string[]): string | undefined {
  if (more.length > 0) throw new UsageError("One order at a time");
  return search;
}

/**
 * The id of the one order that `search` names: its id, the beginning of it, or its correlation id; the newest for an empty
 * text.
 *
 * Errors: where there is none, or several; those of `ask`.
 */
export async function findOneOrder(ask: AskOps, search: string): Promise<string> {
  const query = new URLSearchParams(search === "" ? { limit: "1" } : { limit: "2", search });
  const { orders } = await ask(ordersPageSchema, `/ops/orders?${query}`);
  const [found, other] = orders;
  const named = JSON.stringify(search);
  if (!found) throw new Error(search === "" ? "There is no order yet." : `No order is named ${named}.`);
  if (other) throw new Error(`Several orders are named ${named}, such as ${found.id} and ${other.id}.`);
  return found.id;
}

if (import.meta.main) {
  await task({
    name: "story",
    about: "tells what happened to an order, beat by beat",
    flags: FLAGS,
    takesRest: true,
    ends:
      `Names one order: its id, the beginning of it, or its correlation id; without one it is the newest order. Ends with 0
when the story was told, 1 when it could not be, 64 for a wrong usage, 78 for a wrong OPS_TOKEN.`,
    example: "01a20441",
    run,
  });
}
