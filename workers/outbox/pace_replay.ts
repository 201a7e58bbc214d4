/**
 * The decisions of a replay: how many messages when, and what a try comes to. All pure.
 *
 * @module
 */
import { retryDelayMs } from "../../shared/broker/next_step.ts";
import type { DueReplay, ReplayMessage, ReplayProgress } from "../../shared/sql/replay_progress.ts";

/** Failed tries in a row after which a replay ends. */
export const MAX_REPLAY_TRIES = 8;

/** Times a second that messages are sent, where the rate is high enough: few transactions, an even flow. */
const CHUNKS_PER_SECOND = 10;

/** How a replay is paced. */
export interface ReplayPace {
  /** Messages to send at a time. */
  readonly size: number;
  /** The least pause between the end of one such sending and the start of the next, in milliseconds. */
  readonly everyMs: number;
}

/** The pace of `rate` messages per second (1 or more): no second, wherever it starts, has more than `rate` of them. */
export function paceOf(rate: number): ReplayPace {
  const size = Math.max(1, Math.floor(rate / CHUNKS_PER_SECOND));
  return { size, everyMs: Math.ceil(1000 / Math.floor(rate / size)) };
}

/** What became of the messages of one try, by their place in the set. */
export interface ReplayTry {
  /** The messages that were to be sent, in the order of the set. */
  readonly messages: readonly ReplayMessage[];
  /** The positions of those that the broker has taken. */
  readonly confirmed: ReadonlySet<number>;
  /** The positions of those that were not to be sent any more. */
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
