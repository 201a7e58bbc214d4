/**
 * `deno task redrive`: sends dead letters to their consumers again, or discards them.
 *
 * @module
 */
import * as mini from "zod/mini";
import { z } from "zod";
import {
  apiUrl,
  EXIT_DONE,
  EXIT_FOUND,
  EXIT_NOT_DONE,
  onOff,
  readFlags,
  runCommand,
  startProgress,
  text,
  UsageError,
} from "./command.ts";
import { idSchema } from "../../shared/events.ts";
import {
  type DeadLetterJson,
  deadLetterSchema,
  type DeadLettersPage,
  deadLettersPageSchema,
  discardedSchema,
  type RedrivenJson,
  redrivenSchema,
} from "../../shared/ops/answers.ts";
import { ApiError, type AskOps, opsApi } from "./ops_api.ts";
import { readConfig } from "../../shared/process/config.ts";
import { stopOnSignals } from "../../shared/process/stop.ts";

/** What the command prints with `--help`. */
export const USAGE = `deno task redrive: sends dead letters to their consumers again, or discards them

Which of those that are open: their ids, or at least one of
  --consumer=<name>            only of this consumer
  --reason=<words>             only with this reason, such as "retries exhausted"
  --type=order.created         only with an event of this type
  --order=<uuid>               only about this order
  --older-than=<age>           only those given up on longer ago than that: 90s, 15m, 2h, 7d
  --newer-than=<age>           only those given up on since then
  --all                        all of them

How:
  --dry-run                    show them, do nothing
  --discard                    close them unprocessed, for good; takes --because
  --because=<words>            why they are discarded; everybody can read it on the letter
  --yes                        do not ask before
  --url=http://127.0.0.1:8000  where the API is; OPS_TOKEN is sent to it where that is set
  --json                       print what came of it as JSON; progress goes to standard error
  --help                       print this

Ends with 0 when all were dealt with, 1 when it was cancelled or has failed, 2 when some are left (the broker refused
them, or there are more than one run takes), 64 for a wrong usage, 78 for a wrong OPS_TOKEN.

Example: deno task redrive --consumer=payments.order-created.v1 --newer-than=2h --dry-run`;

/** What the flags ask for. */
export interface RedriveOptions {
  /** The letters with these ids, or those that match a filter. */
  readonly which: { readonly ids: readonly string[] } | { readonly filter: LetterFilter };
  /** Why they are discarded; null where they are to be redriven. */
  readonly because: string | null;
  /** Whether to show them only. */
  readonly dryRun: boolean;
  /** Whether to begin without asking. */
  readonly yes: boolean;
  /** Where the API is, without a slash at the end. */
  readonly url: string;
  /** Whether to print JSON. */
  readonly json: boolean;
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** An age such as `15m`, in milliseconds. */
const age: z.ZodType<number> = z.string()
  .regex(/^\d{1,5}[smhd]$/, { error: "takes an age such as 90s, 15m, 2h or 7d" })
  .transform((given) => Number(given.slice(0, -1)) * (UNIT_MS[given.slice(-1)] ?? NaN));

const FLAGS = {
  consumer: text.optional(),
  reason: text.optional(),
  type: text.optional(),
  order: idSchema.optional(),
  "older-than": age.optional(),
  "newer-than": age.optional(),
  all: onOff,
  "dry-run": onOff,
  discard: onOff,
  because: text.optional(),
  yes: onOff,
  url: apiUrl,
  json: onOff,
};

/**
 * Reads the flags; null for `--help`. Ages count back from `nowMs`.
 *
 * Errors: `UsageError`, which names the flag at fault.
 */
export function readRedriveFlags(args: readonly string[], nowMs: number): RedriveOptions | null {
  const given = readFlags(args, FLAGS, true);
  if (!given) return null;
  const { discard, because = null, all, "dry-run": dryRun, yes, url, json, ...filter } = given.flags;
  if (discard && because === null && !dryRun) throw new UsageError("--discard takes --because=<why>");
  if (!discard && because !== null) throw new UsageError("--because is for --discard");
  const { consumer, reason, type, order: orderId, "older-than": olderMs, "newer-than": newerMs } = filter;
  const ago = (ms: number | undefined) => ms === undefined ? undefined : new Date(nowMs - ms).toISOString();
  const wanted = { consumer, reason, type, orderId, from: ago(newerMs), to: ago(olderMs) };
  const ways = [
    given.rest.length > 0,
    all,
    Object.values(wanted).some((value) => value !== undefined),
  ].filter(Boolean);
  if (ways.length !== 1) {
    throw new UsageError("Say which dead letters: ids, or at least one filter, or --all; not two of these");
  }
  const which = given.rest.length > 0 ? { ids: given.rest.map(idOf) } : { filter: wanted };
  return { which, because: discard ? because ?? "" : null, dryRun, yes, url, json };
}

function idOf(given: string): string {
  const id = idSchema.safeParse(given);
  if (id.success) return id.data;
  throw new UsageError(`${JSON.stringify(given)} is no id of a dead letter`);
}

/** A dead letter, as far as the command line tells of it. */
export type ToldLetter = Pick<
  DeadLetterJson,
  "id" | "consumer" | "eventType" | "orderId" | "reason" | "lastFailedAt" | "state" | "resolution"
>;

/** Which open letters: those that match all that is given. Times are ISO 8601 with an offset. */
export interface LetterFilter {
  /** Only letters of this consumer. */
  readonly consumer?: string | undefined;
  /** Only letters with this reason. */
  readonly reason?: string | undefined;
  /** Only letters with an event of this type. */
  readonly type?: string | undefined;
  /** Only letters about this order. */
  readonly orderId?: string | undefined;
  /** Only letters that were last given up on at this time or later. */
  readonly from?: string | undefined;
  /** Only letters that were last given up on before this time. */
  readonly to?: string | undefined;
}

/** A page of letters, newest first. */
export interface LetterPage extends Pick<DeadLettersPage, "nextCursor"> {
  /** The letters. */
  readonly deadLetters: readonly ToldLetter[];
}

/** Letters in a page, and ids in one request: the most that the API takes. */
export const PAGE_LETTERS = 100;

const { id, consumer, eventType, orderId, reason, lastFailedAt, state, resolution } = deadLetterSchema.shape;
const letter = mini.object({ id, consumer, eventType, orderId, reason, lastFailedAt, state, resolution });
const page = mini.extend(deadLettersPageSchema, { deadLetters: mini.array(letter) });

/** The routes. Each rejects as {@linkcode AskOps} does. */
export interface LettersApi {
  /** A page of open letters; `cursor` is the `nextCursor` of the one before. */
  list(filter: LetterFilter, cursor: string | null): Promise<LetterPage>;
  /** One letter, whatever its state. */
  find(id: string): Promise<ToldLetter>;
  /** Sends up to {@linkcode PAGE_LETTERS} open letters to their consumers again. */
  redrive(ids: readonly string[]): Promise<RedrivenJson>;
  /** Closes up to {@linkcode PAGE_LETTERS} open letters; answers with how many were. */
  discard(ids: readonly string[], because: string): Promise<number>;
}

/** The routes, asked for through `ask`. */
export function lettersApi(ask: AskOps): LettersApi {
  const root = "/ops/dead-letters";
  return {
    list(filter, cursor) {
      const given = { ...filter, cursor, state: "OPEN", limit: String(PAGE_LETTERS) };
      const query = Object.entries(given).flatMap(([name, value]) => value ? [[name, value]] : []);
      return ask(page, "GET", `${root}?${new URLSearchParams(query)}`);
    },
    find: (id) => ask(letter, "GET", `${root}/${id}`),
    redrive: (ids) => ask(redrivenSchema, "POST", `${root}/redrive`, { ids }),
    discard: async (ids, because) =>
      (await ask(discardedSchema, "POST", `${root}/discard`, { ids, because })).discarded,
  };
}

/** Letters, and refusals, that are shown. */
const SHOWN = 10;

/** `1 dead letter`, `2 dead letters`. */
export function countOf(letters: number): string {
  return `${letters} ${letters === 1 ? "dead letter" : "dead letters"}`;
}

/** The letters that are meant: their count, and the first of them in columns. */
export function showLetters({ letters, more }: FoundLetters): string[] {
  const columns = letters.slice(0, SHOWN).map(cellsOf);
  const widths = [0, 1, 2, 3, 4].map((i) => Math.max(...columns.map((row) => row[i]?.length ?? 0)));
  const rows = columns.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")}`);
  const rest = letters.length > rows.length ? [`  and ${letters.length - rows.length} more`] : [];
  const limit = more
    ? [`There are more: these are the newest ${letters.length}. Run it again for the rest.`]
    : [];
  return [
    `${countOf(letters.length)}, oldest first:`,
    ...rows.map((row) => row.trimEnd()),
    ...rest,
    ...limit,
  ];
}

function cellsOf({ id, lastFailedAt, consumer, eventType, reason, orderId }: ToldLetter): string[] {
  return [
    id,
    lastFailedAt,
    consumer,
    eventType ?? "no event",
    orderId ? `${reason}, order ${orderId}` : reason,
  ];
}

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
  const reasons = refused.slice(0, SHOWN).map(({ id, error }) => `  ${id}: ${error}`);
  const more = refused.length > SHOWN ? [`  and ${refused.length - SHOWN} more`] : [];
  const lines = kinds.filter(([count]) => count > 0).map(([count, what]) => `${countOf(count)} ${what}.`);
  return [...lines, ...reasons, ...more];
}

/** Letters that one run takes at most; more are for the next one. */
const MAX_TAKEN = 10_000;

/** The letters that are meant. */
export interface FoundLetters {
  /** The letters, oldest first: what happened first is processed first. */
  readonly letters: readonly ToldLetter[];
  /** Whether there are more than one run takes. */
  readonly more: boolean;
}

/**
 * Finds the open letters that are meant.
 *
 * Errors: as the API's; for an id, also where that letter is closed.
 */
export async function findLetters(api: LettersApi, which: RedriveOptions["which"]): Promise<FoundLetters> {
  if ("ids" in which) return { letters: await byIds(api, which.ids), more: false };
  const letters: ToldLetter[] = [];
  let cursor: string | null = null;
  do {
    const page = await api.list(which.filter, cursor);
    letters.push(...page.deadLetters);
    cursor = page.nextCursor;
  } while (cursor !== null && letters.length < MAX_TAKEN);
  return { letters: letters.reverse(), more: cursor !== null };
}

async function byIds(api: LettersApi, ids: readonly string[]): Promise<ToldLetter[]> {
  const letters: ToldLetter[] = [];
  for (const id of new Set(ids)) {
    const letter = await api.find(id).catch((error) => {
      throw error instanceof ApiError ? new ApiError(error.status, `${id}: ${error.message}`) : error;
    });
    if (letter.state !== "OPEN") {
      throw new ApiError(null, `${id} is closed: ${letter.state}, ${letter.resolution}. Nothing was done.`);
    }
    letters.push(letter);
  }
  return letters.sort((a, b) => a.id < b.id ? -1 : 1);
}

/** What came of dealing with letters. */
export interface Outcome {
  /** Letters that are on their way to their consumer again. */
  readonly redriven: number;
  /** Letters whose event their consumer had processed meanwhile: closed without being sent. */
  readonly alreadyProcessed: number;
  /** Letters that were closed unprocessed. */
  readonly discarded: number;
  /** Letters that somebody else had dealt with, or was dealing with, in the same moment. */
  readonly gone: number;
  /** Letters that the broker did not take; they stay open. */
  readonly refused: readonly { readonly id: string; readonly error: string }[];
  /** Letters that were not reached, because it was cancelled. */
  readonly untouched: number;
}

/** How letters are dealt with. */
export interface Dealing {
  /** Why they are discarded; null where they are redriven. */
  readonly because: string | null;
  /** Told after each batch how many letters have been dealt with. */
  readonly onProgress: (letters: number) => void;
  /** Aborted to end it after the batch in hand. */
  readonly stop: AbortSignal;
}

/**
 * Redrives or discards the letters, as many at once as the API takes.
 *
 * Errors: `ApiError`, which says how far it got.
 */
export async function dealWith(
  api: LettersApi,
  letters: readonly ToldLetter[],
  { because, onProgress, stop }: Dealing,
): Promise<Outcome> {
  let sum: Outcome = { redriven: 0, alreadyProcessed: 0, discarded: 0, gone: 0, refused: [], untouched: 0 };
  for (let at = 0; at < letters.length; at += PAGE_LETTERS) {
    if (stop.aborted) return { ...sum, untouched: letters.length - at };
    const ids = letters.slice(at, at + PAGE_LETTERS).map(({ id }) => id);
    try {
      sum = added(
        sum,
        ids.length,
        because === null ? await api.redrive(ids) : await api.discard(ids, because),
      );
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      throw new ApiError(error.status, `After ${at} of ${letters.length} dead letters: ${error.message}`);
    }
    onProgress(at + ids.length);
  }
  return sum;
}

function added(
  sum: Outcome,
  asked: number,
  told: Awaited<ReturnType<LettersApi["redrive"]>> | number,
): Outcome {
  const { redriven, alreadyProcessed, refused } = typeof told === "number"
    ? { redriven: 0, alreadyProcessed: 0, refused: [] }
    : told;
  const discarded = typeof told === "number" ? told : 0;
  return {
    redriven: sum.redriven + redriven,
    alreadyProcessed: sum.alreadyProcessed + alreadyProcessed,
    discarded: sum.discarded + discarded,
    gone: sum.gone + asked - redriven - alreadyProcessed - refused.length - discarded,
    refused: [...sum.refused, ...refused],
    untouched: 0,
  };
}

/** How long the API may take to answer, in milliseconds: the broker has five seconds for a batch. */
const ANSWER_MS = 15_000;

if (import.meta.main) {
  const read = (args: readonly string[]) => readRedriveFlags(args, Date.now());
  Deno.exit(await runCommand({ task: "redrive", usage: USAGE, read, run }, Deno.args));
}

async function run(options: RedriveOptions): Promise<number> {
  const { url, which, because, dryRun, yes, json } = options;
  if (!dryRun && !yes && (json || !Deno.stdin.isTerminal())) {
    throw new UsageError("There is nobody to ask: add --yes, or --dry-run to look only");
  }
  const token = readConfig(["OPS_TOKEN"]).OPS_TOKEN;
  const api = lettersApi(opsApi({ url, token, timeoutMs: ANSWER_MS }));
  const found = await findLetters(api, which);
  const isEmpty = found.letters.length === 0;
  if (!json) {
    (isEmpty ? ["No open dead letter matches."] : showLetters(found)).forEach((line) => console.log(line));
  }
  if (dryRun || isEmpty) {
    tell(options, found, null);
    return EXIT_DONE;
  }
  if (
    !yes && !confirm(because === null ? "Send them to their consumers again?" : "Discard them, for good?")
  ) {
    console.error("Nothing has been done.");
    return EXIT_NOT_DONE;
  }
  const outcome = await deal(api, found, because);
  tell(options, found, outcome);
  if (outcome.untouched > 0) return EXIT_NOT_DONE;
  return found.more || outcome.refused.length > 0 ? EXIT_FOUND : EXIT_DONE;
}

/** Deals with the letters; a Ctrl-C ends it behind the batch in hand. */
async function deal(api: LettersApi, { letters }: FoundLetters, because: string | null): Promise<Outcome> {
  using stop = stopOnSignals(null);
  using progress = startProgress("dead letters", letters.length);
  progress.at(0);
  return await dealWith(api, letters, { because, onProgress: progress.at, stop: stop.signal });
}

/** Says what came of the letters; null is that nothing was done. */
function tell({ because, dryRun, json }: RedriveOptions, found: FoundLetters, outcome: Outcome | null): void {
  const action = because === null ? "redrive" : "discard";
  if (json) console.log(JSON.stringify({ action, dryRun, ...found, outcome }));
  else (outcome ? showOutcome(outcome) : ["Nothing has been done."]).forEach((line) => console.log(line));
}
