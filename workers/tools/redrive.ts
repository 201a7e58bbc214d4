/**
 * `deno task redrive`: sends dead letters to their consumers again, or discards them.
 *
 * @module
 */
import * as mini from "zod/mini";
import { z } from "zod";
import {
  apiUrl,
  countOf,
  EXIT_DONE,
  EXIT_FOUND,
  EXIT_NOT_DONE,
  type FlagValues,
  onOff,
  readFlags,
  runCommand,
  startProgress,
  tableLines,
  text,
  UsageError,
} from "./command.ts";
import { idSchema } from "../../shared/events.ts";
import { deadLetterSchema, discardedSchema, redrivenSchema } from "../../shared/ops/answers.ts";
import { ApiError, type AskOps, opsApi } from "./ops_api.ts";
import { stopOnSignals } from "../../shared/process/stop.ts";

const USAGE = `deno task redrive: sends dead letters to their consumers again, or discards them

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
  --discard                    close them unprocessed, permanently; takes --because
  --because=<words>            why they are discarded; everybody can read it on the letter
  --yes                        do not ask before
  --url=http://127.0.0.1:8000  where the API is; OPS_TOKEN is sent to it where that is set
  --json                       print what came of it as JSON; progress goes to standard error
  --help                       print this

Ends with 0 when all were dealt with, 1 when it was cancelled or has failed, 2 when some are left (the broker refused
them, or there are more than one run takes), 64 for a wrong usage, 78 for a wrong OPS_TOKEN.

Example: deno task redrive --consumer=payments.order-created.v1 --newer-than=2h --dry-run`;

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** An age such as `15m`, in milliseconds. */
const age = z.string()
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

/** The letters with these ids, or the parameters of a query for those that match a filter. */
type Which = { readonly ids: readonly string[] } | { readonly filter: string[][] };

interface RedriveOptions extends Pick<FlagValues<typeof FLAGS>, "dry-run" | "yes" | "url" | "json"> {
  readonly which: Which;
  /** Why they are discarded; null where they are to be redriven. */
  readonly because: string | null;
}

/** Reads the flags; null for `--help`. Ages count back from now. Errors: `UsageError`, which names the flag at fault. */
function readRedriveFlags(args: readonly string[]): RedriveOptions | null {
  const given = readFlags(args, FLAGS, true);
  if (!given) return null;
  const { discard, because = null, all, ...flags } = given.flags;
  if (discard && because === null && !flags["dry-run"]) {
    throw new UsageError("--discard takes --because=<why>");
  }
  if (!discard && because !== null) throw new UsageError("--because is for --discard");
  const { consumer, reason, type, order: orderId, "older-than": olderMs, "newer-than": newerMs } = flags;
  const ago = (ms: number | undefined) => ms === undefined ? ms : new Date(Date.now() - ms).toISOString();
  const wanted = { consumer, reason, type, orderId, from: ago(newerMs), to: ago(olderMs) };
  const filter = Object.entries(wanted).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value]]
  );
  const ways = [given.rest.length > 0, all, filter.length > 0].filter(Boolean);
  if (ways.length !== 1) {
    throw new UsageError("Say which dead letters: ids, or at least one filter, or --all; not two of these");
  }
  const which = given.rest.length > 0 ? { ids: given.rest.map(idOf) } : { filter };
  return { ...flags, which, because: discard ? because ?? "" : null };
}

function idOf(given: string): string {
  const id = idSchema.safeParse(given);
  if (id.success) return id.data;
  throw new UsageError(`${JSON.stringify(given)} is no id of a dead letter`);
}

const { id, consumer, eventType, orderId, reason, lastFailedAt, state, resolution } = deadLetterSchema.shape;
/** A dead letter, as far as the command line tells of it: bodies are left out. */
const letterSchema = mini.object({
  id,
  consumer,
  eventType,
  orderId,
  reason,
  lastFailedAt,
  state,
  resolution,
});
const pageSchema = mini.object({
  deadLetters: mini.array(letterSchema),
  nextCursor: mini.nullable(mini.string()),
});
type Letter = mini.infer<typeof letterSchema>;

/** The letters that are meant, oldest first: what happened first is processed first. */
interface FoundLetters {
  readonly letters: readonly Letter[];
  /** Whether there are more than one run takes. */
  readonly more: boolean;
}

const ROOT = "/ops/dead-letters";
/** Letters in a page, and ids in one request: the most that the API takes. */
const PAGE_LETTERS = 100;
/** Letters that one run takes at most; more are for the next one. */
const MAX_TAKEN = 10_000;

/** Finds the open letters that are meant. Errors: as the API's; for an id, also where that letter is closed. */
async function findLetters(ask: AskOps, which: Which): Promise<FoundLetters> {
  if ("ids" in which) return { letters: await findByIds(ask, which.ids), more: false };
  const letters: Letter[] = [];
  let cursor: string | null = null;
  do {
    const rest: string[][] = cursor === null ? [] : [["cursor", cursor]];
    const query = [...which.filter, ["state", "OPEN"], ["limit", `${PAGE_LETTERS}`], ...rest];
    const page: mini.infer<typeof pageSchema> = await ask(
      pageSchema,
      `${ROOT}?${new URLSearchParams(query)}`,
    );
    letters.push(...page.deadLetters);
    cursor = page.nextCursor;
  } while (cursor !== null && letters.length < MAX_TAKEN);
  return { letters: letters.reverse(), more: cursor !== null };
}

async function findByIds(ask: AskOps, ids: readonly string[]): Promise<Letter[]> {
  const letters: Letter[] = [];
  for (const id of new Set(ids)) {
    const letter = await ask(letterSchema, `${ROOT}/${id}`).catch((error) => {
      throw error instanceof ApiError ? new ApiError(error.status, `${id}: ${error.message}`) : error;
    });
    if (letter.state !== "OPEN") {
      throw new ApiError(null, `${id} is closed: ${letter.state}, ${letter.resolution}. Nothing was done.`);
    }
    letters.push(letter);
  }
  return letters.sort((a, b) => a.id < b.id ? -1 : 1);
}

/** How many letters ended in which way. */
interface Outcome {
  readonly redriven: number;
  /** Closed without being sent, because their consumer had processed the event meanwhile. */
  readonly alreadyProcessed: number;
  readonly discarded: number;
  /** Somebody else had dealt with them, or was dealing with them, in the same moment. */
  readonly gone: number;
  /** The broker did not take them; they stay open. */
  readonly refused: readonly { readonly id: string; readonly error: string }[];
  /** Not reached, because it was cancelled. */
  readonly untouched: number;
}

/**
 * Redrives or discards the letters, as many at once as the API takes; a Ctrl-C ends it after the current batch.
 *
 * Errors: `ApiError`, which says how far it got.
 */
async function dealWith(ask: AskOps, letters: readonly Letter[], because: string | null): Promise<Outcome> {
  using stop = stopOnSignals(null);
  using progress = startProgress("dead letters", letters.length);
  progress.at(0);
  let sum: Outcome = { redriven: 0, alreadyProcessed: 0, discarded: 0, gone: 0, refused: [], untouched: 0 };
  for (let at = 0; at < letters.length; at += PAGE_LETTERS) {
    if (stop.signal.aborted) return { ...sum, untouched: letters.length - at };
    const ids = letters.slice(at, at + PAGE_LETTERS).map(({ id }) => id);
    const batch = await dealWithBatch(ask, ids, because).catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      throw new ApiError(error.status, `After ${at} of ${letters.length} dead letters: ${error.message}`);
    });
    sum = {
      redriven: sum.redriven + batch.redriven,
      alreadyProcessed: sum.alreadyProcessed + batch.alreadyProcessed,
      discarded: sum.discarded + batch.discarded,
      gone: sum.gone + ids.length - batch.redriven - batch.alreadyProcessed - batch.discarded -
        batch.refused.length,
      refused: [...sum.refused, ...batch.refused],
      untouched: 0,
    };
    progress.at(at + ids.length);
  }
  return sum;
}

async function dealWithBatch(ask: AskOps, ids: readonly string[], because: string | null) {
  if (because === null) {
    return { ...await ask(redrivenSchema, `${ROOT}/redrive`, "POST", { ids }), discarded: 0 };
  }
  const { discarded } = await ask(discardedSchema, `${ROOT}/discard`, "POST", { ids, because });
  return { redriven: 0, alreadyProcessed: 0, refused: [], discarded };
}

/** Letters, and refusals, that are shown. */
const SHOWN = 10;

/** The letters that are meant: their count, and the first of them in columns. */
export function showLetters({ letters, more }: FoundLetters): string[] {
  const shown = letters.slice(0, SHOWN);
  const table = tableLines(shown, [
    { cell: ({ id }) => id },
    { cell: ({ lastFailedAt }) => lastFailedAt },
    { cell: ({ consumer }) => consumer },
    { cell: ({ eventType }) => eventType ?? "no event" },
    { cell: ({ reason, orderId }) => orderId ? `${reason}, order ${orderId}` : reason },
  ]);
  return [
    `${countOf(letters.length, "dead letter")}, oldest first:`,
    ...table.map((line) => `  ${line}`),
    ...moreThan(shown.length, letters.length),
    ...more ? [`There are more: these are the newest ${letters.length}. Run it again for the rest.`] : [],
  ];
}

function moreThan(shown: number, all: number): string[] {
  return all > shown ? [`  and ${all - shown} more`] : [];
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
  const lines = kinds.filter(([count]) => count > 0)
    .map(([count, what]) => `${countOf(count, "dead letter")} ${what}.`);
  return [...lines, ...reasons, ...moreThan(reasons.length, refused.length)];
}

/** How long the API may take to answer, in milliseconds: the broker has five seconds for a batch. */
const ANSWER_MS = 15_000;

async function run(options: RedriveOptions): Promise<number> {
  const { url, which, because, "dry-run": dryRun, yes, json } = options;
  if (!dryRun && !yes && (json || !Deno.stdin.isTerminal())) {
    throw new UsageError("There is nobody to ask: add --yes, or --dry-run to look only");
  }
  const say = json ? () => {} : (line: string) => console.log(line);
  const ask = opsApi(url, ANSWER_MS);
  const found = await findLetters(ask, which);
  const tell = (outcome: Outcome | null) => {
    const action = because === null ? "redrive" : "discard";
    if (json) console.log(JSON.stringify({ action, dryRun, ...found, outcome }));
    (outcome ? showOutcome(outcome) : ["Nothing has been done."]).forEach(say);
  };
  const isEmpty = found.letters.length === 0;
  (isEmpty ? ["No open dead letter matches."] : showLetters(found)).forEach(say);
  if (dryRun || isEmpty) {
    tell(null);
    return EXIT_DONE;
  }
  const question = because === null ? "Send them to their consumers again?" : "Discard them permanently?";
  if (!yes && !confirm(question)) {
    console.error("Nothing has been done.");
    return EXIT_NOT_DONE;
  }
  const outcome = await dealWith(ask, found.letters, because);
  tell(outcome);
  if (outcome.untouched > 0) return EXIT_NOT_DONE;
  return found.more || outcome.refused.length > 0 ? EXIT_FOUND : EXIT_DONE;
}

if (import.meta.main) {
  Deno.exit(await runCommand({ task: "redrive", usage: USAGE, read: readRedriveFlags, run }, Deno.args));
}
