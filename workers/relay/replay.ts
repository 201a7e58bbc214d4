/**
 * The replays' loop: sends what running replays consist of, a few messages at a time.
 *
 * @module
 */
import { retryDelayMs } from "../../shared/broker/settle.ts";
import {
  claimDueReplay,
  type DueReplay,
  nextReplayDueInMs,
  readReplayMessages,
  recordReplayProgress,
  type ReplayMessage,
  type ReplayProgress,
} from "../../shared/ops/replays.ts";
import { type Publisher, type PublishOutcome, toQueue } from "../../shared/broker/publish.ts";
import { keepDoing } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import { type Queryable, type Sql, transaction } from "../../shared/sql/connect.ts";
import { type ClaimedEvent, firstIdOf, readEventsForPublishing } from "../../shared/sql/outbox.ts";

/** Failed tries in a row after which a replay ends. */
export const MAX_REPLAY_TRIES = 8;

/** Where the rate is high enough: few transactions, an even flow. */
const CHUNKS_PER_SECOND = 10;

/**
 * The pace of `rate` messages per second (1 or more): `size` at a time, and `everyMs` milliseconds at least between the end
 * of one such sending and the start of the next. No second, wherever it starts, has more than `rate` of them.
 */
export function paceOf(rate: number): { readonly size: number; readonly everyMs: number } {
  const size = Math.max(1, Math.floor(rate / CHUNKS_PER_SECOND));
  return { size, everyMs: Math.ceil(1000 / Math.floor(rate / size)) };
}

/** What became of the messages of one try, by their positions in the set, in whose order they are. */
export interface ReplayTry {
  readonly messages: readonly ReplayMessage[];
  readonly confirmed: ReadonlySet<number>;
  /** Those that were not to be sent any more. */
  readonly skipped: ReadonlySet<number>;
  /** What the broker said of the first one that it did not take; null where it took all. */
  readonly error: string | null;
}

/**
 * How the replay stands after a try. It goes on behind the last message up to which none is missing; what follows a
 * missing one is sent again, which the inbox absorbs. `random` is from [0, 1) and spreads the retries.
 */
export function progressAfter(replay: DueReplay, tried: ReplayTry, random: number): ReplayProgress {
  const { messages, confirmed, skipped } = tried;
  if (messages.length === 0) { // what is left of the set has been pruned
    const { total, sent } = replay;
    return { state: "DONE", sent: total, skipped: replay.skipped + total - sent, retryCount: 0, error: null };
  }
  const missing = messages.findIndex(({ position }) => !confirmed.has(position) && !skipped.has(position));
  const settled = missing < 0 ? messages : messages.slice(0, missing);
  const counts = {
    sent: settled.at(-1)?.position ?? replay.sent,
    skipped: replay.skipped + settled.filter(({ position }) => skipped.has(position)).length,
  };
  if (missing < 0) {
    const well = { ...counts, retryCount: 0, error: null };
    if (counts.sent >= replay.total) return { ...well, state: "DONE" };
    return { ...well, state: "RUNNING", dueInMs: paceOf(replay.rate).everyMs };
  }
  const error = tried.error ?? "the broker gave no answer";
  const retryCount = (settled.length > 0 ? 0 : replay.retryCount) + 1;
  const failed = { ...counts, retryCount, error };
  if (retryCount >= MAX_REPLAY_TRIES) {
    return { ...failed, state: "CANCELLED", reason: `given up after ${retryCount} tries in a row: ${error}` };
  }
  const { everyMs } = paceOf(replay.rate);
  return { ...failed, state: "RUNNING", dueInMs: Math.max(retryDelayMs(retryCount - 1, random), everyMs) };
}

/** What {@linkcode keepReplaying} works with. */
export interface ReplayingOptions {
  readonly sql: Sql;
  /** On a channel of its own; null while there is no connection. */
  readonly publisher: () => Publisher | null;
  /** How long the inbox remembers what was processed: older events are skipped. */
  readonly retentionDays: number;
  readonly log: Logger;
}

/** Between two looks for a replay to run. */
const LOOK_MS = 1000;
/** How long the broker may take to answer; a cancel waits for it. */
const CONFIRM_TIMEOUT_MS = 5000;
const DAY_MS = 86_400_000;

/** Sends until `stop` is aborted. While broker or database are away, running replays wait where they are. */
export function keepReplaying(options: ReplayingOptions, stop: AbortSignal): Promise<void> {
  return keepDoing("Replaying", () => step(options), { everyMs: LOOK_MS, log: options.log, stop }).running;
}

/** Sends the next messages if any are due; answers with the pause that follows, in milliseconds. */
async function step({ sql, publisher, retentionDays, log }: ReplayingOptions): Promise<number> {
  const wire = publisher();
  if (!wire) return LOOK_MS;
  const dueInMs = await nextReplayDueInMs(sql);
  if (dueInMs === null || dueInMs > 0) return Math.min(dueInMs ?? LOOK_MS, LOOK_MS);
  const sent = await sendDueMessages(sql, wire, new Date(Date.now() - retentionDays * DAY_MS));
  if (!sent) return LOOK_MS; // another relay is at it
  const { replayId, progress } = sent;
  const about = { replayId, sent: progress.sent, skipped: progress.skipped };
  if (progress.state === "DONE") log.info("A replay is done", about);
  if (progress.state === "CANCELLED") {
    log.error("A replay has ended before its time", { ...about, reason: progress.reason });
  } else if (progress.error !== null) {
    const { error } = progress;
    log.warning("The broker did not take a replay's messages; they are tried again", { ...about, error });
  }
  return 0;
}

/**
 * Sends the next messages of the replay that is due, each to its consumer's queue alone, in one transaction whose lock
 * on the replay keeps other relays off it. A relay killed before the commit has sent them for nothing: the next one
 * sends them again, and the inbox absorbs that. Events that were pruned, or happened before `horizon`, are skipped.
 * Answers with how the replay stands then; with null where none is due and free.
 *
 * Errors: those of {@linkcode transaction}.
 */
export async function sendDueMessages(sql: Sql, publisher: Publisher, horizon: Date) {
  return await transaction(sql, async (tx) => {
    const replay = await claimDueReplay(tx);
    if (!replay) return null;
    const messages = await readReplayMessages(tx, replay.id, replay.sent, paceOf(replay.rate).size);
    const tried = await send(tx, publisher, messages, horizon);
    const progress = progressAfter(replay, tried, Math.random());
    await recordReplayProgress(tx, replay.id, progress);
    return { replayId: replay.id, progress };
  });
}

async function send(
  sql: Queryable,
  publisher: Publisher,
  messages: readonly ReplayMessage[],
  horizon: Date,
): Promise<ReplayTry> {
  const read = await readEventsForPublishing(sql, [...new Set(messages.map(({ eventId }) => eventId))]);
  const events = new Map(read.filter((event) => !isOlder(event, horizon)).map((event) => [event.id, event]));
  const confirmed = new Set<number>();
  const errors: string[] = [];
  // One consumer after the other: an event that several get has one message id, by which the broker returns it.
  for (const [consumer, batch] of Map.groupBy(messages, (message) => message.consumer)) {
    const bodies = batch.flatMap(({ eventId }) => events.get(eventId) ?? []);
    if (bodies.length === 0) continue;
    const outcome = await publisher.publish(bodies, toQueue(consumer), CONFIRM_TIMEOUT_MS);
    const taken = new Set(outcome.confirmed);
    for (const { eventId, position } of batch) if (taken.has(eventId)) confirmed.add(position);
    errors.push(...errorsOf(outcome).map((error) => `${consumer}: ${error}`));
  }
  const skipped = new Set(messages.filter(({ eventId }) => !events.has(eventId)).map((m) => m.position));
  return { messages, confirmed, skipped, error: errors[0] ?? null };
}

function errorsOf({ refused, unknown, offence }: PublishOutcome): string[] {
  const unanswered = unknown.length > 0 ? [offence ?? "the broker gave no answer"] : [];
  return [...refused.map(({ error }) => error), ...unanswered];
}

/** Whether the inbox may have forgotten the event: pruning goes by the time in its id. */
function isOlder({ id, occurredAt }: ClaimedEvent, horizon: Date): boolean {
  return id < firstIdOf(horizon) || occurredAt < horizon;
}
