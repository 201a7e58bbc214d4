/**
 * Finds published events that did not arrive. For the relay's reconciliation and for ops.
 *
 * @module
 */
import type { Binding } from "../broker/topology.ts";
import { type Queryable, rowset } from "./connect.ts";

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
