// Delayed retries: sends to each consumer, when it is due, what failed for now.

import { type OutgoingMessage, type Publisher, publishToQueues } from "../../shared/broker/publish.ts";
import { type Chore, keepDoing } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import {
  claimDueRetries,
  type DueRetry,
  markRetriesSent,
  postponeRetries,
  readNextDue,
} from "../../shared/sql/set_aside.ts";
import { CONFIRM_TIMEOUT_MS } from "./relay.ts";

/** In one transaction. */
const MAX_RETRIES_SENT = 500;
/** When a retry is due once more that the broker did not take. */
const UNSENT_AFTER_MS = 5000;

/** Sends what is due until `stop` is aborted. To be woken when there are new retries. */
export function keepRetrying(
  { sql, publisher, pollIntervalMs, onSent, log }: {
    readonly sql: Sql;
    readonly publisher: () => Publisher | null;
    readonly pollIntervalMs: number;
    readonly onSent?: (retries: number) => void;
    readonly log: Logger;
  },
  stop: AbortSignal,
): Chore {
  async function look(): Promise<number> {
    const sender = publisher();
    let dueInMs = sender && await readNextDue(sql);
    if (sender && dueInMs === 0) {
      const { sent, refused, nextDueInMs } = await sendDue(sql, sender);
      if (sent > 0) onSent?.(sent);
      for (const what of refused) log.warning("The broker does not take delayed retries", what);
      dueInMs = nextDueInMs;
    }
    return Math.min(dueInMs ?? pollIntervalMs, pollIntervalMs);
  }

  return keepDoing("Sending delayed retries", look, { everyMs: pollIntervalMs, log, stop });
}

/**
 * Sends what is due, in one transaction whose row locks are the claim, as the relay does with events: killed in between,
 * it sends once more, which the inbox absorbs. What the broker does not take is due again 5 s later. Answers with how
 * many it has taken, for each consumer how many it has `refused` and why the first of them, and in how many milliseconds
 * the next one is due: null when none waits, or the broker gives no answer.
 *
 * Errors: those of {@linkcode transaction}.
 */
export async function sendDue(sql: Sql, publisher: Publisher) {
  return await transaction(sql, async (tx) => {
    const due = await claimDueRetries(tx, MAX_RETRIES_SENT);
    const { taken, refused, silence } = await publishToQueues(publisher, due, messageFor, CONFIRM_TIMEOUT_MS);
    await markRetriesSent(tx, taken);
    await postponeRetries(tx, refused.map(({ thing }) => thing), UNSENT_AFTER_MS);
    const byConsumer = Map.groupBy(refused, ({ thing }) => thing.consumer);
    return {
      sent: taken.length,
      refused: [...byConsumer].map(([consumer, all]) => ({
        consumer,
        events: all.length,
        error: all[0]?.error,
      })),
      nextDueInMs: silence === null ? await readNextDue(tx) : null,
    };
  });
}

function messageFor({ eventId: id, eventType: type, retries, ageMs, ...message }: DueRetry): OutgoingMessage {
  return { id, type, occurredAt: null, retryState: { retries, ageMs }, ...message };
}
