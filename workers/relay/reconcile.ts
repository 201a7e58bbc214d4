/**
 * Reconciliation: re-sends published events that never arrived, because the broker lost them.
 *
 * @module
 */
import type { Binding, QueueDepth } from "../../shared/broker/connection.ts";
import { type Queryable, rowset, type Sql, transaction } from "../../shared/sql/connect.ts";
import { type Publisher, toQueue } from "../../shared/broker/publish.ts";
import { firstIdOf, readEventsForPublishing } from "../../shared/sql/outbox.ts";
import { CONFIRM_TIMEOUT_MS } from "./relay.ts";
import { keepDoing } from "../../shared/process/keep_doing.ts";
import type { Logger } from "../../shared/process/log.ts";

/** An event and one of its consumers, which has neither processed it nor put it aside. */
export interface UnsettledEvent {
  /** The event's id. */
  readonly eventId: string;
  /** The consumer, which is bound to the event's type. */
  readonly consumer: string;
  /** Whether it was sent so long ago, by whatever way it went last, that it must have been lost. */
  readonly overdue: boolean;
}

/** A stretch of the outbox that was looked at. */
export interface Sweep {
  /** What in it is not settled. */
  readonly unsettled: readonly UnsettledEvent[];
  /** The id of its last event; null when there was none. */
  readonly last: string | null;
}

/**
 * Looks at up to `limit` events with ids above `after` and below `before`, in the order of their ids. A dead letter,
 * open or discarded, counts as put aside: somebody knows of it, or has decided. So does a delayed retry: it is on time.
 * What was published, retried or redriven after `sentBefore` is still on its way.
 */
export async function sweepEvents(
  sql: Queryable,
  bindings: readonly Binding[],
  range: { readonly after: string; readonly before: string; readonly limit: number },
  sentBefore: Date,
): Promise<Sweep> {
  const rows = await sql<(Partial<UnsettledEvent> & { last: string })[]>`
    with chunk as materialized (
      select id, type, published_at from outbox_events
      where id > ${range.after} and id < ${range.before} order by id limit ${range.limit}
    )
    select (select id from chunk order by id desc limit 1) as last, u.*
    from (select) as once left join (${unsettled(sql, bindings, sentBefore)}) as u on true`;
  return { unsettled: rows.flatMap(toUnsettled), last: rows[0]?.last ?? null };
}

/** Those of the pairs of event and consumer that are still not settled. */
export async function stillUnsettled(
  sql: Queryable,
  bindings: readonly Binding[],
  eventIds: readonly string[],
  sentBefore: Date,
): Promise<UnsettledEvent[]> {
  if (eventIds.length === 0) return [];
  const rows = await sql<UnsettledEvent[]>`
    with chunk as materialized (
      select e.id, e.type, e.published_at from outbox_events e
      join jsonb_array_elements_text(${
    JSON.stringify(eventIds)
  }::text::jsonb) as wanted on e.id = wanted::uuid
    )
    ${unsettled(sql, bindings, sentBefore)}`;
  return rows.flatMap(toUnsettled);
}

/** Those among the events of `chunk`, which whatever this becomes a part of has at hand. */
function unsettled(sql: Queryable, bindings: readonly Binding[], sentBefore: Date) {
  return sql`
    select c.id as "eventId", b.consumer,
           coalesce(c.published_at <= ${sentBefore}, false)
             and not exists (
               select from delayed_retries r
               where r.event_id = c.id and r.consumer = b.consumer and r.sent_at > ${sentBefore})
             and not exists (
               select from dead_letters d
               where d.event_id = c.id and d.consumer = b.consumer and d.resolved_at > ${sentBefore}) as overdue
    from chunk c
    join jsonb_to_recordset(${
    rowset(bindings)
  }::text::jsonb) as b (consumer text, type text) on b.type = c.type
    where not exists (select from processed_events p where p.event_id = c.id and p.consumer = b.consumer)
      and not exists (
        select from dead_letters d where d.event_id = c.id and d.consumer = b.consumer and d.state <> 'REDRIVEN'
      )
      and not exists (
        select from delayed_retries r where r.event_id = c.id and r.consumer = b.consumer and r.due_at is not null
      )
    order by c.id`;
}

function toUnsettled({ eventId, consumer, overdue }: Partial<UnsettledEvent>): UnsettledEvent[] {
  if (eventId == null || consumer == null || overdue == null) return []; // the row of an empty sweep
  return [{ eventId, consumer, overdue }];
}

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

/** A connection to the broker, as reconciliation needs it. */
export interface ReconcileWire {
  /** Sends to single queues. */
  readonly publisher: Publisher;
  /** Asks the broker how the queues stand. */
  readonly readQueues: () => Promise<readonly QueueDepth[]>;
}

/** What the loop is made of. */
export interface ReconcilingOptions {
  /** A pool of the database, for the lock. */
  readonly sql: Sql;
  /** What does a pass. */
  readonly reconciler: Reconciler;
  /** The connection that is up; null while there is none. */
  readonly wire: () => ReconcileWire | null;
  /** The pause between two passes, in milliseconds. */
  readonly intervalMs: number;
  /** Told how many events a pass has sent to one consumer again. */
  readonly onResent?: ((events: number) => void) | undefined;
  /** Told of what was lost and sent again, and of a pass that failed. */
  readonly log: Logger;
}

/** Any number, the same for every relay of a database. */
const LOCK_KEY = 7_203_114_002;

/** Reconciles until `stop` is aborted. */
export function keepReconciling(options: ReconcilingOptions, stop: AbortSignal): Promise<void> {
  const { intervalMs: everyMs, log } = options;
  return keepDoing("Reconciliation", () => onePass(options), { everyMs, log, stop }).running;
}

/** Does a pass, unless another relay is at one: both would find the same events lost, and the same queues empty. */
async function onePass({ sql, reconciler, wire, onResent, log }: ReconcilingOptions): Promise<void> {
  const wired = wire();
  if (!wired) return;
  await transaction(sql, async (tx) => {
    const [lock] = await tx<{ ours: boolean }[]>`select pg_try_advisory_xact_lock(${LOCK_KEY}) as ours`;
    if (!lock?.ours) return;
    const { resent } = await reconciler.pass(wired.publisher, await wired.readQueues(), new Date());
    for (const [consumer, events] of Object.entries(resent)) {
      log.warning("Sent again what never arrived", { consumer, events });
      onResent?.(events);
    }
  });
}
