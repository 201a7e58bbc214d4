/**
 * `deno task replay`: sends published events to their consumers once more.
 *
 * @module
 */
import { z } from "zod";
import {
  apiUrl,
  EXIT_DONE,
  EXIT_NOT_DONE,
  onOff,
  readFlags,
  runCommand,
  startProgress,
  text,
  UsageError,
  wholeNumber,
} from "./command.ts";
import { idSchema } from "../../shared/events.ts";
import {
  DEFAULT_REPLAY_RATE,
  MAX_REPLAY_RATE,
  REPLAY_STATES,
  type ReplayFilter,
  replayFilterSchema,
  type ReplayState,
} from "../../shared/ops/replays.ts";
import { ApiError, type AskOps, opsApi } from "./ops_api.ts";
import { pause, stopOnSignals } from "../../shared/process/stop.ts";
import { readConfig } from "../../shared/process/config.ts";

/** What the command prints with `--help`. */
export const USAGE = `deno task replay: sends published events to their consumers once more

Which events, at least one of:
  --type=order.created         only of this type
  --from=2026-11-22T17:00:00Z  only those that happened then or later
  --to=2026-11-22T18:00:00Z    only those that happened before then
  --order=<uuid>               only those about this order
  --correlation-id=<id>        only those with this correlation id
  --consumer=<name>            only for this consumer; otherwise for each that is bound to the event's type
or
  --start=<replay id>          the set that an earlier --dry-run has shown

How:
  --dry-run                    show the set, send nothing
  --rate=${DEFAULT_REPLAY_RATE}                   messages per second at most, 1 to ${MAX_REPLAY_RATE}
  --yes                        do not ask before sending
  --url=http://127.0.0.1:8000  where the API is; OPS_TOKEN is sent to it where that is set
  --json                       print the replay as JSON; progress goes to standard error
  --help                       print this

Ends with 0 when it is done, 1 when it was cancelled or has failed, 64 for a wrong usage, 78 for a wrong OPS_TOKEN.

Example: deno task replay --type=order.created --from=2026-11-22T17:00:00Z --dry-run`;

/** What the flags ask for. */
export interface ReplayOptions {
  /** A new set by this filter, or the id of one that is prepared. */
  readonly set: { readonly filter: ReplayFilter } | { readonly id: string };
  /** Whether to show the set only. */
  readonly dryRun: boolean;
  /** Messages per second, at most. */
  readonly rate: number;
  /** Whether to start without asking. */
  readonly yes: boolean;
  /** Where the API is, without a slash at the end. */
  readonly url: string;
  /** Whether to print JSON. */
  readonly json: boolean;
}

const FLAGS = {
  type: text.optional(),
  from: text.optional(),
  to: text.optional(),
  order: text.optional(),
  "correlation-id": text.optional(),
  consumer: text.optional(),
  start: idSchema.optional(),
  "dry-run": onOff,
  rate: wholeNumber(1, MAX_REPLAY_RATE).default(DEFAULT_REPLAY_RATE),
  yes: onOff,
  url: apiUrl,
  json: onOff,
};
const FLAG_OF: Readonly<Record<string, string>> = { orderId: "order", correlationId: "correlation-id" };

/**
 * Reads the flags; null for `--help`.
 *
 * Errors: `UsageError`, which names the flag at fault.
 */
export function readReplayFlags(args: readonly string[]): ReplayOptions | null {
  const given = readFlags(args, FLAGS);
  if (!given) return null;
  const { "dry-run": dryRun, rate, yes, url, json, start, ...filter } = given.flags;
  const { order: orderId, "correlation-id": correlationId, ...others } = filter;
  const entries = Object.entries({ ...others, orderId, correlationId }).filter(([, value]) =>
    value !== undefined
  );
  const how = { dryRun, rate, yes, url, json };
  if (start === undefined) {
    return { ...how, set: { filter: check(replayFilterSchema, Object.fromEntries(entries)) } };
  }
  if (entries.length > 0) {
    throw new UsageError("--start takes the set as it was shown: leave the filters away");
  }
  return { ...how, set: { id: start } };
}

function check<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const name = issue?.path[0]?.toString();
  if (name === undefined) throw new UsageError("Say which events: at least one filter, or --start");
  throw new UsageError(`--${FLAG_OF[name] ?? name} ${issue?.message ?? "is not valid"}`);
}

/** A replay, as the API tells of it; what else it tells is kept. */
export interface ToldReplay {
  /** The replay's id. */
  readonly id: string;
  /** `PREPARED` until it is started, then `RUNNING` until it has ended. */
  readonly state: ReplayState;
  /** Messages in the set. */
  readonly total: number;
  /** How many of them their consumer had processed when the set was written down. */
  readonly alreadyProcessed: number;
  /** How many have been dealt with. */
  readonly sent: number;
  /** How many of those were skipped. */
  readonly skipped: number;
  /** What the last failed try met with; null where none has failed. */
  readonly lastError: string | null;
  /** Why it was cancelled; null unless it was. */
  readonly reason: string | null;
}

/** A message of the set, as the API tells of it. */
export interface ToldMessage {
  /** The event's id. */
  readonly eventId: string;
  /** Who gets it. */
  readonly consumer: string;
  /** The event's type; null where the event has been pruned, and so for the next two. */
  readonly type: string | null;
  /** The order that the event is about. */
  readonly orderId: string | null;
  /** When the event happened. */
  readonly occurredAt: string | null;
}

/** A page of the set. */
export interface ToldSet {
  /** The first messages, in the order of sending. */
  readonly events: readonly ToldMessage[];
}

const replay = z.looseObject({
  id: z.string(),
  state: z.enum(REPLAY_STATES),
  total: z.int(),
  alreadyProcessed: z.int(),
  sent: z.int(),
  skipped: z.int(),
  lastError: z.string().nullable(),
  reason: z.string().nullable(),
});
const set = z.looseObject({
  events: z.array(z.looseObject({
    eventId: z.string(),
    consumer: z.string(),
    type: z.string().nullable(),
    orderId: z.string().nullable(),
    occurredAt: z.string().nullable(),
  })),
});

/** The routes. Each rejects as {@linkcode AskOps} does. */
export interface ReplayApi {
  /** Writes a set down. */
  prepare(filter: ReplayFilter): Promise<ToldReplay & ToldSet>;
  /** A replay as it stands. */
  find(id: string): Promise<ToldReplay>;
  /** The first messages of a replay's set. */
  firstMessages(id: string): Promise<ToldSet>;
  /** Starts a replay. */
  start(id: string, ratePerSecond: number): Promise<ToldReplay>;
  /** Cancels a replay. */
  cancel(id: string): Promise<ToldReplay>;
}

/** How long the API may take to answer, in milliseconds: a set may take a minute to write down. */
export const REPLAY_ANSWER_MS = 75_000;

/** The routes, asked for through `ask`. */
export function replayApi(ask: AskOps): ReplayApi {
  const root = "/ops/replays";
  return {
    prepare: (filter) => ask(replay.extend(set.shape), "POST", root, filter),
    find: (id) => ask(replay, "GET", `${root}/${id}`),
    firstMessages: (id) => ask(set, "GET", `${root}/${id}/events`),
    start: (id, ratePerSecond) => ask(replay, "POST", `${root}/${id}/start`, { ratePerSecond }),
    cancel: (id) => ask(replay, "POST", `${root}/${id}/cancel`),
  };
}

/** Messages of the set that are shown. */
const SHOWN = 10;

/** The set: its count, and its first messages. */
export function showSet({ id, total, alreadyProcessed }: ToldReplay, { events }: ToldSet): string[] {
  const columns = events.slice(0, SHOWN).map(rowOf);
  const widths = [0, 1, 2].map((i) => Math.max(...columns.map((row) => row[i]?.length ?? 0)));
  const rows = columns.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")}`);
  const absorbed = alreadyProcessed > 0
    ? [
      `${alreadyProcessed} of them their consumer has processed: it will absorb those, and count the repeat.`,
    ]
    : [];
  const more = total > rows.length ? [`  and ${total - rows.length} more: /ops/replays/${id}/events`] : [];
  return [`Replay ${id}: ${countOf(total)}.`, ...absorbed, ...rows, ...more];
}

function rowOf({ occurredAt, type, orderId, consumer }: ToldMessage): string[] {
  return [occurredAt ?? "pruned", type ?? "-", orderId ? `order ${orderId}` : "-", consumer];
}

/** `1 message`, `2 messages`. */
export function countOf(messages: number): string {
  return `${messages} ${messages === 1 ? "message" : "messages"}`;
}

/** How a replay ended. */
export function showEnd({ state, sent, total, skipped, reason }: ToldReplay): string {
  const left = skipped > 0 ? `, ${skipped} of them skipped: their events are too old or pruned` : "";
  if (state === "DONE") return `Done: ${countOf(sent)}${left}.`;
  return `Cancelled after ${sent} of ${countOf(total)}${left}: ${reason ?? "no reason given"}.`;
}

/** Who is told how it goes. */
export interface Onlooker {
  /** Called with the replay after each look. */
  readonly progress: (replay: ToldReplay) => void;
  /** Called once when nothing has moved for ten seconds. */
  readonly stalled: (replay: ToldReplay) => void;
}

/** Between two looks, in milliseconds. */
const LOOK_MS = 500;
/** Looks in a row that may fail: half a minute, so that the API may be restarted meanwhile. */
const MAX_FAILED_LOOKS = 60;
/** Looks in a row without progress after which that is told: ten seconds. */
const STALLED_LOOKS = 20;
const CONFLICT = 409;

/**
 * Looks at the replay until it has ended, and answers with how; `stop` cancels it.
 *
 * Errors: `ApiError` when the API cannot be asked for half a minute. The replay goes on without anybody looking.
 */
export async function followReplay(
  api: ReplayApi,
  id: string,
  onlooker: Onlooker,
  stop: AbortSignal,
): Promise<ToldReplay> {
  let [failed, still, sent] = [0, 0, 0];
  for (;;) {
    if (stop.aborted) {
      const ended = await cancelled(api, id);
      onlooker.progress(ended);
      return ended;
    }
    try {
      const replay = await api.find(id);
      onlooker.progress(replay);
      if (replay.state === "DONE" || replay.state === "CANCELLED") return replay;
      still = replay.sent > sent ? 0 : still + 1;
      if (still === STALLED_LOOKS) onlooker.stalled(replay);
      [failed, sent] = [0, replay.sent];
    } catch (error) {
      if (!(error instanceof ApiError) || ++failed > MAX_FAILED_LOOKS) throw error;
    }
    await pause(LOOK_MS, stop);
  }
}

/** Cancels it, unless it has ended in the same moment. */
async function cancelled(api: ReplayApi, id: string): Promise<ToldReplay> {
  try {
    return await api.cancel(id);
  } catch (error) {
    if (error instanceof ApiError && error.status === CONFLICT) return await api.find(id);
    throw error;
  }
}

if (import.meta.main) {
  Deno.exit(await runCommand({ task: "replay", usage: USAGE, read: readReplayFlags, run }, Deno.args));
}

async function run(options: ReplayOptions): Promise<number> {
  const { url, dryRun, yes, json } = options;
  const token = readConfig(["OPS_TOKEN"]).OPS_TOKEN;
  const api = replayApi(opsApi({ url, token, timeoutMs: REPLAY_ANSWER_MS }));
  const say = json ? () => {} : (line: string) => console.log(line);
  const mayAsk = Deno.stdin.isTerminal() && !json;
  if (!dryRun && !yes && !mayAsk) {
    throw new UsageError("There is nobody to ask: add --yes to send, or --dry-run to look only");
  }
  const replay = await setOf(options, api);
  showSet(replay, replay).forEach(say);
  if (dryRun || replay.total === 0) {
    if (json) console.log(JSON.stringify(replay));
    else if (replay.total === 0) say("Nothing to send: no published event matches that has a consumer.");
    else say(`Nothing has been sent. Send exactly these with: deno task replay --start=${replay.id}`);
    return EXIT_DONE;
  }
  if (!yes && !confirm(`Send ${countOf(replay.total)}, at most ${options.rate} a second?`)) {
    await api.cancel(replay.id);
    console.error("Nothing has been sent.");
    return EXIT_NOT_DONE;
  }
  const end = await send(replay, options, api);
  console.log(json ? JSON.stringify(end) : showEnd(end));
  return end.state === "DONE" ? EXIT_DONE : EXIT_NOT_DONE;
}

async function setOf({ set }: ReplayOptions, api: ReplayApi): Promise<ToldReplay & ToldSet> {
  if ("filter" in set) return await api.prepare(set.filter);
  const [replay, page] = await Promise.all([api.find(set.id), api.firstMessages(set.id)]);
  return { ...replay, ...page };
}

/** Starts the replay and follows it until it has ended; a Ctrl-C cancels it. */
async function send(
  { id, total }: ToldReplay,
  { rate }: ReplayOptions,
  api: ReplayApi,
): Promise<ToldReplay> {
  using stop = stopOnSignals(null);
  await api.start(id, rate);
  using progress = startProgress("messages", total);
  return await followReplay(api, id, {
    progress: ({ sent }) => progress.at(sent),
    stalled: ({ lastError }) => progress.say(`Nothing has moved for ten seconds. ${lastError ?? HINT}`),
  }, stop.signal);
}

const HINT = "Is the outbox relay running, and can it reach the broker?";
