// What the tables of all modules say, for comparison: what is still to be done, what every order has come to, and whether
// a client that knows of every order finds each of them there, once and right.

import type { EventType } from "../../shared/events.ts";
import { bindingsOf } from "../../shared/broker/connection.ts";
import { runAudit } from "../../shared/ops/audit.ts";
import { isFinal, type OrderStatus } from "../../shared/order_status.ts";
import { type Queryable, rowset, type Sql, type Statement } from "../../shared/sql/connect.ts";
import { QUEUES } from "../../shared/topology.ts";
import { eventually } from "./eventually.ts";
import type { Course, KeptOrders } from "./place_orders.ts";
import type { TestStack } from "./test_stack.ts";

/** How many consumers get one event of each of these types, all in all. */
export function countHearings(...types: readonly EventType[]): number {
  const heard: readonly EventType[] = Object.values(QUEUES).flatMap(({ bindings }) => bindings);
  return types.reduce((sum, type) => sum + heard.filter((bound) => bound === type).length, 0);
}

/**
 * How often each outcome stands in each table; of the outbox how often each event of the purchase: what is told
 * beyond them, by a consumer that was added, is for that consumer's tests.
 */
export async function readLedger(sql: Sql) {
  const count = async (table: string, column: string): Promise<Record<string, number>> => {
    const rows = await sql<{ key: string; count: number }[]>`
      select ${sql(column)} as key, count(*)::int as count from ${sql(table)} group by 1 order by 1`;
    return Object.fromEntries(rows.map(({ key, count }) => [key, count]));
  };
  const events = Object.entries(await count("outbox_events", "type"))
    .filter(([type]) => type in PURCHASE.events);
  return {
    orders: await count("orders", "status"),
    payments: await count("payments", "status"),
    enrollments: await count("enrollments", "status"),
    notifications: await count("notifications", "type"),
    events: Object.fromEntries(events),
    deadLetters: await countRows(sql, sql`dead_letters`),
  };
}

/** The ledger of so many orders of each kind, none of which met a failure. */
export function ledgerOf(
  { success = 0, paymentFailure = 0, enrollmentFailure = 0 }: Partial<Record<Course, number>>,
) {
  const some = (counts: Record<string, number>) =>
    Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
  return {
    orders: some({ COMPLETED: success, PAYMENT_FAILED: paymentFailure, REFUNDED: enrollmentFailure }),
    payments: some({ FAILED: paymentFailure, REFUND_SUCCEEDED: enrollmentFailure, SUCCEEDED: success }),
    enrollments: some({ FAILED: enrollmentFailure, GRANTED: success }),
    notifications: some({
      ORDER_COMPLETED: success,
      ORDER_REFUNDED: enrollmentFailure,
      PAYMENT_FAILED: paymentFailure,
    }),
    events: some({
      "enrollment.failed": enrollmentFailure,
      "enrollment.granted": success,
      "notification.sent": success + paymentFailure + enrollmentFailure,
      "order.created": success + paymentFailure + enrollmentFailure,
      "payment.failed": paymentFailure,
      "payment.succeeded": success + enrollmentFailure,
      "refund.requested": enrollmentFailure,
      "refund.succeeded": enrollmentFailure,
    }),
    deadLetters: 0,
  };
}

const PURCHASE = ledgerOf({ success: 1, paymentFailure: 1, enrollmentFailure: 1 });

async function countRows(sql: Queryable, from: Statement): Promise<number> {
  const [row] = await sql<{ count: number }[]>`select count(*)::int as count from ${from}`;
  return row?.count ?? 0;
}

/** How many orders have not reached a final status. */
export async function countUnfinished(sql: Queryable): Promise<number> {
  return await countRows(sql, sql`orders where status in ('PENDING', 'PAID', 'REFUND_IN_PROGRESS')`);
}

/** How many events the broker has not confirmed. */
export async function countUnpublished(sql: Queryable): Promise<number> {
  return await countRows(sql, sql`outbox_events where published_at is null`);
}

type Settling = {
  readonly db: { readonly sql: Queryable };
  readonly broker: Pick<TestStack["broker"], "topology">;
};

/**
 * What is left to be done, all 0 when the system is at rest: pairs of an event and one of its consumers that has neither
 * processed it nor set it aside; and, counted last, as what is processed last has told of it, events to be published.
 */
export async function readUnsettled({ db: { sql }, broker }: Settling) {
  const unprocessed = await countRows(
    sql,
    sql`
    outbox_events e
    join jsonb_to_recordset(${
      rowset(bindingsOf(broker.topology))
    }::text::jsonb) as b (consumer text, type text) using (type)
    where not exists (select from processed_events p where p.event_id = e.id and p.consumer = b.consumer)
      and not exists (
        select from dead_letters d where d.event_id = e.id and d.consumer = b.consumer and d.state <> 'REDRIVEN')`,
  );
  return { unprocessed, unpublished: await countUnpublished(sql) };
}

/** Waits until every order is final, every event published, and each processed by all of its consumers. */
export async function settled(system: Settling): Promise<void> {
  await eventually("every order to end", async () => await countUnfinished(system.db.sql) === 0, 60_000);
  await eventually("every event to be published and processed", async () => {
    const { unprocessed, unpublished } = await readUnsettled(system);
    return unprocessed + unpublished === 0;
  }, 30_000);
}

/** What the audit finds of a system at rest. */
export async function violations({ db, broker }: Pick<TestStack, "db" | "broker">) {
  const { checks } = await runAudit(db.as("orderflow_ops"), broker.topology, { graceSeconds: 0 });
  return checks.filter(({ count }) => count > 0);
}

/** A fingerprint of every row that business state consists of, in the order of their keys. */
export async function fingerprint(sql: Sql): Promise<Record<string, string>> {
  const tables = ["orders", "payments", "enrollments", "notifications"];
  const entries = await Promise.all(tables.map(async (table) => {
    const [row] = await sql<{ print: string }[]>`
      select coalesce(md5(string_agg(t::text, '|' order by t.id)), '') as print from ${sql(table)} as t`;
    return [table, row?.print ?? ""];
  }));
  const [outbox] = await sql<{ print: string }[]>`
    select coalesce(md5(string_agg(id::text || payload::text, '|' order by id)), '') as print from outbox_events`;
  return { ...Object.fromEntries(entries), outbox_events: outbox?.print ?? "" };
}

/** What an order has come to: `payments` such as `SUCCEEDED after 1` (attempts), `letters` such as `not JSON after 1`. */
export interface OrderEnd {
  readonly status: string;
  readonly payments: readonly string[];
  readonly seats: readonly string[];
  readonly notifications: readonly string[];
  /** The dead letters whose body names it, whatever their state. */
  readonly letters: readonly string[];
}

const end = (status: string, payments: string[], seats: string[], notifications: string[]): OrderEnd => {
  return { status, payments, seats, notifications, letters: [] };
};
/** An order that nothing has come of yet. */
export const PENDING = end("PENDING", [], [], []);
/** An order that went well, at the first attempt. */
export const COMPLETED = end("COMPLETED", ["SUCCEEDED after 1"], ["GRANTED"], ["ORDER_COMPLETED"]);
/** An order whose card was declined. */
export const DECLINED = end("PAYMENT_FAILED", ["FAILED after 1"], [], ["PAYMENT_FAILED"]);
/** An order for which there was no seat. */
export const REFUNDED = end("REFUNDED", ["REFUND_SUCCEEDED after 1"], ["FAILED"], ["ORDER_REFUNDED"]);

/** Reads what the order `id` has come to. */
export async function readOrderEnd(sql: Sql, id: string): Promise<OrderEnd> {
  const [found] = await sql<OrderEnd[]>`
    select status,
      to_json(array(select status || ' after ' || attempt_count from payments where order_id = o.id)) as payments,
      to_json(array(select status from enrollments where order_id = o.id)) as seats,
      to_json(array(select type from notifications where order_id = o.id)) as notifications,
      to_json(array(
        select reason || ' after ' || attempts as what from dead_letters
        where position(o.id::text in encode(body, 'escape')) > 0 order by what)) as letters
    from orders o where id = ${id}`;
  return found ?? end("", [], [], []);
}

const OUTCOME: Readonly<Record<Course, OrderStatus>> = {
  success: "COMPLETED",
  paymentFailure: "PAYMENT_FAILED",
  enrollmentFailure: "REFUNDED",
};

/** The status of every order by its id, and how many events the outbox has beyond one of a type for an order. */
export async function readBooks(sql: Sql) {
  const orders = await sql<{ id: string; status: OrderStatus }[]>`select id, status from orders`;
  const [row] = await sql<{ beyondOne: number }[]>`
    select (count(*) - count(distinct (order_id, type)))::int as "beyondOne" from outbox_events`;
  return { orders: new Map(orders.map(({ id, status }) => [id, status])), beyondOne: row?.beyondOne ?? 0 };
}

/**
 * What the client knows of, against what the tables have; all are to be 0. `lost` counts accepted orders that are not
 * there; `duplicated` orders that nobody has been told of or two were, and events beyond one (the tables of the modules
 * have a unique key on the order); `stuck` orders without a final status; `wrong` another end than the course's. Pure.
 */
export function balance(
  { accepted, answeredTwice }: Pick<KeptOrders, "accepted" | "answeredTwice">,
  { orders, beyondOne }: Awaited<ReturnType<typeof readBooks>>,
) {
  const statuses = [...orders.values()];
  const isWrong = ([id, course]: readonly [string, Course]) => {
    const status = orders.get(id);
    return status !== undefined && isFinal(status) && status !== OUTCOME[course];
  };
  return {
    lost: [...accepted.keys()].filter((id) => !orders.has(id)).length,
    duplicated: [...orders.keys()].filter((id) => !accepted.has(id)).length + answeredTwice + beyondOne,
    stuck: statuses.filter((status) => !isFinal(status)).length,
    wrong: [...accepted].filter(isWrong).length,
  };
}
