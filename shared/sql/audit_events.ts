/**
 * The checks of the audit that look at one event at a time: where it should have gone, and where it went.
 *
 * @module
 */
import { bindingsOf } from "../broker/topology.ts";
import {
  type AuditPromise,
  type AuditScope,
  type Found,
  foundIn,
  graceStart,
  type ViolationRow,
} from "./audit_scope.ts";
import { type Queryable, rowset } from "./connect.ts";

/** A check of events. */
export interface EventCheck {
  /** What it looks for, in words that say what is wrong. */
  readonly check: string;
  /** The promise that is broken where it finds something. */
  readonly promise: AuditPromise;
  /** Looks for it. */
  readonly find: (sql: Queryable, scope: AuditScope) => Promise<Found>;
}

/** The checks of events. */
export const EVENT_CHECKS: readonly EventCheck[] = [
  { check: "event not published", promise: 4, find: findUnpublished },
  { check: "event lost on its way to a consumer", promise: 1, find: findLost },
  { check: "event processed by a consumer that is not bound to it", promise: 2, find: findUnbound },
];

async function findUnpublished(sql: Queryable, scope: AuditScope): Promise<Found> {
  return foundIn(
    await sql<ViolationRow[]>`
    select order_id as "orderId", id as "eventId", count(*) over ()::int as total,
           format('%s, refused %s times%s', type, retry_count, ': ' || last_error) as detail
    from outbox_events
    where published_at is null and occurred_at <= ${graceStart(sql, scope)}
    order by order_id, id limit ${scope.limit}`,
  );
}

/**
 * Neither processed nor put aside: a dead letter that was discarded is a decision, one that was redriven is not. Whichever
 * way an event was sent last, it has the grace to arrive.
 */
async function findLost(sql: Queryable, scope: AuditScope): Promise<Found> {
  const due = graceStart(sql, scope);
  return foundIn(
    await sql<ViolationRow[]>`
    select e.order_id as "orderId", e.id as "eventId", count(*) over ()::int as total,
           format('%s, not processed by %s', e.type, b.consumer) as detail
    from outbox_events e
    join jsonb_to_recordset(${
      rowset(bindingsOf(scope.topology))
    }::text::jsonb) as b (consumer text, type text) using (type)
    where e.published_at <= ${due}
      and not exists (select from processed_events p where p.event_id = e.id and p.consumer = b.consumer)
      and not exists (
        select from dead_letters d
        where d.event_id = e.id and d.consumer = b.consumer and (d.state <> 'REDRIVEN' or d.resolved_at > ${due}))
      and not exists (
        select from delayed_retries r
        where r.event_id = e.id and r.consumer = b.consumer and greatest(r.due_at, r.sent_at) > ${due})
    order by e.order_id, e.id, b.consumer limit ${scope.limit}`,
  );
}

async function findUnbound(sql: Queryable, { topology, limit }: AuditScope): Promise<Found> {
  return foundIn(
    await sql<ViolationRow[]>`
    select e.order_id as "orderId", e.id as "eventId", count(*) over ()::int as total,
           format('%s, processed by %s', e.type, p.consumer) as detail
    from processed_events p
    join outbox_events e on e.id = p.event_id
    where not exists (
      select from jsonb_to_recordset(${
      rowset(bindingsOf(topology))
    }::text::jsonb) as b (consumer text, type text)
      where b.consumer = p.consumer and b.type = e.type)
    order by e.order_id, e.id, p.consumer limit ${limit}`,
  );
}
