import { assertEquals } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { ORDER } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { KEYED_SETTINGS, type Sql } from "./connect.ts";
import { makeEvent } from "../events.ts";
import { insertingOrders, insertOrders, movingOrders, readStatuses } from "./orders.ts";
import { poolOf } from "./testdata/probe.ts";

shareTestSchema();

/** So many executions, and Postgres keeps one plan for all further ones. */
const UNTIL_KEPT = 6;
const ORDERS = 5000;

Deno.test("plans that are kept from when the table was empty do not read the whole table later", async () => {
  await using db = await testSchema();
  await db.sql`vacuum analyze orders`;
  await using pool = poolOf(db.url, { role: "orderflow_orders", settings: KEYED_SETTINGS });
  for (let i = 0; i < UNTIL_KEPT; i++) await readAndMove(pool.sql, [uuidv7()]);
  const more = { ...ORDER, correlationId: "c", createdAt: new Date() };
  const ids = Array.from({ length: ORDERS }, () => uuidv7());
  await insertingOrders(db.sql, ids.map((id) => ({ id, ...more })));
  const before = await rowsRead(pool.sql);
  await readAndMove(pool.sql, ids.slice(0, 10));
  const read = await rowsRead(pool.sql) - before;
  assertEquals(read < 100, true, `${read} rows were read`);
});

Deno.test("insertOrders() dates a key by the database's clock: one that is slow does not have it forgotten early", async () => {
  await using db = await testSchema();
  const createdAt = new Date(Date.now() - 20 * 86_400_000);
  const orderId = uuidv7({ msecs: createdAt.getTime() });
  const cause = { correlationId: "c", traceparent: null };
  const created = makeEvent("order.created", { ...ORDER, orderId }, cause, createdAt);
  const order = { ...ORDER, id: orderId, correlationId: "c", createdAt };
  const key = { key: "k", fingerprint: "00".repeat(32) };
  await insertOrders(db.as("orderflow_orders"), [{ order, created, key }], { carry: (run) => run(false) });
  const young = await db.sql`select from idempotency_keys where created_at > now() - interval '1 hour'`;
  assertEquals(young.count, 1);
});

async function readAndMove(sql: Sql, ids: readonly string[]): Promise<void> {
  await readStatuses(sql, ids);
  await movingOrders(sql, ids.map((id) => ({ id, from: "PENDING", to: "PAID" })), new Date());
}

/** Rows of `orders` that were read so far, by whatever path. */
async function rowsRead(sql: Sql): Promise<number> {
  await sql`select pg_stat_force_next_flush()`;
  const [row] = await sql<{ rows: number }[]>`
    select (seq_tup_read + coalesce(idx_tup_fetch, 0))::int as rows
    from pg_stat_user_tables where relname = 'orders'`;
  return row?.rows ?? 0;
}
