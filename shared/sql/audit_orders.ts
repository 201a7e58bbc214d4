/**
 * The checks of the audit that hold what the modules' tables say of an order against one another and against its events.
 *
 * @module
 */
import {
  decideTransition,
  isFinal,
  ORDER_STATUSES,
  ORDER_TRANSITIONS,
  type OrderStatus,
} from "../order_status.ts";
import {
  type AuditPromise,
  type AuditScope,
  type Found,
  foundIn,
  type Fragment,
  type ViolationRow,
} from "./audit_scope.ts";
import { type Queryable, rowset } from "./connect.ts";

/** A check of orders. */
export interface OrderCheck {
  /** What it looks for, in words that say what is wrong. */
  readonly check: string;
  /** The promise that is broken where it finds something. */
  readonly promise: AuditPromise;
  /** The condition on a row of `ledger` (see below) under which it finds the order. */
  readonly when: (sql: Queryable) => Fragment;
}

/**
 * The checks of orders. The first sixteen are pairs: a row and its event commit together, so one without the other is
 * wrong at any time. The same goes for an effect without its cause, which committed before it. Only what waits for a
 * consumer asks how old it is.
 */
export const ORDER_CHECKS: readonly OrderCheck[] = [
  ...pair("order", (sql) => sql`status <> 'none'`, "order.created", (sql) => sql`created`),
  ...pair("charge", (sql) => sql`is_charged`, "payment.succeeded", (sql) => sql`charged`),
  ...pair("declined payment", (sql) => sql`payment = 'FAILED'`, "payment.failed", (sql) => sql`declined`),
  ...pair("seat", (sql) => sql`seat = 'GRANTED'`, "enrollment.granted", (sql) => sql`granted`),
  ...pair("refused seat", (sql) => sql`seat = 'FAILED'`, "enrollment.failed", (sql) => sql`refused`),
  ...pair("order under refund", (sql) => sql`is_under_refund`, "refund.requested", (sql) => sql`requested`),
  ...pair("refund", (sql) => sql`payment = 'REFUND_SUCCEEDED'`, "refund.succeeded", (sql) => sql`refunded`),
  ...pair("notification", (sql) => sql`notifications > 0`, "notification.sent", (sql) => sql`sent`),
  {
    check: "order status that its events do not lead to",
    promise: 4,
    when: (sql) => sql`status not in ('none', status_by_events, 'PAID')`,
  },
  {
    check: "event that an order has twice",
    promise: 2,
    when: (sql) => sql`greatest(created, charged, declined, granted, refused, requested, refunded, sent) > 1`,
  },
  {
    check: "paid order without charge",
    promise: 2,
    when: (sql) => sql`(status in ('PAID', 'COMPLETED') or is_under_refund) and not is_charged`,
  },
  {
    check: "PAYMENT_FAILED order without declined payment",
    promise: 2,
    when: (sql) => sql`status = 'PAYMENT_FAILED' and payment <> 'FAILED'`,
  },
  {
    check: "COMPLETED order without seat",
    promise: 2,
    when: (sql) => sql`status = 'COMPLETED' and seat <> 'GRANTED'`,
  },
  {
    check: "notification of what has not happened",
    promise: 2,
    when: (sql) =>
      sql`(told_completed and granted = 0) or (told_declined and declined = 0) or (told_refunded and refunded = 0)`,
  },
  {
    check: "outcome without notification",
    promise: 1,
    when: (sql) => sql`outcome_is_old and notifications + sent = 0 and not is_put_aside`,
  },
  {
    check: "refund without cause",
    promise: 3,
    when: (sql) => sql`payment = 'REFUND_SUCCEEDED' and not (seat = 'FAILED' and is_under_refund)`,
  },
  {
    check: "charge kept although there is no seat",
    promise: 3,
    when: (sql) => sql`seat = 'FAILED' and seat_is_old and payment = 'SUCCEEDED' and not is_put_aside`,
  },
  { check: "order stuck", promise: 1, when: (sql) => sql`is_unfinished_and_old and not is_put_aside` },
];

/** Orders that an open dead letter holds up. No violation: nothing is lost, somebody has to decide. */
export const WAITING = "order waiting for an operator";

/** The two checks of what commits together: a row of a module's table, and the event that tells of it. */
function pair(
  what: string,
  holds: (sql: Queryable) => Fragment,
  event: string,
  events: (sql: Queryable) => Fragment,
): OrderCheck[] {
  return [
    {
      check: `${what} without ${event}`,
      promise: 4,
      when: (sql) => sql`${holds(sql)} and ${events(sql)} = 0`,
    },
    {
      check: `${event} without ${what}`,
      promise: 4,
      when: (sql) => sql`${events(sql)} > 0 and not (${holds(sql)})`,
    },
  ];
}

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
 * consumers of the orders module have processed. Every table is read once and whole, and joined by hashes.
 */
function ledger(sql: Queryable, { topology, graceSeconds }: AuditScope): Fragment {
  const due = sql`now() - make_interval(secs => ${graceSeconds}::float8)`;
  const { ordersPaymentEvents, ordersLifecycleEvents } = topology.queues;
  return sql`
    with events as (
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
      where p.consumer in (${ordersPaymentEvents.name}, ${ordersLifecycleEvents.name})
      group by order_id
    ), told as (
      select order_id, count(*) as notifications, bool_or(type = 'ORDER_COMPLETED') as told_completed,
             bool_or(type = 'PAYMENT_FAILED') as told_declined, bool_or(type = 'ORDER_REFUNDED') as told_refunded
      from notifications group by order_id
    ), put_aside as (
      select distinct order_id from dead_letters where state = 'OPEN' and order_id is not null
    )
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
           put_aside.order_id is not null as is_put_aside, by_events.status as status_by_events
    from (select id as order_id, status, updated_at from orders) as o
    full join (select order_id, status from payments) as p using (order_id)
    full join (select order_id, status, created_at from enrollments) as s using (order_id)
    full join told using (order_id)
    full join events using (order_id)
    left join applied using (order_id)
    left join put_aside using (order_id)
    left join jsonb_to_recordset(${rowset(STATUSES)}::text::jsonb) as by_events (bits int, status text)
      on by_events.bits = coalesce(applied.bits, 0)`;
}

/** What the tables say of an order, for people: `order PAID, payment SUCCEEDED, seat none, …`. */
function describe(sql: Queryable): Fragment {
  return sql`
    format('order %s, payment %s, seat %s, notifications %s; events: ', status, payment, seat, notifications) ||
    concat_ws(', ', created || ' order.created', nullif(charged, 0) || ' payment.succeeded',
      nullif(declined, 0) || ' payment.failed', nullif(granted, 0) || ' enrollment.granted',
      nullif(refused, 0) || ' enrollment.failed', nullif(requested, 0) || ' refund.requested',
      nullif(refunded, 0) || ' refund.succeeded', nullif(sent, 0) || ' notification.sent')`;
}

/** Runs all checks of orders, and looks for those that wait, in one statement. Answers with what each has found. */
export async function auditOrders(
  sql: Queryable,
  scope: AuditScope,
): Promise<(check: string) => Found> {
  const waiting = { check: WAITING, when: () => sql`is_unfinished_and_old and is_put_aside` };
  const looks = [...ORDER_CHECKS, waiting];
  // Most orders meet no condition: they are left behind before the conditions are told apart.
  const any = looks.map(({ when }, i) => i === 0 ? sql`${when(sql)}` : sql`or (${when(sql)})`);
  const each = looks.map(({ check, when }, i) => sql`${i === 0 ? sql`` : sql`,`} (${check}, ${when(sql)})`);
  const rows = await sql<(ViolationRow & { check: string })[]>`
    select "check", order_id as "orderId", null as "eventId", total, detail
    from (
      select "check", order_id, ${describe(sql)} as detail,
             count(*) over (partition by "check")::int as total,
             row_number() over (partition by "check" order by order_id) as place
      from (${ledger(sql, scope)}) as ledger
      cross join lateral (values ${each}) as look ("check", finds)
      where (${any}) and finds
    ) as found
    where place <= ${scope.limit}
    order by "check", order_id`;
  const byCheck = Map.groupBy(rows, ({ check }) => check);
  return (check) => foundIn(byCheck.get(check) ?? []);
}
