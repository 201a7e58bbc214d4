// The replays' loop: sends what running replays consist of, a few messages at a time.

import type { Publisher, Route } from "../../shared/broker/publish.ts";
import { readHorizon } from "../../shared/ops/replays.ts";
import { claimDueReplay, nextReplayDueInMs, paceOf, sendNext } from "../../shared/ops/send_again.ts";
import { keepDoing } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";

interface ReplayingOptions {
  readonly sql: Sql;
  /** On a channel of its own; null while there is no connection. */
  readonly publisher: () => Publisher | null;
  /** Where events go that are published once more. */
  readonly exchange: Route;
  /** How long the inbox remembers what was processed: older events are skipped. */
  readonly retentionDays: number;
  readonly log: Logger;
}

/** Between two looks for a replay to run. */
const LOOK_MS = 1000;

/** Sends until `stop` is aborted. While broker or database are away, running replays wait where they are. */
export function keepReplaying(options: ReplayingOptions, stop: AbortSignal): Promise<void> {
  return keepDoing("Replaying", () => step(options), { everyMs: LOOK_MS, log: options.log, stop }).running;
}

/** Sends the next messages if any are due; answers with the pause that follows, in milliseconds. */
async function step(options: ReplayingOptions): Promise<number> {
  const { sql, publisher, log } = options;
  const wire = publisher();
  if (!wire) return LOOK_MS;
  const dueInMs = await nextReplayDueInMs(sql) ?? LOOK_MS;
  if (dueInMs > 0) return Math.min(dueInMs, LOOK_MS);
  const sent = await sendDueMessages(options, wire);
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
 * Sends the next messages of the set that is due, in one transaction whose lock on the set keeps other relays off it: at its
 * pace, and what the broker does not take is tried again. Answers with how the set stands then; with null where none is due
 * and free.
 *
 * Errors: those of {@linkcode transaction}.
 */
export async function sendDueMessages(
  { sql, exchange, retentionDays }: Pick<ReplayingOptions, "sql" | "exchange" | "retentionDays">,
  publisher: Publisher,
) {
  return await transaction(sql, async (tx) => {
    const set = await claimDueReplay(tx);
    if (!set) return null;
    const relay = { exchange, horizon: await readHorizon(tx, retentionDays) };
    const { progress } = await sendNext(tx, set, { publisher, size: paceOf(set.rate).size, relay });
    return { replayId: set.id, progress };
  });
}
