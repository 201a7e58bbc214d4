// The audit: checks the promises over the whole database, and names what breaks them.

import type postgres from "postgres";
import { bindingsOf } from "../broker/connection.ts";
import type { Topology } from "../topology.ts";
import { type Queryable, rowset, type Sql, transaction } from "../sql/connect.ts";
import { lettersOf } from "../sql/lost_events.ts";
import { isFinal, ORDER_STATUSES, ORDER_TRANSITIONS } from "../order_status.ts";
import { findHeldSince } from "./holds.ts";
import type { AuditJson, Row, Violation } from "./answers.ts";
import { movesOf } from "./timeline.ts";

/** What the audit has found in one snapshot of the database; `checkedAt` is by the database's clock. */
export type Audit = Row<AuditJson>;

type AuditCheck = Audit["checks"][number];
type Fragment = postgres.Fragment;
/** A violation, and how many the check has found in all. */
type ViolationRow = Violation & { readonly total: number };

interface AuditScope {
  readonly topology: Topology;
  /** The time up to which a cause is old enough for its effect to be missed. */
  readonly due: Fragment;
  readonly retentionDays: number;
}

/** The violations are the first of them by order and event. */
function foundIn(rows: readonly ViolationRow[]): Pick<AuditCheck, "count" | "violations"> {
  return {
    count: rows[0]?.total ?? 0,
    violations: rows.map(({ orderId, eventId, detail }) => ({ orderId, eventId, detail })),
  };
}

/** An expression of SQL, for whichever connection asks. */
type Expression = (sql: Queryable) => Fragment;

/** One without values. */
const expr = (text: TemplateStringsArray): Expression => (sql) => sql(text);

/** A check of orders: what is wrong, the promise that is broken then, and the condition on a row of the `ledger`. */
interface OrderCheck {
  readonly check: string;
  readonly promise: number;
  readonly when: Expression;
}

/**
 * The checks of orders. The first sixteen are pairs: a row and its event commit together, so one without the other is
 * wrong at any time. The same goes for an effect without its cause, which committed before it. Only what waits for a
 * consumer asks how old it is.
 */
const ORDER_CHECKS: readonly OrderCheck[] = [
  ...pair("order", expr`status <> 'none'`, "order.created", expr`created`),
  ...pair("charge", expr`is_charged`, "payment.succeeded", expr`charged`),
  ...pair("declined payment", expr`payment = 'FAILED'`, "payment.failed", expr`declined`),
  ...pair("seat", expr`seat = 'GRANTED'`, "enrollment.granted", expr`granted`),
  ...pair("refused seat", expr`seat = 'FAILED'`, "enrollment.failed", expr`refused`),
  ...pair("order under refund", expr`is_under_refund`, "refund.requested", expr`requested`),
  ...pair("refund", expr`payment = 'REFUND_SUCCEEDED'`, "refund.succeeded", expr`refunded`),
  ...pair("notification", expr`notifications > 0`, "notification.sent", expr`sent`),
  ...breaking(4, {
    "order status that its events do not lead to":
      expr`status not in ('none', status_by_events) and has_all_events`,
  }),
  ...breaking(2, {
    "event that an order has twice":
      expr`greatest(created, charged, declined, granted, refused, requested, refunded, sent) > 1`,
    "payment of another amount or course than its order's": expr`paid_otherwise is not null`,
    "seat in another course than its order's": expr`seated_elsewhere is not null`,
    "paid order without charge":
      expr`(status in ('PAID', 'COMPLETED') or is_under_refund) and not is_charged`,
    "PAYMENT_FAILED order without declined payment": expr`status = 'PAYMENT_FAILED' and payment <> 'FAILED'`,
    "COMPLETED order without seat": expr`status = 'COMPLETED' and seat <> 'GRANTED'`,
    "notification of what has not happened": expr`has_all_events and (
        (told_completed and granted = 0) or (told_declined and declined = 0) or (told_refunded and refunded = 0))`,
  }),
  ...breaking(1, {
    "outcome without notification": expr`outcome_is_old and notifications + sent = 0 and not is_put_aside`,
  }),
  ...breaking(3, {
    "refund without cause": expr`payment = 'REFUND_SUCCEEDED' and not (seat = 'FAILED' and is_under_refund)`,
    "charge kept although there is no seat":
      expr`seat = 'FAILED' and seat_is_old and payment = 'SUCCEEDED' and not is_put_aside`,
  }),
  ...breaking(1, { "order stuck": expr`is_unfinished_and_old and not is_put_aside` }),
];

/** Orders that an open dead letter holds up. No violation: nothing is lost, somebody has to decide. */
const WAITING = {
  check: "order waiting for an operator",
  when: expr`is_unfinished_and_old and has_open_letter`,
};

function breaking(promise: number, checks: Readonly<Record<string, Expression>>): OrderCheck[] {
  return Object.entries(checks).map(([check, when]) => ({ check, promise, when }));
}

/** The two checks of what commits together: a row of a module's table, and the event that tells of it. */
function pair(what: string, holds: Expression, event: string, events: Expression): OrderCheck[] {
  return breaking(4, {
    [`${what} without ${event}`]: (sql) => sql`${holds(sql)} and ${events(sql)} = 0 and has_all_events`,
    [`${event} without ${what}`]: (sql) => sql`${events(sql)} > 0 and not (${holds(sql)})`,
  });
}

/** Runs all checks of orders, and looks for those that wait, in one statement. Answers with what each has found. */
async function auditOrders(sql: Queryable, scope: AuditScope) {
  const looks = [...ORDER_CHECKS, WAITING];
  // Most orders meet no condition: they are left behind before the conditions are told apart.
  const any = looks.map(({ when }, i) => i === 0 ? sql`${when(sql)}` : sql`or (${when(sql)})`);
  const each = looks.map(({ check, when }, i) => sql`${i === 0 ? sql`` : sql`,`} (${check}, ${when(sql)})`);
  const rows = await sql<(ViolationRow & { check: string })[]>`
    select "check", order_id as "orderId", null as "eventId", total, detail
    from (
      select "check", order_id, ${describeLedger(sql)} as detail,
             count(*) over (partition by "check")::int as total,
             row_number() over (partition by "check" order by order_id) as place
      from (${ledger(sql, scope)}) as ledger
      cross join lateral (values ${each}) as look ("check", finds)
      where (${any}) and finds
    ) as found
    where place <= ${AUDIT_ROWS}
    order by "check", order_id`;
  const byCheck = Map.groupBy(rows, ({ check }) => check);
  return (check: string) => foundIn(byCheck.get(check) ?? []);
}

/** A bit for each event that can move an order. */
const TRIGGERS = ORDER_TRANSITIONS.map(({ on }, i) => ({ type: on, bit: 1 << i }));

/** What the state machine says for every set of events, so that the database can look it up. */
const STATUSES = Array.from({ length: 1 << TRIGGERS.length }, (_, bits) => ({
  bits,
  status: movesOf(TRIGGERS.flatMap(({ type, bit }) => bits & bit ? { eventType: type } : [])).at(-1)?.to ??
    "PENDING",
}));

/**
 * A row for each order that any table knows: what each module has, how many events of each type there are, and what the
 * consumers of the orders module have processed. Tables are read whole, the outbox twice, and joined by hashes.
 */
function ledger(sql: Queryable, { topology, due, retentionDays }: AuditScope): Fragment {
  // An hour less: those who prune have clocks of their own.
  const kept = sql`now() - make_interval(days => ${retentionDays}::int) + interval '1 hour'`;
  return sql`
    with ${tablesOfLedger(sql, topology, due)}
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
                    and greatest(o.updated_at, published_at) <= ${due}, false) as is_unfinished_and_old,
           coalesce(outcome_at <= ${due}, false) as outcome_is_old,
           coalesce(greatest(s.created_at, published_at) <= ${due}, false) as seat_is_old,
           coalesce(o.created_at, p.created_at, s.created_at, told_at, now()) > ${kept} as has_all_events,
           put_aside.order_id is not null as is_put_aside, coalesce(has_open_letter, false) as has_open_letter,
           by_events.status as status_by_events,
           case when p.amount <> o.amount or p.course_id <> o.course_id then
             format('paid %s for the course %s, not %s for %s', p.amount, p.course_id, o.amount, o.course_id)
           end as paid_otherwise,
           case when s.course_id <> o.course_id then
             format('the seat is in the course %s, not in %s', s.course_id, o.course_id)
           end as seated_elsewhere
    from (select id as order_id, status, amount, course_id, created_at, updated_at from orders) as o
    full join (select order_id, status, amount, course_id, created_at from payments) as p using (order_id)
    full join (select order_id, status, course_id, created_at from enrollments) as s using (order_id)
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
function tablesOfLedger(sql: Queryable, { queues }: Topology, due: Fragment): Fragment {
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
             max(published_at) as published_at, -- by the database's clock, unlike the times that modules write
             max(published_at) filter (
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
function describeLedger(sql: Queryable): Fragment {
  return sql`
    format('order %s, payment %s, seat %s, notifications %s; events: ', status, payment, seat, notifications) ||
    concat_ws(', ', created || ' order.created', nullif(charged, 0) || ' payment.succeeded',
      nullif(declined, 0) || ' payment.failed', nullif(granted, 0) || ' enrollment.granted',
      nullif(refused, 0) || ' enrollment.failed', nullif(requested, 0) || ' refund.requested',
      nullif(refunded, 0) || ' refund.succeeded', nullif(sent, 0) || ' notification.sent') ||
    coalesce('; ' || paid_otherwise, '') || coalesce('; ' || seated_elsewhere, '')`;
}

/** A check of events: what is wrong with one, and among which; `among` goes on behind `from outbox_events e`. */
interface EventCheck {
  readonly check: string;
  readonly promise: number;
  readonly detail: Expression;
  readonly among: (sql: Queryable, scope: AuditScope) => Fragment;
}

const EVENT_CHECKS: readonly EventCheck[] = [
  {
    check: "event not published",
    promise: 4,
    detail: expr`format('%s, refused %s times%s', type, retry_count, ': ' || last_error)`,
    among: (sql, { due }) => sql`where published_at is null and occurred_at <= ${due}`,
  },
  {
    // Neither processed nor put aside: a dead letter that was discarded is a decision, one that was redriven is not.
    // Whichever way an event was sent last, it has the grace to arrive. A consumer was not owed what was published before
    // it was bound.
    check: "event lost on its way to a consumer",
    promise: 1,
    detail: expr`format('%s, not processed by %s', e.type, b.consumer)`,
    among: (sql, { topology, due }) =>
      sql`
      join (${boundTypes(sql, topology)}) as b using (type)
      left join reconciliation_cursors c on c.consumer = b.consumer and c.type = b.type
      where e.published_at <= ${due} and e.published_at >= coalesce(c.bound_since, '-infinity')
        and not exists (select from processed_events p where p.event_id = e.id and p.consumer = b.consumer)
        and not exists (${lettersOf(sql, due)})
        and not exists (
          select from delayed_retries r
          where r.event_id = e.id and r.consumer = b.consumer and greatest(r.due_at, r.sent_at) > ${due})`,
  },
  {
    check: "event processed by a consumer that is not bound to it",
    promise: 2,
    detail: expr`format('%s, processed by %s', e.type, p.consumer)`,
    among: (sql, { topology }) =>
      sql`
      join processed_events p on p.event_id = e.id
      where not exists (
        select from (${boundTypes(sql, topology)}) as b where b.consumer = p.consumer and b.type = e.type)`,
  },
];

/** What a check of events has found. */
async function auditEvents(sql: Queryable, { detail, among }: EventCheck, scope: AuditScope) {
  return foundIn(
    await sql<ViolationRow[]>`
    select e.order_id as "orderId", e.id as "eventId", count(*) over ()::int as total, ${
      detail(sql)
    } as detail
    from outbox_events e ${among(sql, scope)} order by e.order_id, e.id, detail limit ${AUDIT_ROWS}`,
  );
}

/** Which `consumer` is bound to which `type`. */
function boundTypes(sql: Queryable, topology: Topology): Fragment {
  return sql`
    select * from jsonb_to_recordset(${
    rowset(bindingsOf(topology))
  }::text::jsonb) as b (consumer text, type text)`;
}

/** The default grace: retries and reconciliation are done by then. */
export const AUDIT_GRACE_SECONDS = 120;
/** A hundred years: events are never pruned. */
const NEVER_PRUNED_DAYS = 36_500;
/** How many violations of a check are named. */
const AUDIT_ROWS = 20;
/** How long one statement of the audit may take, in milliseconds. */
const AUDIT_TIMEOUT_MS = 120_000;

/**
 * The settings of the audit's transaction. Whatever the statistics say, whole tables are joined by hashes, which are
 * worth some memory; compiling the statements would take longer than it saves.
 */
const AUDIT_SETTINGS = {
  statement_timeout: AUDIT_TIMEOUT_MS,
  work_mem: "64MB",
  enable_nestloop: "off",
  jit: "off",
};

/** All checks with the promises they guard, in the order in which they are reported. */
export const AUDIT_CHECKS: readonly Pick<AuditCheck, "check" | "promise">[] = [
  ...ORDER_CHECKS,
  ...EVENT_CHECKS,
]
  .map(({ check, promise }) => ({ check, promise }));

/**
 * Audits the database on one snapshot, so that no check sees half of a change that another one sees whole.
 *
 * An effect without its cause counts at once: causes commit first, and a row commits with its event. A cause without its
 * effect counts once it is older than the grace: work under way is no violation. While something is held, and for the
 * grace after that, what has happened since the hold began is under way. Consumers are known by their names in
 * `topology`, which must be those that the workers run under.
 *
 * Reads each table whole, a few times, in a read-only transaction. `onProgress` is told how many checks have been made so
 * far, each time that some more have.
 */
export async function runAudit(
  sql: Sql,
  topology: Topology,
  { graceSeconds, retentionDays = NEVER_PRUNED_DAYS, onProgress }: {
    /** How long what follows from an event may take; 0 once everything has settled. */
    readonly graceSeconds: number;
    /** How long published events are kept: of an older order, none is missed. */
    readonly retentionDays?: number;
    readonly onProgress?: (checks: number) => void;
  },
): Promise<Audit> {
  return await transaction(sql, async (tx) => {
    const heldSince = await findHeldSince(tx, graceSeconds);
    const end = heldSince === null ? tx`now()` : tx`${heldSince}::text::timestamptz`;
    const due = tx`${end} - make_interval(secs => ${graceSeconds}::float8)`;
    const scope = { topology, due, retentionDays };
    const settings = JSON.stringify(AUDIT_SETTINGS);
    await tx`select set_config(key, value, true) from jsonb_each_text(${settings}::text::jsonb)`;
    const [totals] = await tx<Pick<Audit, "checkedAt" | "orders" | "events">[]>`
      select now() as "checkedAt", (select count(*)::int from orders) as orders,
             (select count(*)::int from outbox_events) as events`;
    if (!totals) throw new Error("Cannot count orders and events: the database answered with no row");
    const foundBy = await auditOrders(tx, scope);
    const checks = ORDER_CHECKS.map(({ check, promise }) => ({ check, promise, ...foundBy(check) }));
    for (const each of EVENT_CHECKS) {
      onProgress?.(checks.length);
      checks.push({ check: each.check, promise: each.promise, ...await auditEvents(tx, each, scope) });
    }
    const waiting = foundBy(WAITING.check);
    return {
      ok: checks.every(({ count }) => count === 0),
      graceSeconds,
      ...totals,
      checks,
      waitingForOperator: { count: waiting.count, orders: waiting.violations },
    };
  }, "isolation level repeatable read read only");
}
