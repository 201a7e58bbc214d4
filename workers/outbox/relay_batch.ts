/**
 * One batch of the outbox relay: claim, publish, mark.
 *
 * @module
 */
import { retryDelayMs } from "../../shared/broker/next_step.ts";
import type { Publisher, PublishOutcome, Route } from "../../shared/broker/publish.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { claimEvents, markPublished, markRefused } from "../../shared/sql/outbox_events.ts";

/** How long the broker may take to answer for a batch, in milliseconds. */
export const CONFIRM_TIMEOUT_MS = 30_000;

/** An event that the broker did not take. */
export interface RefusedOne {
  /** The event's id. */
  readonly id: string;
  /** Why it was not taken. */
  readonly error: string;
  /** W3C trace context; null where there is none. */
  readonly traceparent: string | null;
}

/** What one batch came to. */
export interface RelayedBatch {
  /** How many events were due and have been taken. */
  readonly claimed: number;
  /** The id of the last of them; null where there is none, or it had been refused before. */
  readonly lastId: string | null;
  /** How many of them the broker has confirmed. */
  readonly published: number;
  /** Those that it did not take, each with why. */
  readonly refused: readonly RefusedOne[];
  /** How many events have no answer, because the channel went away. They stay as they were, and are claimed again. */
  readonly unanswered: number;
  /** Why the broker closed the channel, if it did so for what is in one of the unanswered events; null otherwise. */
  readonly offence: string | null;
}

/**
 * Publishes up to `limit` due events, with `after` only new ones above that id, in one transaction. Its row locks are the claim: a relay that dies, or whose
 * connection does, leaves nothing to clean up. Killed between the broker's confirm and the commit, it leaves events to
 * be published once more, which the consumers' inbox absorbs: at least once here, exactly one effect there.
 *
 * An event for which the broker closes the channel counts as refused if it was alone; among others, nobody can tell.
 */
export async function relayBatch(
  sql: Sql,
  publisher: Publisher,
  route: Route,
  limit: number,
  after: string | null = null,
): Promise<RelayedBatch> {
  return await transaction(sql, async (tx) => {
    const events = await claimEvents(tx, limit, after);
    if (events.length === 0) return NOTHING;
    const outcome = aloneAtFault(await publisher.publish(events, route, CONFIRM_TIMEOUT_MS));
    const byId = new Map(events.map((event) => [event.id, event]));
    await Promise.all([
      markPublished(tx, outcome.confirmed),
      markRefused(
        tx,
        outcome.refused.map(({ id, error }) => ({
          id,
          error,
          retryInMs: retryDelayMs(byId.get(id)?.retryCount ?? 0, Math.random()),
        })),
      ),
    ]);
    const last = events.at(-1);
    return {
      claimed: events.length,
      lastId: last?.retryCount === 0 ? last.id : null,
      published: outcome.confirmed.length,
      refused: outcome.refused.map((one) => ({ ...one, traceparent: byId.get(one.id)?.traceparent ?? null })),
      unanswered: outcome.unknown.length,
      offence: outcome.offence,
    };
  });
}

const NOTHING: RelayedBatch = {
  claimed: 0,
  lastId: null,
  published: 0,
  refused: [],
  unanswered: 0,
  offence: null,
};

/** An event that was the only one to be sent and made the broker close the channel is refused. */
function aloneAtFault(outcome: PublishOutcome): PublishOutcome {
  const { confirmed, refused, unknown: [only, ...others], offence } = outcome;
  const isAlone = confirmed.length + refused.length + others.length === 0;
  if (offence === null || only === undefined || !isAlone) return outcome;
  return {
    ...outcome,
    refused: [{ id: only, error: `the broker closed the channel: ${offence}` }],
    unknown: [],
  };
}
