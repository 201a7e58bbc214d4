/**
 * Delayed retries: sends to each consumer, when it is due, what failed for now.
 *
 * @module
 */
import { type Publisher, toQueue } from "../../shared/broker/publish.ts";
import { messageOf } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import {
  claimDueRetries,
  type DueRetry,
  markRetriesSent,
  postponeRetries,
  readNextDue,
  type RetryKey,
} from "../../shared/sql/set_aside.ts";
import { pause } from "../../shared/process/stop.ts";
import { CONFIRM_TIMEOUT_MS } from "./relay.ts";

/** What the loop is made of. */
export interface RetryingOptions {
  /** A pool that may read delayed retries and say what became of them. */
  readonly sql: Sql;
  /** Sends to single queues; null while the broker cannot be reached. */
  readonly publisher: () => Publisher | null;
  /** The longest pause between two looks, in milliseconds. */
  readonly pollIntervalMs: number;
  /** Told how many retries were sent, after their commit. */
  readonly onSent?: (retries: number) => void;
  /** Told of retries that the broker does not take, and of a look that failed. */
  readonly log: Logger;
}

/** A running loop. */
export interface Retrying {
  /** Settles when it has stopped. */
  readonly running: Promise<void>;
  /** Has it look again now: there are new retries. */
  wake(): void;
}

/** Retries that one transaction sends at most. */
const MAX_RETRIES_SENT = 500;
/** When a retry is due once more that the broker did not take, in milliseconds. */
const UNSENT_AFTER_MS = 5000;

/** Sends what is due until `stop` is aborted. A look that fails is the next one's work. */
export function keepRetrying(options: RetryingOptions, stop: AbortSignal): Retrying {
  const { sql, publisher, pollIntervalMs, log } = options;
  let woken = new AbortController();

  async function run(): Promise<void> {
    for (let failing = false; !stop.aborted;) {
      woken = new AbortController();
      let dueInMs: number | null = null;
      try {
        const sender = publisher();
        if (sender) dueInMs = await readNextDue(sql);
        if (sender && dueInMs === 0) dueInMs = report(await sendDue(sql, sender));
        failing = false;
      } catch (error) {
        if (!failing) {
          log.warning("Delayed retries cannot be sent; trying again", { error: messageOf(error) });
        }
        failing = true;
      }
      await pause(Math.min(dueInMs ?? pollIntervalMs, pollIntervalMs), AbortSignal.any([stop, woken.signal]));
    }
  }

  function report({ sent, refused, nextDueInMs }: SentRetries): number | null {
    if (sent > 0) options.onSent?.(sent);
    for (const { consumer, events, error } of refused) {
      log.warning("The broker does not take delayed retries", { consumer, events, error });
    }
    return nextDueInMs;
  }

  return { running: run(), wake: () => woken.abort() };
}

/** What became of the retries that were due. */
export interface SentRetries {
  /** How many the broker has taken. */
  readonly sent: number;
  /** For each consumer whose retries it did not take, how many they are, and why the first of them. */
  readonly refused: readonly { readonly consumer: string; readonly events: number; readonly error: string }[];
  /** In how many milliseconds the next one is due; null when none waits, or the broker gives no answer. */
  readonly nextDueInMs: number | null;
}

/**
 * Sends what is due, in one transaction whose row locks are the claim, as the relay does with events: killed in between,
 * it sends once more, which the inbox absorbs. What the broker does not take is due again a little later.
 */
export async function sendDue(sql: Sql, publisher: Publisher): Promise<SentRetries> {
  return await transaction(sql, async (tx) => {
    const byConsumer = Map.groupBy(await claimDueRetries(tx, MAX_RETRIES_SENT), ({ consumer }) => consumer);
    const sent: RetryKey[] = [];
    const refused: { consumer: string; events: number; error: string }[] = [];
    let isUnanswered = false;
    // One consumer after the other: an event that several get has one message id, by which the broker returns it.
    for (const [consumer, due] of byConsumer) {
      const outcome = await publisher.publish(due.map(messageFor), toQueue(consumer), CONFIRM_TIMEOUT_MS);
      sent.push(...outcome.confirmed.map((eventId) => ({ consumer, eventId })));
      await postponeRetries(
        tx,
        outcome.refused.map(({ id }) => ({ consumer, eventId: id })),
        UNSENT_AFTER_MS,
      );
      const [first] = outcome.refused;
      if (first) refused.push({ consumer, events: outcome.refused.length, error: first.error });
      isUnanswered ||= outcome.unknown.length > 0;
    }
    await markRetriesSent(tx, sent);
    return { sent: sent.length, refused, nextDueInMs: isUnanswered ? null : await readNextDue(tx) };
  });
}

function messageFor(retry: DueRetry) {
  const { eventId: id, eventType: type, correlationId, traceparent, body, retries, firstSeenAt } = retry;
  return {
    id,
    type,
    correlationId,
    traceparent,
    occurredAt: null,
    body,
    retryState: { retries, firstSeenAt },
  };
}
