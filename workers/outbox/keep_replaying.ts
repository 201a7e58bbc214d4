/**
 * The replays' loop: sends what running replays consist of, a few messages at a time.
 *
 * @module
 */
import { type Publisher, type PublishOutcome, toQueue } from "../../shared/broker/publish.ts";
import { messageOf } from "../../shared/errors.ts";
import type { Logger } from "../../shared/log.ts";
import { type Queryable, type Sql, transaction } from "../../shared/sql/connect.ts";
import { firstIdOf } from "../../shared/sql/id_time.ts";
import { type ClaimedEvent, readEventsForPublishing } from "../../shared/sql/outbox_events.ts";
import {
  claimDueReplay,
  nextReplayDueInMs,
  readReplayMessages,
  recordReplayProgress,
  type ReplayMessage,
  type ReplayProgress,
} from "../../shared/sql/replay_progress.ts";
import { pause } from "../../shared/stop.ts";
import { paceOf, progressAfter, type ReplayTry } from "./pace_replay.ts";

/** What the loop is made of. */
export interface ReplayingOptions {
  /** A pool of the relay's role. */
  readonly sql: Sql;
  /** The publisher of the connection that is up, on a channel of its own; null while there is none. */
  readonly publisher: () => Publisher | null;
  /** How long the inbox remembers what was processed, in days: older events are skipped. */
  readonly retentionDays: number;
  /** Told of each replay that ends, and of tries that failed. */
  readonly log: Logger;
}

/** Between two looks for a replay to run, in milliseconds. */
const LOOK_MS = 1000;
/** How long the broker may take to answer, in milliseconds; a cancel waits for it. */
const CONFIRM_TIMEOUT_MS = 5000;
const DAY_MS = 86_400_000;

/**
 * Sends until `stop` is aborted. While broker or database are away, running replays wait where they are. No failure may
 * take the process down, whose first work is the outbox.
 */
export async function keepReplaying(options: ReplayingOptions, stop: AbortSignal): Promise<void> {
  for (let failing = false; !stop.aborted;) {
    let waitMs = LOOK_MS;
    try {
      waitMs = await step(options);
      failing = false;
    } catch (error) {
      if (!failing) options.log.warning("Replays cannot go on; trying again", { error: messageOf(error) });
      failing = true;
    }
    await pause(waitMs, stop);
  }
}

/** Sends the next messages if any are due; answers with how long to wait then, in milliseconds. */
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
    log.warning("The broker did not take a replay's messages; they are tried again", {
      ...about,
      error: progress.error,
    });
  }
  return 0;
}

/** How a replay stands after some of it has been sent. */
export interface SentMessages {
  /** The replay's id. */
  readonly replayId: string;
  /** How it stands. */
  readonly progress: ReplayProgress;
}

/**
 * Sends the next messages of the replay that is due, each to its consumer's queue alone, in one transaction whose lock
 * on the replay keeps other relays off it. A relay killed before the commit has sent them for nothing: the next one
 * sends them again, and the inbox absorbs that. Events that were pruned, or happened before `horizon`, are skipped.
 * Answers with null where no replay is due and free.
 */
export async function sendDueMessages(
  sql: Sql,
  publisher: Publisher,
  horizon: Date,
): Promise<SentMessages | null> {
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
