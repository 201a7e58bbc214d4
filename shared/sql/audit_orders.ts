/**
 * The checks of the audit that hold what the modules' tables say of an order against one another and against its events.
 *
 * @module
 */
import {
  type AuditPromise,
  type AuditScope,
  type Found,
  foundIn,
  type Fragment,
  type ViolationRow,
} from "./audit_scope.ts";
import { describeLedger, ledger } from "./audit_ledger.ts";
import type { Queryable } from "./connect.ts";

/** A check of orders. */
export interface OrderCheck {
  /** What it looks for, in words that say what is wrong. */
  readonly check: string;
  /** The promise that is broken where it finds something. */
  readonly promise: AuditPromise;
  /** The condition on a row of the ledger (`shared/sql/audit_ledger.ts`) under which it finds the order. */
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
