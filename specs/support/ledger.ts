/**
 * What the tables of all modules say, for comparison.
 *
 * @module
 */
import type { EventType } from "../../shared/events.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { QUEUES } from "../../shared/topology.ts";
import { eventually } from "./eventually.ts";
import type { TestStack } from "./test_stack.ts";

/** The events of the purchase. What is told beyond them, by a consumer that was added, is for that consumer's tests. */
export const LEDGER_EVENTS: readonly EventType[] = [
  "order.created",
  "payment.succeeded",
  "payment.failed",
  "enrollment.granted",
  "enrollment.failed",
  "refund.requested",
  "refund.succeeded",
  "notification.sent",
];

/** How many consumers get one event of each of these types, all in all. */
export function countHearings(...types: readonly EventType[]): number {
  const heard: readonly EventType[] = Object.values(QUEUES).flatMap(({ bindings }) => bindings);
  return types.reduce((sum, type) => sum + heard.filter((bound) => bound === type).length, 0);
}

/** How often each outcome stands in each table. */
export interface Ledger {
  /** The number of orders by status. */
  readonly orders: Readonly<Record<string, number>>;
  /** The number of payments by status. */
  readonly payments: Readonly<Record<string, number>>;
  /** The number of enrollments by status. */
  readonly enrollments: Readonly<Record<string, number>>;
  /** The number of notifications by type. */
  readonly notifications: Readonly<Record<string, number>>;
  /** The number of outbox events by type, published or not, as far as they are {@linkcode LEDGER_EVENTS}. */
  readonly events: Readonly<Record<string, number>>;
  /** The number of dead letters, whatever their state. */
  readonly deadLetters: number;
}

/** Counts by outcome. */
export async function readLedger(sql: Sql): Promise<Ledger> {
  const count = async (table: string, column: string) => {
    const rows = await sql<{ key: string; count: number }[]>`
      select ${sql(column)} as key, count(*)::int as count from ${sql(table)} group by 1 order by 1`;
    return Object.fromEntries(rows.map(({ key, count }) => [key, count]));
  };
  const events = Object.entries(await count("outbox_events", "type"))
    .filter(([type]) => LEDGER_EVENTS.some((known) => known === type));
  const [letters] = await sql<{ count: number }[]>`select count(*)::int as count from dead_letters`;
  return {
    orders: await count("orders", "status"),
    payments: await count("payments", "status"),
    enrollments: await count("enrollments", "status"),
    notifications: await count("notifications", "type"),
    events: Object.fromEntries(events),
    deadLetters: letters?.count ?? 0,
  };
}

/** How many orders have not reached a final status. */
export async function countUnfinished(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int as count from orders where status in ('PENDING', 'PAID', 'REFUND_IN_PROGRESS')`;
  return row?.count ?? 0;
}

/** How many events the broker has not confirmed. */
export async function countUnpublished(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int as count from outbox_events where published_at is null`;
  return row?.count ?? 0;
}

/**
 * Whether every event that has a consumer has been processed by each of its consumers. Only then have all effects of
 * what was published taken place, notifications included.
 */
export async function countUnprocessed(
  sql: Sql,
  consumers: ReadonlyMap<string, readonly string[]>,
): Promise<number> {
  const pairs = [...consumers].flatMap(([consumer, types]) => types.map((type) => ({ consumer, type })));
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int as count
    from outbox_events e
    join jsonb_to_recordset(${
    JSON.stringify(pairs)
  }::text::jsonb) as b (consumer text, type text) on b.type = e.type
    where not exists (select from processed_events p where p.event_id = e.id and p.consumer = b.consumer)`;
  return row?.count ?? 0;
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

/** What an order has come to. */
export interface OrderEnd {
  /** Its status. */
  readonly status: string;
  /** Its payments, such as `SUCCEEDED after 1`, which is the number of attempts. */
  readonly payments: readonly string[];
  /** Its seat decisions. */
  readonly seats: readonly string[];
  /** What was told of it. */
  readonly notifications: readonly string[];
  /** The dead letters whose body names it, such as `not JSON after 1`, whatever their state. */
  readonly letters: readonly string[];
}

/** An order that went well, at the first attempt. */
export const COMPLETED: OrderEnd = {
  status: "COMPLETED",
  payments: ["SUCCEEDED after 1"],
  seats: ["GRANTED"],
  notifications: ["ORDER_COMPLETED"],
  letters: [],
};

/** An order whose card was declined. */
export const DECLINED: OrderEnd = {
  status: "PAYMENT_FAILED",
  payments: ["FAILED after 1"],
  seats: [],
  notifications: ["PAYMENT_FAILED"],
  letters: [],
};

/** An order for which there was no seat. */
export const REFUNDED: OrderEnd = {
  status: "REFUNDED",
  payments: ["REFUND_SUCCEEDED after 1"],
  seats: ["FAILED"],
  notifications: ["ORDER_REFUNDED"],
  letters: [],
};

/** An order that nothing has come of yet. */
export const PENDING: OrderEnd = {
  status: "PENDING",
  payments: [],
  seats: [],
  notifications: [],
  letters: [],
};

/** Reads what the order `id` has come to. */
export async function readOrderEnd(sql: Sql, id: string): Promise<OrderEnd> {
  const list = async (query: PromiseLike<readonly { what: string }[]>) =>
    (await query).map(({ what }) => what);
  const [order] = await sql<{ status: string }[]>`select status from orders where id = ${id}`;
  return {
    status: order?.status ?? "",
    payments: await list(sql`
      select status || ' after ' || attempt_count as what from payments where order_id = ${id}`),
    seats: await list(sql`select status as what from enrollments where order_id = ${id}`),
    notifications: await list(sql`select type as what from notifications where order_id = ${id}`),
    letters: await list(sql`
      select reason || ' after ' || attempts as what from dead_letters
      where position(${id} in encode(body, 'escape')) > 0`),
  };
}

/** Waits until every order is final, every event published, and each processed by all of its consumers. */
export async function settled({ db, broker }: Pick<TestStack, "db" | "broker">): Promise<void> {
  const { sql } = db;
  const consumers = new Map(
    Object.values(broker.topology.queues).map(({ name, bindings }) => [name, bindings]),
  );
  await eventually("every order to end", async () => await countUnfinished(sql) === 0, 60_000);
  await eventually(
    "every event to be processed",
    async () => await countUnprocessed(sql, consumers) === 0,
    30_000,
  );
  // Last, because what was processed last has told of it, and nobody consumes that.
  await eventually("every event to be published", async () => await countUnpublished(sql) === 0, 30_000);
}
