/**
 * `deno task redrive`: sends dead letters to their consumers again, or discards them.
 *
 * @module
 */
import * as mini from "zod/mini";
import { z } from "zod";
import {
  ASKING,
  EXIT_DONE,
  EXIT_FOUND,
  EXIT_NOT_DONE,
  flag,
  isWanted,
  listed,
  onOff,
  readFlags,
  refuseUnasked,
  runCommand,
  startProgress,
  teller,
  text,
  UsageError,
  usageOf,
} from "./command.ts";
import { counted } from "../../shared/words.ts";
import { idSchema } from "../../shared/events.ts";
import {
  deadLetterSchema,
  deadLettersPageSchema,
  discardedSchema,
  redrivenSchema,
} from "../../shared/ops/answers.ts";
import { type SystemStatus, systemStatusSchema } from "../../shared/ops/live.ts";
import { API } from "../dev/processes.ts";
import { ApiError, type AskOps, opsApi, urlFlag } from "./ops_api.ts";
import { stopOnSignals } from "../../shared/process/stop.ts";

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** An age such as `15m`, in milliseconds. */
const age = z.string()
  .regex(/^\d{1,5}[smhd]$/, { error: "takes an age such as 90s, 15m, 2h or 7d" })
  .transform((given) => parseInt(given) * (UNIT_MS[given.slice(-1)] ?? NaN));

const WHICH = {
  consumer: flag(text.optional(), "only of this consumer", "<name>"),
  reason: flag(text.optional(), 'only with this reason, such as "retries exhausted"', "<words>"),
  type: flag(text.optional(), "only with an event of this type", "order.created"),
  order: flag(idSchema.optional(), "only about this order", "<uuid>"),
  "older-than": flag(
    age.optional(),
    "only those given up on longer ago than that: 90s, 15m, 2h, 7d",
    "<age>",
  ),
  "newer-than": flag(age.optional(), "only those given up on since then", "<age>"),
  all: flag(onOff, "all of them"),
};
const HOW = {
  discard: flag(onOff, "close them unprocessed, permanently; takes --because"),
  because: flag(text.optional(), "why they are discarded; everybody can read it on the letter", "<words>"),
  ...ASKING,
  url: urlFlag,
};
const usage = usageOf(
  "redrive",
  "sends dead letters to their consumers again, or discards them",
  { "Which of those that are open: their ids, or at least one of": WHICH, "How:": HOW },
  `Ends with 0 when all were dealt with, 1 when it was cancelled or has failed, 2 when some are left (the broker refused
them, or there are more than one run takes), 64 for a wrong usage, 78 for a wrong OPS_TOKEN.`,
  "--consumer=payments.order-created.v1 --newer-than=2h --dry-run",
);

/** Reads the flags; null for `--help`. Errors: `UsageError`, which names the flag at fault. */
export function readRedriveFlags(args: readonly string[]) {
  const given = readFlags(args, { ...WHICH, ...HOW }, true);
  if (!given) return null;
  const { discard, because = null, all, consumer, reason, type, order, ...how } = given.flags;
  if (discard && because === null && !how["dry-run"]) throw new UsageError("--discard takes --because=<why>");
  if (!discard && because !== null) throw new UsageError("--because is for --discard");
  const filter = present({ consumer, reason, type, orderId: order });
  const ages = present({ from: how["newer-than"], to: how["older-than"] });
  if ([given.rest.length > 0, all, filter.length + ages.length > 0].filter(Boolean).length !== 1) {
    throw new UsageError("Say which dead letters: ids, or at least one filter, or --all; not two of these");
  }
  const ids = given.rest.map((word) => {
    const { data } = idSchema.safeParse(word);
    if (data === undefined) throw new UsageError(`${JSON.stringify(word)} is no id of a dead letter`);
    return data;
  });
  refuseUnasked(how);
  return { ...how, ids, filter, ages, because: discard ? because ?? "" : null };
}
/** The names and values of those that are given. */
function present<T>(values: Readonly<Record<string, T | undefined>>): [name: string, value: T][] {
  return Object.entries(values).flatMap(([name, value]) => value === undefined ? [] : [[name, value]]);
}

type RedriveOptions = NonNullable<ReturnType<typeof readRedriveFlags>>;

// What may be long is left out: one run may have thousands of letters.
const { body: _body, detail: _detail, ...fields } = deadLetterSchema.shape;
const letterSchema = mini.object(fields);
type Letter = mini.infer<typeof letterSchema>;
const pageSchema = mini.extend(deadLettersPageSchema, { deadLetters: mini.array(letterSchema) });

const ROOT = "/ops/dead-letters";
/** Letters in a page, and ids in one request: the most that the API takes. */
const PAGE_LETTERS = 100;
/** Letters that one run takes at most; more are for the next one. */
const MAX_TAKEN = 10_000;

/** The open letter with the id. Errors: as the API's, with the id; also where the letter is closed. */
async function findLetter(ask: AskOps, id: string): Promise<Letter> {
  const letter = await ask(letterSchema, `${ROOT}/${id}`).catch((error) => {
    throw error instanceof ApiError ? new ApiError(error.status, `${id}: ${error.message}`) : error;
  });
  if (letter.state === "OPEN") return letter;
  throw new ApiError(null, `${id} is closed: ${letter.state}, ${letter.resolution}. Nothing was done.`);
}

/**
 * The database's time, in milliseconds: a letter's is by that clock, and this machine's may be wrong. It is the API's, less
 * what that is ahead.
 */
export function databaseTime({ at, figures }: SystemStatus): number {
  const api = figures?.processes.find(({ name }) => name === API.name);
  return Date.parse(at) - (api?.clockAheadMs ?? 0);
}

/** The open letters that are meant, oldest first, as they are to be processed; `more` where one run does not take all. */
async function findLetters(ask: AskOps, { ids, filter, ages }: RedriveOptions) {
  const letters: Letter[] = [];
  for (const id of new Set(ids)) letters.push(await findLetter(ask, id));
  if (ids.length > 0) return { letters: letters.sort((a, b) => a.id < b.id ? -1 : 1), more: false };
  const nowMs = ages.length > 0 ? databaseTime(await ask(systemStatusSchema, "/ops/status")) : 0;
  const bounds = ages.map(([name, ms]) => [name, new Date(nowMs - ms).toISOString()]);
  let cursor: string | null = null;
  do {
    const rest: string[][] = cursor === null ? [] : [["cursor", cursor]];
    const query = new URLSearchParams([
      ...filter,
      ...bounds,
      ["state", "OPEN"],
      ["limit", `${PAGE_LETTERS}`],
      ...rest,
    ]);
    const page: mini.infer<typeof pageSchema> = await ask(pageSchema, `${ROOT}?${query}`);
    letters.push(...page.deadLetters);
    cursor = page.nextCursor;
  } while (cursor !== null && letters.length < MAX_TAKEN);
  return { letters: letters.reverse(), more: cursor !== null };
}

/** What became of a batch; the API names what there was to do. */
const batchSchema = mini.partial(mini.object({ ...redrivenSchema.shape, ...discardedSchema.shape }));

/**
 * Redrives or discards the letters, as many at once as the API takes; a Ctrl-C ends it after the current batch.
 *
 * Errors: `ApiError`, which says how far it got.
 */
async function dealWith(ask: AskOps, letters: readonly Letter[], because: string | null) {
  using stop = stopOnSignals(null);
  using progress = startProgress("dead letters", letters.length);
  const [path, what] = because === null ? [`${ROOT}/redrive`, {}] : [`${ROOT}/discard`, { because }];
  const sum = {
    redriven: 0,
    alreadyProcessed: 0,
    discarded: 0,
    refused: [] as { id: string; error: string }[],
  };
  let at = 0;
  for (; at < letters.length && !stop.signal.aborted; at = Math.min(at + PAGE_LETTERS, letters.length)) {
    const ids = letters.slice(at, at + PAGE_LETTERS).map(({ id }) => id);
    const batch = await ask(batchSchema, path, "POST", { ids, ...what }).catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      throw new ApiError(error.status, `After ${at} of ${letters.length} dead letters: ${error.message}`);
    });
    sum.redriven += batch.redriven ?? 0;
    sum.alreadyProcessed += batch.alreadyProcessed ?? 0;
    sum.discarded += batch.discarded ?? 0;
    sum.refused.push(...batch.refused ?? []);
    progress.at(at + ids.length);
  }
  // Somebody else has dealt with the others, or was dealing with them, in the same moment.
  const gone = at - sum.redriven - sum.alreadyProcessed - sum.discarded - sum.refused.length;
  return { ...sum, gone, untouched: letters.length - at };
}

/** The letters that are meant: their count, and the first of them in columns. */
function showLetters({ letters, more }: Awaited<ReturnType<typeof findLetters>>): string[] {
  return [
    `${counted(letters.length, "dead letter")}, oldest first:`,
    ...listed(letters, letters.length, [
      ({ id }) => id,
      ({ lastFailedAt }) => lastFailedAt,
      ({ consumer }) => consumer,
      ({ eventType }) => eventType ?? "no event",
      ({ reason, orderId }) => orderId ? `${reason}, order ${orderId}` : reason,
    ]),
    ...more ? [`There are more: these are the newest ${letters.length}. Run it again for the rest.`] : [],
  ];
}

/** What came of them, a line for each kind of end. */
export function showOutcome(outcome: Awaited<ReturnType<typeof dealWith>>): string[] {
  const { redriven, alreadyProcessed, discarded, gone, refused, untouched } = outcome;
  const kinds: [number, string][] = [
    [redriven, "sent to their consumers again"],
    [discarded, "discarded"],
    [alreadyProcessed, "closed unsent: their consumers have processed the event meanwhile"],
    [gone, "dealt with by somebody else meanwhile"],
    [refused.length, "left open: the broker did not take them"],
    [untouched, "left open: it was cancelled before"],
  ];
  return [
    ...kinds.filter(([count]) => count > 0).map(([count, what]) =>
      `${counted(count, "dead letter")} ${what}.`
    ),
    ...listed(refused, refused.length, [({ id, error }) => `${id}: ${error}`]),
  ];
}

/** How long the API may take to answer, in milliseconds: the broker has five seconds for a batch. */
const ANSWER_MS = 15_000;

async function run(options: RedriveOptions): Promise<number> {
  const { url, because, "dry-run": dryRun, yes, json } = options;
  const { ask } = opsApi(url, ANSWER_MS);
  const tell = teller(json);
  const found = await findLetters(ask, options);
  const about = { action: because === null ? "redrive" : "discard", dryRun, ...found };
  const isEmpty = found.letters.length === 0;
  tell(isEmpty ? "No open dead letter matches." : showLetters(found).join("\n"));
  if (dryRun || isEmpty) {
    tell("Nothing has been done.", { ...about, outcome: null });
    return EXIT_DONE;
  }
  const question = because === null ? "Send them to their consumers again?" : "Discard them permanently?";
  if (!isWanted(yes, question)) return EXIT_NOT_DONE;
  const outcome = await dealWith(ask, found.letters, because);
  tell(showOutcome(outcome).join("\n"), { ...about, outcome });
  if (outcome.untouched > 0) return EXIT_NOT_DONE;
  return found.more || outcome.refused.length > 0 ? EXIT_FOUND : EXIT_DONE;
}

if (import.meta.main) {
  Deno.exit(await runCommand({ task: "redrive", usage, read: readRedriveFlags, run }, Deno.args));
}
