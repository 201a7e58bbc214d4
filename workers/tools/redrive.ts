// `deno task redrive`: sends dead letters to their consumers again, or discards them.

import { z } from "zod";
import {
  ASKING,
  EXIT_DONE,
  EXIT_FOUND,
  EXIT_NOT_DONE,
  flag,
  type FlagValues,
  isWanted,
  listed,
  onOff,
  refuseUnasked,
  startProgress,
  task,
  teller,
  text,
  UsageError,
} from "./command.ts";
import { counted } from "../../shared/words.ts";
import { idSchema } from "../../shared/events.ts";
import {
  deadLetterSchema,
  discardedSchema,
  type PreparedReplay,
  preparedReplaySchema,
  type RedrivenJson,
  redrivenSchema,
  type ReplayEventJson,
  replayEventsPageSchema,
  replaySchema,
} from "../../shared/ops/answers.ts";
import { type SystemStatus, systemStatusSchema } from "../../shared/ops/live.ts";
import { MAX_SET_LETTERS } from "../../shared/ops/replays.ts";
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
  set: flag(idSchema.optional(), "the very letters that an earlier --dry-run has shown", "<set id>"),
};
const HOW = {
  discard: flag(onOff, "close them unprocessed, permanently; takes --because"),
  because: flag(text.optional(), "why they are discarded; everybody can read it on the letter", "<words>"),
  ...ASKING,
  url: urlFlag,
};
export const REDRIVE_FLAGS = { ...WHICH, ...HOW };

/** Makes options of the flags, and of the ids of letters. Errors: `UsageError`, which names the flag at fault. */
export function redriveOptions(
  { discard, because: why, all, set, consumer, reason, type, order, ...how }: FlagValues<
    typeof REDRIVE_FLAGS
  >,
  words: readonly string[],
) {
  const because = why ?? null;
  if (discard && because === null && !how["dry-run"]) throw new UsageError("--discard takes --because=<why>");
  if (!discard && because !== null) throw new UsageError("--because is for --discard");
  const filter = { consumer, reason, type, orderId: order };
  const ages = { from: how["newer-than"], to: how["older-than"] };
  const isFiltered = Object.values({ ...filter, ...ages }).some((value) => value !== undefined);
  if ([words.length > 0, all, set, isFiltered].filter(Boolean).length !== 1) {
    throw new UsageError(
      "Say which dead letters: ids, or at least one filter, or --all, or --set; not two of these",
    );
  }
  const ids = words.map((word) => {
    const { data } = idSchema.safeParse(word);
    if (data === undefined) throw new UsageError(`${JSON.stringify(word)} is no id of a dead letter`);
    return data;
  });
  refuseUnasked(how);
  return { ...how, set, ids, filter, ages, because: discard ? because ?? "" : null };
}

type RedriveOptions = ReturnType<typeof redriveOptions>;

const ROOT = "/ops/dead-letters";
const SETS = "/ops/replays";
/** Letters in a page: the most that the API takes. */
const PAGE_LETTERS = 100;

/** Errors: as the API's, with the id; also where the letter is closed. */
async function checkOpen(ask: AskOps, id: string): Promise<void> {
  const { state, resolution } = await ask(deadLetterSchema, `${ROOT}/${id}`).catch((error) => {
    throw error instanceof ApiError ? new ApiError(error.status, `${id}: ${error.message}`) : error;
  });
  if (state === "OPEN") return;
  throw new ApiError(null, `${id} is closed: ${state}, ${resolution}. Nothing was done.`);
}

/**
 * The database's time, in milliseconds: a letter's is by that clock, and this machine's may be wrong. It is the API's, less
 * what that is ahead.
 */
export function databaseTime({ at, figures }: SystemStatus): number {
  const api = figures?.processes.find(({ name }) => name === API.name);
  return Date.parse(at) - (api?.clockAheadMs ?? 0);
}

/** The frozen set that is meant: that of an earlier dry run, or a new one of the letters that are open now. */
async function freeze(ask: AskOps, { set, ids, filter, ages }: RedriveOptions): Promise<PreparedReplay> {
  if (set !== undefined) {
    const at = `${SETS}/${set}`;
    return { ...await ask(replaySchema, at), ...await ask(replayEventsPageSchema, `${at}/events`) };
  }
  for (const id of ids) await checkOpen(ask, id);
  const { from, to } = ages;
  const isTimed = (from ?? to) !== undefined;
  const nowMs = isTimed ? databaseTime(await ask(systemStatusSchema, "/ops/status")) : 0;
  const timeOf = (age?: number) => age === undefined ? age : new Date(nowMs - age).toISOString();
  const selection = { ...filter, from: timeOf(from), to: timeOf(to), ids: ids.length > 0 ? ids : undefined };
  return await ask(preparedReplaySchema, `${ROOT}/sets`, "POST", selection);
}

/** All letters of the set, for whoever reads the answer with a program. */
async function readLetters(ask: AskOps, { id }: PreparedReplay) {
  const letters: ReplayEventJson[] = [];
  for (let cursor: string | null = "0"; cursor !== null;) {
    const at: string = `${SETS}/${id}/events?limit=${PAGE_LETTERS}&cursor=${cursor}`;
    const { events, nextCursor } = await ask(replayEventsPageSchema, at);
    letters.push(...events);
    cursor = nextCursor;
  }
  return letters.map(({ consumer, eventId, orderId, correlationId, ...letter }) => {
    const { deadLetterId: id, type: eventType, error: reason, occurredAt: lastFailedAt } = letter;
    return { id, consumer, eventId, eventType, orderId, correlationId, reason, lastFailedAt };
  });
}

/** What was done with a set, and how many letters were left alone since it was cancelled. */
type Outcome = Omit<RedrivenJson, "setId" | "left"> & { discarded: number; untouched: number };

const NOTHING = { redriven: 0, alreadyProcessed: 0, discarded: 0, gone: 0, refused: [], untouched: 0 };

/** Discards the letters of the set. */
async function discard(ask: AskOps, setId: string, because: string): Promise<Outcome> {
  const { discarded, gone } = await ask(discardedSchema, `${ROOT}/discard`, "POST", { setId, because });
  return { ...NOTHING, discarded, gone };
}

/**
 * Redrives the letters of the set, as many at once as the API takes; a Ctrl-C ends it after the current batch.
 *
 * Errors: `ApiError`, which says how far it got.
 */
async function redrive(ask: AskOps, { id: setId, total }: PreparedReplay): Promise<Outcome> {
  const sum: Outcome = { ...NOTHING, refused: [] };
  using stop = stopOnSignals(null);
  using progress = startProgress("dead letters", total);
  let left = total;
  while (left > 0 && !stop.signal.aborted) {
    const batch = await ask(redrivenSchema, `${ROOT}/redrive`, "POST", { setId }).catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      const at = total - left;
      const goesOn = ` The relay goes on with the set, unless you POST ${SETS}/${setId}/cancel.`;
      const message = `After ${at} of ${total} dead letters: ${error.message}${at > 0 ? goesOn : ""}`;
      throw new ApiError(error.status, message);
    });
    for (const end of ["redriven", "alreadyProcessed", "gone"] as const) sum[end] += batch[end];
    sum.refused.push(...batch.refused);
    left = batch.left;
    progress.at(total - left);
  }
  if (left > 0) await ask(replaySchema, `${SETS}/${setId}/cancel`, "POST"); // or the relay would go on with it
  return { ...sum, untouched: left };
}

/** The letters that are meant: their count, and the first of them in columns. */
function showLetters({ total, events }: PreparedReplay): string[] {
  return [
    `${counted(total, "dead letter")}, oldest first:`,
    ...listed(events, total, [
      ({ deadLetterId }) => deadLetterId ?? "-",
      ({ occurredAt }) => occurredAt ?? "-",
      ({ consumer }) => consumer,
      ({ type }) => type ?? "no event",
      ({ error, orderId }) => orderId ? `${error}, order ${orderId}` : error ?? "-",
    ]),
    ...isFull(total) ? [`There may be more: these are the oldest ${total}. Run it again for the rest.`] : [],
  ];
}

const isFull = (total: number): boolean => total >= MAX_SET_LETTERS;

/** What came of them, a line for each kind of end. */
export function showOutcome(outcome: Outcome): string[] {
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
  const { ask, advise } = opsApi(url, ANSWER_MS);
  const tell = teller(json);
  const set = await freeze(ask, options);
  const { id: setId, total } = set;
  const action = because === null ? "redrive" : "discard";
  const letters = json ? await readLetters(ask, set) : [];
  const about = { action, dryRun, setId, letters, more: isFull(total) };
  tell(total === 0 ? "No open dead letter matches." : showLetters(set).join("\n"));
  if (dryRun || total === 0) {
    const next = ` Do it with exactly these: ${advise(`redrive --set=${setId}`)}`;
    tell(`Nothing has been done.${total === 0 ? "" : next}`, { ...about, outcome: null });
    return EXIT_DONE;
  }
  const question = because === null ? "Send them to their consumers again?" : "Discard them permanently?";
  if (!isWanted(yes, question)) {
    await ask(replaySchema, `${SETS}/${setId}/cancel`, "POST");
    return EXIT_NOT_DONE;
  }
  const outcome = await (because === null ? redrive(ask, set) : discard(ask, setId, because));
  tell(showOutcome(outcome).join("\n"), { ...about, outcome });
  if (outcome.untouched > 0) return EXIT_NOT_DONE;
  return isFull(total) || outcome.refused.length > 0 ? EXIT_FOUND : EXIT_DONE;
}

if (import.meta.main) {
  await task({
    name: "redrive",
    about: "sends dead letters to their consumers again, or discards them",
    flags: REDRIVE_FLAGS,
    groups: { "Which of those that are open: their ids, or at least one of": WHICH, "How:": HOW },
    takesRest: true,
    ends:
      `Ends with 0 when all were dealt with, 1 when it was cancelled or has failed, 2 when some are left (the broker refused
them, or there are more than one run takes), 64 for a wrong usage, 78 for a wrong OPS_TOKEN.`,
    example: "--consumer=payments.order-created.v1 --newer-than=2h --dry-run",
    run: (flags, words) => run(redriveOptions(flags, words)),
  });
}
