/**
 * Reconciliation: re-sends published events that never arrived, because the broker lost them.
 *
 * @module
 */
import type { Binding } from "../../shared/broker/topology.ts";
import type { QueueDepth } from "../../shared/broker/queue_depths.ts";
import { type Publisher, toQueue } from "../../shared/broker/publish.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { firstIdOf } from "../../shared/sql/id_time.ts";
import { stillUnsettled, sweepEvents, type UnsettledEvent } from "../../shared/sql/lost_events.ts";
import { readEventsForPublishing } from "../../shared/sql/outbox_events.ts";
import { CONFIRM_TIMEOUT_MS } from "./relay_batch.ts";

/** What a reconciler is made of. */
export interface ReconcilerOptions {
  /** A pool that may read the outbox, the inbox and the dead letters. */
  readonly sql: Sql;
  /** Who is to get which types of event. */
  readonly bindings: readonly Binding[];
  /**
   * How long ago, in milliseconds, an event must have been sent before it can count as lost. Longer than a worker may keep
   * one in its hands: what is merely slow would be sent for nothing.
   */
  readonly afterMs: number;
}

/** What one pass came to. */
export interface ReconcilePass {
  /** Events sent again, by consumer. */
  readonly resent: Readonly<Record<string, number>>;
  /** Pairs of event and consumer that are watched because they are not settled. */
  readonly watched: number;
}

/** Looks for lost events, a stretch of the outbox at a time. */
export interface Reconciler {
  /**
   * One pass: looks at the events that were unsettled before and at the next stretch of the outbox, and sends to each
   * consumer what it lacks, if its queue is empty and somebody consumes it: a backlog is never added to, and a consumer
   * that is away has its messages in its queue.
   */
  pass(publisher: Publisher, queues: readonly QueueDepth[], now: Date): Promise<ReconcilePass>;
}

/** Events that one pass looks at; reading their keys takes some ten milliseconds. */
const SWEEP_EVENTS = 10_000;
/** Pairs that are watched at most. When there are more, the sweep waits for them to settle. */
const MAX_WATCHED = 10_000;
/** Events that one pass sends to one consumer at most. */
const MAX_RESENT = 500;
const NIL = "00000000-0000-0000-0000-000000000000";

/**
 * Makes a reconciler. It sweeps the outbox in the order of ids, from its start to the events that are old enough, and
 * keeps what it finds unsettled on a list that it looks at again in each pass; at the end it starts over. Nothing is
 * stored: one that is restarted sweeps once more.
 */
export function createReconciler({ sql, bindings, afterMs }: ReconcilerOptions): Reconciler {
  let after = NIL;
  let watched: readonly UnsettledEvent[] = [];

  async function look(now: Date): Promise<void> {
    const sentBefore = new Date(now.getTime() - afterMs);
    const ids = [...new Set(watched.map(({ eventId }) => eventId))];
    const kept = await stillUnsettled(sql, bindings, ids, sentBefore);
    watched = kept;
    if (kept.length >= MAX_WATCHED) return;
    const before = firstIdOf(sentBefore); // what is younger was not sent before that either
    const sweep = await sweepEvents(sql, bindings, { after, before, limit: SWEEP_EVENTS }, sentBefore);
    const known = new Set(kept.map(keyOf));
    watched = [...kept, ...sweep.unsettled.filter((pair) => !known.has(keyOf(pair)))];
    after = sweep.last ?? NIL;
  }

  return {
    async pass(publisher, queues, now) {
      await look(now);
      const resent: Record<string, number> = {};
      for (const [consumer, ids] of lostByConsumer(watched, queues)) {
        const messages = await readEventsForPublishing(sql, ids);
        const { confirmed } = await publisher.publish(messages, toQueue(consumer), CONFIRM_TIMEOUT_MS);
        if (confirmed.length > 0) resent[consumer] = confirmed.length;
      }
      return { resent, watched: watched.length };
    },
  };
}

/**
 * Which events each consumer is to get again: overdue ones that it lacks, oldest first, so many at most, and only
 * where its queue is empty and somebody consumes it. Pure.
 */
export function lostByConsumer(
  unsettled: readonly UnsettledEvent[],
  queues: readonly QueueDepth[],
): Map<string, string[]> {
  const idle = new Set(queues.filter((q) => q.messages === 0 && q.consumers > 0).map(({ queue }) => queue));
  const lost = unsettled.filter(({ consumer, overdue }) => overdue && idle.has(consumer));
  const byConsumer = Map.groupBy(lost, ({ consumer }) => consumer);
  return new Map(
    [...byConsumer].map((
      [consumer, pairs],
    ) => [consumer, pairs.slice(0, MAX_RESENT).map(({ eventId }) => eventId)]),
  );
}

function keyOf({ eventId, consumer }: UnsettledEvent): string {
  return `${eventId} ${consumer}`;
}
