import { assertEquals, assertRejects } from "@std/assert";
import postgres from "postgres";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { MODULES } from "../topology.ts";
import { DATABASE_ROLES, type DatabaseRole } from "./migrate.ts";

shareTestSchema();

/** A module's table has its name. */
const OWN_TABLES = new Map(
  DATABASE_ROLES.map((role) => [role, MODULES.filter((module) => role === `orderflow_${module}`)]),
);

Deno.test("each role can write its own module's table and no other module's", async () => {
  await using db = await testSchema();
  for (const [role, own] of OWN_TABLES) {
    const sql = db.as(role);
    for (const table of MODULES) {
      const write = () => sql`insert into ${sql(table)} select * from ${sql(table)}`;
      if (own.includes(table)) await write();
      else await assertDenied(write, `${role} writes ${table}`);
      await assertDenied(() => sql`update ${sql(table)} set id = id`, `${role} changes what ${table} has`);
      await assertDenied(() => sql`delete from ${sql(table)}`, `${role} deletes from ${table}`);
    }
  }
});

Deno.test("a payments worker cannot write orders, nor read them, nor change what the outbox says", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_payments");
  await assertDenied(() => sql`update orders set status = 'PAID'`, "write orders");
  await assertDenied(() => sql`select * from orders`, "read orders");
  await assertDenied(() => sql`update outbox_events set published_at = now()`, "mark events");
  await assertDenied(() => sql`delete from processed_events`, "forget the inbox");
  await sql`reset role`;
  await assertDenied(() => sql`update orders set status = 'PAID'`, "write orders after a reset");
});

Deno.test("the orders module can add idempotency keys, and neither change nor forget one; no other module can", async () => {
  await using db = await testSchema();
  const add = (role: DatabaseRole) => db.as(role)`insert into idempotency_keys select from orders`;
  const sql = db.as("orderflow_orders");
  await add("orderflow_orders");
  await assertDenied(() => sql`update idempotency_keys set key = key`, "change keys");
  await assertDenied(() => sql`delete from idempotency_keys`, "forget keys");
  await assertDenied(() => add("orderflow_payments"), "add keys as payments");
});

Deno.test("the relay can mark events and not change what they say", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_relay");
  await sql`update outbox_events set published_at = now()`;
  await assertDenied(() => sql`update outbox_events set payload = '{}'`, "change a payload");
  await assertDenied(() => sql`delete from outbox_events`, "delete events");
});

Deno.test("ops writes replays down and cannot say that they were sent; the relay can, and writes none down", async () => {
  await using db = await testSchema();
  const [ops, relay] = [db.as("orderflow_ops"), db.as("orderflow_relay")];
  const id = crypto.randomUUID();
  await ops`insert into replays (id, filter, total, already_processed, created_at) values (${id}, '{}', 1, 0, now())`;
  await ops`insert into replay_events values (${id}, 1, ${id}, 'a')`;
  await assertDenied(() => ops`update replays set sent = 1`, "ops says what was sent");
  await assertDenied(() => ops`update replay_events set consumer = 'b'`, "ops changes the set");
  await relay`update replays set last_error = 'none' where id = ${id}`;
  await assertDenied(() => relay`update replays set total = 2`, "the relay changes the count");
  await assertDenied(() => relay`delete from replay_events`, "the relay changes the set");
  await assertDenied(
    () => relay`insert into replay_events values (${id}, 2, ${id}, 'a')`,
    "the relay adds to it",
  );
});

Deno.test("the tables refuse a state without the data that belongs to it", async () => {
  await using db = await testSchema();
  const { sql } = db;
  const id = crypto.randomUUID();
  const at = new Date();
  const bad: Record<string, () => Promise<unknown>> = {
    "payments_charged_has_reference": () =>
      sql`insert into payments values (${id}, ${id}, ${id}, 1, 'SUCCEEDED', 1, null, null, null, ${at}, ${at})`,
    "payments_failed_has_reason": () =>
      sql`insert into payments values (${id}, ${id}, ${id}, 1, 'FAILED', 1, null, null, null, ${at}, ${at})`,
    "payments_refunded_has_reference": () =>
      sql`insert into payments values (${id}, ${id}, ${id}, 1, 'REFUND_SUCCEEDED', 1, 'r', null, null, ${at}, ${at})`,
    "enrollments_failed_has_reason": () =>
      sql`insert into enrollments values (${id}, ${id}, ${id}, 'FAILED', null, ${at}, ${at})`,
    "orders_status_check": () =>
      sql`insert into orders values (${id}, ${id}, ${id}, 1, 'LOST', 'c', ${at}, ${at})`,
    "replays_done_is_complete": () =>
      sql`insert into replays (id, filter, state, total, already_processed, rate, created_at, started_at, finished_at)
          values (${id}, '{}', 'DONE', 1, 0, 5, ${at}, ${at}, ${at})`,
    "replays_cancelled_has_reason": () =>
      sql`insert into replays (id, filter, state, total, already_processed, created_at, finished_at)
          values (${id}, '{}', 'CANCELLED', 1, 0, ${at}, ${at})`,
    "replays_running_is_due": () =>
      sql`insert into replays (id, filter, state, total, already_processed, rate, created_at, started_at)
          values (${id}, '{}', 'RUNNING', 1, 0, 5, ${at}, ${at})`,
    "orders_amount_check": () =>
      sql`insert into orders values (${id}, ${id}, ${id}, 0, 'PENDING', 'c', ${at}, ${at})`,
  };
  for (const [constraint, write] of Object.entries(bad)) {
    const error = await assertRejects(write, postgres.PostgresError);
    assertEquals(error.constraint_name, constraint);
  }
});

async function assertDenied(run: () => PromiseLike<unknown>, what: string): Promise<void> {
  const error = await assertRejects(run, postgres.PostgresError, undefined, `${what} must be denied`);
  assertEquals(error.code, "42501", what);
}
