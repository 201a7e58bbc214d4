/**
 * `deno task story`: tells in plain sentences what happened to an order, one transaction after the other.
 *
 * @module
 */
import * as mini from "zod/mini";
import { ordersPageSchema } from "../../shared/ops/answers.ts";
import { EXIT_DONE, readFlags, runCommand, UsageError, usageOf } from "./command.ts";
import { ApiError, type AskOps, fetchDirectly, opsApi, urlFlag } from "./ops_api.ts";

const FLAGS = { url: urlFlag };
const ENDS =
  `Names one order: its id, the beginning of it, or its correlation id; without one it is the newest order. Ends with 0
when the story was told, 1 when it could not be, 64 for a wrong usage, 78 for a wrong OPS_TOKEN.`;
const usage = usageOf(
  "story",
  "tells what happened to an order, beat by beat",
  { "How:": FLAGS },
  ENDS,
  "01a20441",
);

/** How long an answer may take, in milliseconds. */
const ANSWER_MS = 10_000;

/** Reads the flags; null for `--help`. Errors: `UsageError`. */
export function readStoryFlags(args: readonly string[]) {
  const given = readFlags(args, FLAGS, true);
  if (!given) return null;
  const [search = "", ...more] = given.rest;
  if (more.length > 0) throw new UsageError("One order at a time");
  return { ...given.flags, search };
}

async function run({ search, url: given }: NonNullable<ReturnType<typeof readStoryFlags>>): Promise<number> {
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

/**
 * The id of the one order that `search` names: its id, the beginning of it, or its correlation id; the newest for an empty
 * text.
 *
 * Errors: where there is none, or several; those of `ask`.
 */
export async function findOneOrder(ask: AskOps, search: string): Promise<string> {
  const query = new URLSearchParams({
    limit: search === "" ? "1" : "2",
    ...(search === "" ? {} : { search }),
  });
  const { orders } = await ask(mini.pick(ordersPageSchema, { orders: true }), `/ops/orders?${query}`);
  const [found, other] = orders;
  if (!found) {
    throw new Error(
      search === "" ? "There is no order yet." : `No order is named ${JSON.stringify(search)}.`,
    );
  }
  if (other) {
    throw new Error(
      `Several orders are named ${JSON.stringify(search)}, such as ${found.id} and ${other.id}.`,
    );
  }
  return found.id;
}

if (import.meta.main) {
  Deno.exit(await runCommand({ task: "story", usage, read: readStoryFlags, run }, Deno.args));
}
