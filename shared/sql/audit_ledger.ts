/**
 * The ledger that the audit holds orders against: what every module's table and the events say of each order, in one row.
 *
 * @module
 */
import type { Topology } from "../broker/topology.ts";
import {
  decideTransition,
  isFinal,
  ORDER_STATUSES,
  ORDER_TRANSITIONS,
  type OrderStatus,
} from "../order_status.ts";
import { type AuditScope, type Fragment, graceStart } from "./audit_scope.ts";
import { type Queryable, rowset } from "./connect.ts";

/** The status of an order whose consumers have processed events of just these types. */
function statusAfter(types: ReadonlySet<string>): OrderStatus {
  for (let status: OrderStatus = "PENDING";;) {
    const moves = ORDER_TRANSITIONS.filter(({ on }) => types.has(on)).map(({ on }) =>
      decideTransition(status, on)
    );
    const move = moves.find((decision) => decision.kind === "move");
    if (!move) return status;
    status = move.to;
  }
}

/** A bit for each event that can move an order. */
const TRIGGERS = ORDER_TRANSITIONS.map(({ on }, i) => ({ type: on, bit: 1 << i }));

/** What the state machine says for every set of events, so that the database can look it up. */
const STATUSES = Array.from({ length: 1 << TRIGGERS.length }, (_, bits) => ({
  bits,
  status: statusAfter(new Set(TRIGGERS.filter(({ bit }) => bits & bit).map(({ type }) => type))),
}));

/**
 * A row for each order that any table knows: what each module has, how many events of each type there are, and what the
 * consumers of the orders module have processed. Tables are read whole, the outbox twice, and joined by hashes.
 */
export function ledger(sql: Queryable, scope: AuditScope): Fragment {
  const { topology, retentionDays } = scope;
  const due = graceStart(sql, scope);
  // An hour in hand: those who prune have clocks of their own.
  const kept = sql`now() - make_interval(days => ${retentionDays}::int) + interval '1 hour'`;
  return sql`
    with ${parts(sql, topology, due)}
    select order_id, coalesce(o.status, 'none') as status, coalesce(p.status, 'none') as payment,
           coalesce(s.status, 'none') as seat, coalesce(notifications, 0) as notifications,
           coalesce(created, 0) as created, coalesce(charged, 0) as charged, coalesce(declined, 0) as declined,
           coalesce(granted, 0) as granted, coalesce(refused, 0) as refused,
           coalesce(requested, 0) as requested, coalesce(refunded, 0) as refunded, coalesce(sent, 0) as sent,
           coalesce(told_completed, false) as told_completed, coalesce(told_declined, false) as told_declined,
           coalesce(told_refunded, false) as told_refunded,
           coalesce(p.status <> 'FAILED', false) as is_charged,
           coalesce(o.status in ('REFUND_IN_PROGRESS', 'REFUNDED'), false) as is_under_refund,
           coalesce(o.status in ${sql(ORDER_STATUSES.filter((status) => !isFinal(status)))}
                    and o.updated_at <= ${due}, false) as is_unfinished_and_old,
           coalesce(outcome_at <= ${due}, false) as outcome_is_old,
           coalesce(s.created_at <= ${due}, false) as seat_is_old,
           coalesce(o.created_at, p.created_at, s.created_at, told_at, now()) > ${kept} as has_all_events,
           put_aside.order_id is not null as is_put_aside, coalesce(has_open_letter, false) as has_open_letter,
           by_events.status as status_by_events
    from (select id as order_id, status, created_at, updated_at from orders) as o
    full join (select order_id, status, created_at from payments) as p using (order_id)
    full join (select order_id, status, created_at from enrollments) as s using (order_id)
    full join told using (order_id)
    full join events using (order_id)
    left join applied using (order_id)
    left join put_aside using (order_id)
    left join jsonb_to_recordset(${rowset(STATUSES)}::text::jsonb) as by_events (bits int, status text)
      on by_events.bits = coalesce(applied.bits, 0)`;
}

/**
 * What the ledger is put together from, besides the modules' own tables: each with a row per order. Put aside is what an
 * open dead letter holds up, and what has not had its time yet since it was redriven.
 */
function parts(sql: Queryable, { queues }: Topology, due: Fragment): Fragment {
  return sql`
    events as (
      select order_id,
             count(*) filter (where type = 'order.created') as created,
             count(*) filter (where type = 'payment.succeeded') as charged,
             count(*) filter (where type = 'payment.failed') as declined,
             count(*) filter (where type = 'enrollment.granted') as granted,
             count(*) filter (where type = 'enrollment.failed') as refused,
             count(*) filter (where type = 'refund.requested') as requested,
             count(*) filter (where type = 'refund.succeeded') as refunded,
             count(*) filter (where type = 'notification.sent') as sent,
             max(occurred_at) filter (
               where type in ('enrollment.granted', 'payment.failed', 'refund.succeeded')) as outcome_at
      from outbox_events group by order_id
    ), applied as (
      select order_id, bit_or(bit) as bits
      from outbox_events e
      join jsonb_to_recordset(${rowset(TRIGGERS)}::text::jsonb) as t (type text, bit int) using (type)
      join processed_events p on p.event_id = e.id
      where p.consumer in (${queues.ordersPaymentEvents.name}, ${queues.ordersLifecycleEvents.name})
      group by order_id
    ), told as (
      select order_id, count(*) as notifications, min(sent_at) as told_at, bool_or(type = 'ORDER_COMPLETED') as told_completed,
             bool_or(type = 'PAYMENT_FAILED') as told_declined, bool_or(type = 'ORDER_REFUNDED') as told_refunded
      from notifications group by order_id
    ), put_aside as (
      select order_id, bool_or(state = 'OPEN') as has_open_letter from dead_letters
      where order_id is not null and (state = 'OPEN' or state = 'REDRIVEN' and resolved_at > ${due})
      group by order_id
    )`;
}

/** What the tables say of an order, for people: `order PAID, payment SUCCEEDED, seat none, …`. */
export function describeLedger(sql: Queryable): Fragment {
  return sql`
    format('order %s, payment %s, seat %s, notifications %s; events: ', status, payment, seat, notifications) ||
    concat_ws(', ', created || ' order.created', nullif(charged, 0) || ' payment.succeeded',
      nullif(declined, 0) || ' payment.failed', nullif(granted, 0) || ' enrollment.granted',
      nullif(refused, 0) || ' enrollment.failed', nullif(requested, 0) || ' refund.requested',
      nullif(refunded, 0) || ' refund.succeeded', nullif(sent, 0) || ' notification.sent')`;
}
