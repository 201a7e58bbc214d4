/**
 * The replays' loop: sends what running replays consist of, a few messages at a time.
 *
 * @module
 */
import { type Publisher, publishToQueues } from "../../shared/broker/publish.ts";
import { retryDelayMs } from "../../shared/broker/settle.ts";
import {
  claimDueReplay,
  type DueReplay,
  nextReplayDueInMs,
  readWaitingMessages,
  recordReplayProgress,
  type ReplayProgress,
} from "../../shared/ops/replays.ts";
import { keepDoing } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { firstIdOf, readEventsForPublishing } from "../../shared/sql/outbox.ts";

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

/** What became of the messages of one try. */
export interface ReplayTry {
  /** How many the broker has taken. */
  readonly taken: number;
  /** How many were not to be sent any more. */
  readonly skipped: number;
  /** Whether messages of the set are still to be sent. */
  readonly more: boolean;
  /** Why the broker did not take one that it was sent; null where it took all. */
  readonly error: string | null;
}

/** How the replay stands after a try. `random` is from [0, 1) and spreads the retries. */
export function progressAfter(
  replay: DueReplay,
  { taken, skipped, more, error }: ReplayTry,
  random: number,
): ReplayProgress {
  const { total } = replay;
  if (!more) { // what was not taken by now was skipped, or is gone with the set
    const all = replay.sent - replay.skipped + taken;
    return { state: "DONE", sent: total, skipped: Math.max(total - all, 0), retryCount: 0, error: null };
  }
  const sent = Math.min(replay.sent + taken + skipped, total);
  const counts = { sent, skipped: Math.min(replay.skipped + skipped, sent) };
  const { everyMs } = paceOf(replay.rate);
  if (error === null) return { ...counts, state: "RUNNING", retryCount: 0, error, dueInMs: everyMs };
  const failed = { ...counts, retryCount: taken + skipped > 0 ? 1 : replay.retryCount + 1, error };
  if (failed.retryCount >= MAX_REPLAY_TRIES) {
    return {
      ...failed,
      state: "CANCELLED",
      reason: `given up after ${MAX_REPLAY_TRIES} tries in a row: ${error}`,
    };
  }
  const dueInMs = Math.max(retryDelayMs(failed.retryCount - 1, random), everyMs);
  return { ...failed, state: "RUNNING", dueInMs };
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
/** How long the broker may take to answer for one sending; a cancel waits for it. */
const CONFIRM_TIMEOUT_MS = 5000;

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
  const sent = await sendDueMessages(sql, wire, retentionDays);
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
 * sends them again, and the inbox absorbs that. Events that were pruned, or happened more than `retentionDays` ago, which
 * the inbox may have forgotten, are skipped. What the broker does not take stays, while what is behind it goes on. Answers with how
 * the replay stands then; with null where none is due and free.
 *
 * Errors: those of {@linkcode transaction}.
 */
export async function sendDueMessages(sql: Sql, publisher: Publisher, retentionDays: number) {
  return await transaction(sql, async (tx) => {
    const replay = await claimDueReplay(tx, retentionDays);
    if (!replay) return null;
    const { horizon } = replay;
    const { size } = paceOf(replay.rate);
    const waiting = await readWaitingMessages(tx, replay.id, size + 1); // one more tells whether there are more
    const messages = waiting.slice(0, size);
    const read = await readEventsForPublishing(tx, [...new Set(messages.map(({ eventId }) => eventId))]);
    const kept = read.filter(({ id, occurredAt }) => id >= firstIdOf(horizon) && occurredAt >= horizon);
    const events = new Map(kept.map((event) => [event.id, event]));
    const skipped = messages.filter(({ eventId }) => !events.has(eventId));
    const sending = messages.flatMap((message) => {
      const event = events.get(message.eventId);
      return event ? [{ ...message, event }] : [];
    });
    const { taken, refused, silence } = await publishToQueues(
      publisher,
      sending,
      ({ event }) => event,
      CONFIRM_TIMEOUT_MS,
    );
    const [first] = refused;
    const settled = [...skipped, ...taken];
    const progress = progressAfter(replay, {
      taken: taken.length,
      skipped: skipped.length,
      more: settled.length < waiting.length,
      error: first ? `${first.thing.consumer}: ${first.error}` : silence,
    }, Math.random());
    await recordReplayProgress(tx, replay.id, settled.map(({ position }) => position), progress);
    return { replayId: replay.id, progress };
  });
}
