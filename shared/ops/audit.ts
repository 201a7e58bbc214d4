/**
 * The audit: checks the promises over the whole database, and names what breaks them.
 *
 * @module
 */
import type postgres from "postgres";
import { bindingsOf, type Topology } from "../topology.ts";
import { type Queryable, rowset, type Sql, transaction } from "../sql/connect.ts";
import {
  decideTransition,
  isFinal,
  ORDER_STATUSES,
  ORDER_TRANSITIONS,
  type OrderStatus,
} from "../order_status.ts";

/** A promise of the system, by its number in `specs/project.md`. */
export type AuditPromise = 1 | 2 | 3 | 4;

/** One finding of a check. */
export interface Violation {
  /** The order that it is about. */
  readonly orderId: string;
  /** The event that it is about; null where it is about the order as a whole. */
  readonly eventId: string | null;
  /** What the tables say, for people. */
  readonly detail: string;
}

/** What a check has found. */
export interface Found {
  /** How many there are. */
  readonly count: number;
  /** The first of them by order and event, at most as many as were asked for. */
  readonly violations: readonly Violation[];
}

/** What is audited. */
export interface AuditScope {
  /** Says who consumes what, under which name. */
  readonly topology: Topology;
  /** How old a cause must be before its effect is missed, in seconds. */
  readonly graceSeconds: number;
  /** How long published events are kept, in days: of an older order, none is missed. */
  readonly retentionDays: number;
  /** The most violations to name per check. */
  readonly limit: number;
}

/**
 * A part of a statement, with its parameters.
 *
 * @internal
 */
export type Fragment = postgres.Fragment;

/**
 * The time up to which a cause is old enough for its effect to be missed.
 *
 * @internal
 */
export function graceStart(sql: Queryable, { graceSeconds }: Pick<AuditScope, "graceSeconds">): Fragment {
  return sql`now() - make_interval(secs => ${graceSeconds}::float8)`;
}

/** A row of a check's query: a violation, and how many there are in all. */
export interface ViolationRow extends Violation {
  /** How many violations the check has found. */
  readonly total: number;
}

/** A check's rows as what it has found. */
export function foundIn(rows: readonly ViolationRow[]): Found {
  return {
    count: rows[0]?.total ?? 0,
    violations: rows.map(({ orderId, eventId, detail }) => ({ orderId, eventId, detail })),
  };
}

/** A check of orders. */
export interface OrderCheck {
  /** What it looks for, in words that say what is wrong. */
  readonly check: string;
  /** The promise that is broken where it finds something. */
  readonly promise: AuditPromise;
  /** The condition on a row of the ledger (`shared/ops/audit.ts`) under which it finds the order. */
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
    when: (sql) => sql`status not in ('none', status_by_events) and has_all_events`,
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
      sql`has_all_events and (
        (told_completed and granted = 0) or (told_declined and declined = 0) or (told_refunded and refunded = 0))`,
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
      when: (sql) => sql`${holds(sql)} and ${events(sql)} = 0 and has_all_events`,
    },
    {
      check: `${event} without ${what}`,
      promise: 4,
      when: (sql) => sql`${events(sql)} > 0 and not (${holds(sql)})`,
    },
  ];
}

/** Runs all checks of orders, and looks for those that wait, in one statement. Answers with what each has found. */
export async function auditOrders(
  sql: Queryable,
  scope: AuditScope,
): Promise<(check: string) => Found> {
  const waiting = { check: WAITING, when: () => sql`is_unfinished_and_old and has_open_letter` };
  const looks = [...ORDER_CHECKS, waiting];
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
    where place <= ${scope.limit}
    order by "check", order_id`;
  const byCheck = Map.groupBy(rows, ({ check }) => check);
  return (check) => foundIn(byCheck.get(check) ?? []);
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
 * way an event was sent last, it has the grace to arrive. A consumer was not owed what was published before it was bound.
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
    left join reconciliation_cursors c on c.consumer = b.consumer and c.type = b.type
    where e.published_at <= ${due} and e.published_at >= coalesce(c.bound_since, '-infinity')
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

/** A check, and what it has found. */
export interface AuditCheck extends Found {
  /** What the check looks for, in words that say what is wrong. */
  readonly check: string;
  /** The promise that is broken where it finds something, by its number in `specs/project.md`. */
  readonly promise: AuditPromise;
}

/** What the audit has found in one snapshot of the database. */
export interface Audit {
  /** Whether no check has found anything. */
  readonly ok: boolean;
  /** The time of the snapshot, by the database's clock. */
  readonly checkedAt: Date;
  /** How old a cause had to be before its effect was missed, in seconds. */
  readonly graceSeconds: number;
  /** How many orders there are. */
  readonly orders: number;
  /** How many events there are. */
  readonly events: number;
  /** Every check, whether or not it has found anything. */
  readonly checks: readonly AuditCheck[];
  /** Orders that an open dead letter holds up. No violation: nothing is lost, somebody has to decide. */
  readonly waitingForOperator: { readonly count: number; readonly orders: readonly Violation[] };
}

/** How to audit. */
export interface AuditOptions {
  /** How long what follows from an event may take, in seconds; 0 once everything has settled. */
  readonly graceSeconds: number;
  /** How long published events are kept, in days; for good unless told. Of an older order, none is missed. */
  readonly retentionDays?: number;
  /** The most violations to name per check, 20 unless told; all are counted. */
  readonly limit?: number;
  /** Told how many checks have been made so far, each time that some more have. */
  readonly onProgress?: (checks: number) => void;
}

/** The grace where nobody says another one, in seconds: retries and reconciliation are through by then. */
export const AUDIT_GRACE_SECONDS = 120;
/** A hundred years: for as long as there are events. */
const FOR_GOOD_DAYS = 36_500;
/** How many violations of a check are named. */
const AUDIT_ROWS = 20;
/** How long one statement of the audit may take, in milliseconds. */
const AUDIT_TIMEOUT_MS = 120_000;

/**
 * The settings of the audit's transaction. Whatever the statistics say, whole tables are joined by hashes, which are
 * worth some memory; compiling the statements would take longer than it saves.
 */
const AUDIT_SETTINGS = [
  ["statement_timeout", String(AUDIT_TIMEOUT_MS)],
  ["work_mem", "64MB"],
  ["enable_nestloop", "off"],
  ["jit", "off"],
] as const;

const CHECKS = [...ORDER_CHECKS, ...EVENT_CHECKS];

/** All checks with the promises they guard, in the order in which they are reported. */
export const AUDIT_CHECKS: readonly Pick<AuditCheck, "check" | "promise">[] = CHECKS.map(
  ({ check, promise }) => ({ check, promise }),
);

/**
 * Audits the database on one snapshot, so that no check sees half of a change that another one sees whole.
 *
 * An effect without its cause counts at once: causes commit first, and a row commits with its event. A cause without its
 * effect counts once it is older than the grace: work under way is no violation. Consumers are known by their names in
 * `topology`, which must be those that the workers run under.
 *
 * Reads each table whole, a few times, in a read-only transaction.
 */
export async function runAudit(sql: Sql, topology: Topology, options: AuditOptions): Promise<Audit> {
  const { graceSeconds, retentionDays = FOR_GOOD_DAYS, limit = AUDIT_ROWS, onProgress } = options;
  const scope = { topology, graceSeconds, retentionDays, limit };
  return await transaction(sql, async (tx) => {
    await tx`select ${
      AUDIT_SETTINGS.map(([name, value], i) => {
        return tx`${i === 0 ? tx`` : tx`,`} set_config(${name}, ${value}, true)`;
      })
    }`;
    const totals = await readTotals(tx);
    const foundBy = await auditOrders(tx, scope);
    const checks: AuditCheck[] = ORDER_CHECKS.map(({ check, promise }) => ({
      check,
      promise,
      ...foundBy(check),
    }));
    for (const { check, promise, find } of EVENT_CHECKS) {
      onProgress?.(checks.length);
      checks.push({ check, promise, ...await find(tx, scope) });
    }
    const waiting = foundBy(WAITING);
    return {
      ok: checks.every(({ count }) => count === 0),
      graceSeconds,
      ...totals,
      checks,
      waitingForOperator: { count: waiting.count, orders: waiting.violations },
    };
  }, "isolation level repeatable read read only");
}

async function readTotals(sql: Queryable): Promise<Pick<Audit, "checkedAt" | "orders" | "events">> {
  const [totals] = await sql<Pick<Audit, "checkedAt" | "orders" | "events">[]>`
    select now() as "checkedAt", (select count(*)::int from orders) as orders,
           (select count(*)::int from outbox_events) as events`;
  if (!totals) throw new Error("Cannot count orders and events: the database answered with no row");
  return totals;
}
