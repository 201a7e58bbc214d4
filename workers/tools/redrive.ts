/**
 * `deno task redrive`: sends dead letters to their consumers again, or discards them.
 *
 * @module
 */
import * as mini from "zod/mini";
import { z } from "zod";
import {
  ASKING,
  countOf,
  EXIT_DONE,
  EXIT_FOUND,
  EXIT_NOT_DONE,
  flag,
  onOff,
  readFlags,
  refuseUnasked,
  runCommand,
  startProgress,
  tableLines,
  text,
  UsageError,
  usageOf,
} from "./command.ts";
import { idSchema } from "../../shared/events.ts";
import { deadLetterSchema, discardedSchema, redrivenSchema } from "../../shared/ops/answers.ts";
import { ApiError, type AskOps, opsApi, urlFlag } from "./ops_api.ts";
import { stopOnSignals } from "../../shared/process/stop.ts";

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The time an age such as `15m` ago. */
const age = z.string()
  .regex(/^\d{1,5}[smhd]$/, { error: "takes an age such as 90s, 15m, 2h or 7d" })
  .transform((given) => {
    const ms = Number(given.slice(0, -1)) * (UNIT_MS[given.slice(-1)] ?? NaN);
    return new Date(Date.now() - ms).toISOString();
  });

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
const ENDS =
  `Ends with 0 when all were dealt with, 1 when it was cancelled or has failed, 2 when some are left (the broker refused
them, or there are more than one run takes), 64 for a wrong usage, 78 for a wrong OPS_TOKEN.`;
const usage = usageOf(
  "redrive",
  "sends dead letters to their consumers again, or discards them",
  { "Which of those that are open: their ids, or at least one of": WHICH, "How:": HOW },
  ENDS,
  "--consumer=payments.order-created.v1 --newer-than=2h --dry-run",
);

/** Reads the flags; null for `--help`. Ages count back from now. Errors: `UsageError`, which names the flag at fault. */
export function readRedriveFlags(args: readonly string[]) {
  const given = readFlags(args, { ...WHICH, ...HOW }, true);
  if (!given) return null;
  const { discard, because = null, all, consumer, reason, type, order, ...how } = given.flags;
  if (discard && because === null && !how["dry-run"]) throw new UsageError("--discard takes --because=<why>");
  if (!discard && because !== null) throw new UsageError("--because is for --discard");
  const wanted = { consumer, reason, type, orderId: order, from: how["newer-than"], to: how["older-than"] };
  const filter = Object.entries(wanted).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value]]
  );
  if ([given.rest.length > 0, all, filter.length > 0].filter(Boolean).length !== 1) {
    throw new UsageError("Say which dead letters: ids, or at least one filter, or --all; not two of these");
  }
  const ids = given.rest.map((id) => {
    if (!idSchema.safeParse(id).success) {
      throw new UsageError(`${JSON.stringify(id)} is no id of a dead letter`);
    }
    return id.toLowerCase();
  });
  refuseUnasked(how);
  return { ...how, ids, filter, because: discard ? because ?? "" : null };
}
type RedriveOptions = NonNullable<ReturnType<typeof readRedriveFlags>>;

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
type Letter = mini.infer<typeof letterSchema>;
const pageSchema = mini.object({
  deadLetters: mini.array(letterSchema),
  nextCursor: mini.nullable(mini.string()),
});

const ROOT = "/ops/dead-letters";
/** Letters in a page, and ids in one request: the most that the API takes. */
const PAGE_LETTERS = 100;
/** Letters that one run takes at most; more are for the next one. */
const MAX_TAKEN = 10_000;

/**
 * The open letters that are meant, oldest first: what happened first is processed first; and whether there are more than
 * one run takes. Errors: as the API's; for an id, also where that letter is closed.
 */
async function findLetters(ask: AskOps, { ids, filter }: RedriveOptions) {
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
  if (ids.length > 0) return { letters: letters.sort((a, b) => a.id < b.id ? -1 : 1), more: false };
  let cursor: string | null = null;
  do {
    const rest: string[][] = cursor === null ? [] : [["cursor", cursor]];
    const query = new URLSearchParams([...filter, ["state", "OPEN"], ["limit", `${PAGE_LETTERS}`], ...rest]);
    const page: mini.infer<typeof pageSchema> = await ask(pageSchema, `${ROOT}?${query}`);
    letters.push(...page.deadLetters);
    cursor = page.nextCursor;
  } while (cursor !== null && letters.length < MAX_TAKEN);
  return { letters: letters.reverse(), more: cursor !== null };
}

/** How many letters ended in which way. */
const NOTHING_DONE = {
  redriven: 0,
  /** Closed without being sent, because their consumer had processed the event meanwhile. */
  alreadyProcessed: 0,
  discarded: 0,
  /** Somebody else had dealt with them, or was dealing with them, in the same moment. */
  gone: 0,
  /** The broker did not take them; they stay open. */
  refused: [] as readonly { readonly id: string; readonly error: string }[],
  /** Not reached, because it was cancelled. */
  untouched: 0,
};
type Outcome = typeof NOTHING_DONE;

/**
 * Redrives or discards the letters, as many at once as the API takes; a Ctrl-C ends it after the current batch.
 *
 * Errors: `ApiError`, which says how far it got.
 */
async function dealWith(ask: AskOps, letters: readonly Letter[], because: string | null): Promise<Outcome> {
  using stop = stopOnSignals(null);
  using progress = startProgress("dead letters", letters.length);
  progress.at(0);
  const sum = { ...NOTHING_DONE };
  for (let at = 0; at < letters.length; at += PAGE_LETTERS) {
    if (stop.signal.aborted) return { ...sum, untouched: letters.length - at };
    const ids = letters.slice(at, at + PAGE_LETTERS).map(({ id }) => id);
    const asked = because === null
      ? ask(redrivenSchema, `${ROOT}/redrive`, "POST", { ids })
      : ask(discardedSchema, `${ROOT}/discard`, "POST", { ids, because });
    const batch = {
      ...NOTHING_DONE,
      ...await asked.catch((error) => {
        if (!(error instanceof ApiError)) throw error;
        throw new ApiError(error.status, `After ${at} of ${letters.length} dead letters: ${error.message}`);
      }),
    };
    sum.redriven += batch.redriven;
    sum.alreadyProcessed += batch.alreadyProcessed;
    sum.discarded += batch.discarded;
    sum.refused = [...sum.refused, ...batch.refused];
    progress.at(at + ids.length);
    sum.gone = at + ids.length - sum.redriven - sum.alreadyProcessed - sum.discarded - sum.refused.length;
  }
  return sum;
}

/** Letters, and refusals, that are shown. */
const SHOWN = 10;
const moreThan = (shown: number, all: number) => all > shown ? [`  and ${all - shown} more`] : [];

/** The letters that are meant: their count, and the first of them in columns. */
export function showLetters({ letters, more }: Awaited<ReturnType<typeof findLetters>>): string[] {
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
  const { url, because, "dry-run": dryRun, yes, json } = options;
  const { ask } = opsApi(url, ANSWER_MS);
  const found = await findLetters(ask, options);
  const tell = (lines: readonly string[], outcome: Outcome | null = null) => {
    if (!json) console.log(lines.join("\n"));
    else {console.log(
        JSON.stringify({ action: because === null ? "redrive" : "discard", dryRun, ...found, outcome }),
      );}
  };
  const isEmpty = found.letters.length === 0;
  const shown = isEmpty ? ["No open dead letter matches."] : showLetters(found);
  if (dryRun || isEmpty) {
    tell([...shown, "Nothing has been done."]);
    return EXIT_DONE;
  }
  if (!json) console.log(shown.join("\n"));
  if (
    !yes && !confirm(because === null ? "Send them to their consumers again?" : "Discard them permanently?")
  ) {
    console.error("Nothing has been done.");
    return EXIT_NOT_DONE;
  }
  const outcome = await dealWith(ask, found.letters, because);
  tell(showOutcome(outcome), outcome);
  if (outcome.untouched > 0) return EXIT_NOT_DONE;
  return found.more || outcome.refused.length > 0 ? EXIT_FOUND : EXIT_DONE;
}

if (import.meta.main) {
  Deno.exit(await runCommand({ task: "redrive", usage, read: readRedriveFlags, run }, Deno.args));
}
