import { assertEquals, assertRejects } from "@std/assert";
import postgres from "postgres";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { appendEvents, orderCreated } from "../../specs/support/test_events.ts";
import { type DomainEvent, EVENT_TYPES, type EventType } from "../events.ts";
import { MODULES } from "../topology.ts";
import type { Sql } from "./connect.ts";
import { markingProcessed, ownConsumer } from "./inbox.ts";
import { DATABASE_ROLES } from "./migrate.ts";

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

Deno.test("each role can tell of its own module's facts alone: a payments worker cannot grant a seat", async () => {
  await using db = await testSchema();
  const own: Record<string, readonly EventType[]> = {
    orders: ["order.created", "refund.requested"],
    payments: ["payment.succeeded", "payment.failed", "refund.succeeded"],
    enrollments: ["enrollment.granted", "enrollment.failed"],
    notifications: ["notification.sent"],
  };
  assertEquals(Object.values(own).flat().toSorted(), EVENT_TYPES.toSorted());
  for (const module of MODULES) {
    const sql = db.as(`orderflow_${module}`);
    for (const type of EVENT_TYPES) {
      const { event } = orderCreated();
      const tell = () => appendEvents(sql, [{ event: { ...event, type } as DomainEvent, traceparent: null }]);
      if (own[module]?.includes(type)) await tell();
      else await assertDenied(tell, `${module} tells ${type}`);
    }
  }
});

Deno.test("no role can mark the inbox of another one's consumer", async () => {
  await using db = await testSchema();
  const [enrollments, payments] = [db.as("orderflow_enrollments"), db.as("orderflow_payments")];
  assertEquals(await ownConsumer(enrollments, "seats.v1"), "orderflow_enrollments");
  assertEquals(await ownConsumer(payments, "seats.v1"), "orderflow_enrollments", "it was first");
  const id = crypto.randomUUID();
  const mark = (sql: Sql, consumer: string) => markingProcessed(sql, consumer, [id], new Date());
  await mark(enrollments, "seats.v1");
  await mark(enrollments, "seats.v1");
  await mark(payments, "charges.v1");
  await assertDenied(() => mark(payments, "seats.v1"), "mark another one's inbox");
  await assertDenied(
    () =>
      payments`insert into consumer_owners (consumer, owner) values ('refunds.v1', 'orderflow_enrollments')`,
    "take a name for another one",
  );
  const seen = await payments`select consumer from processed_events`;
  assertEquals(seen.map(({ consumer }) => consumer), ["charges.v1"]);
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
    "orders_amount_is_a_number": () =>
      sql`insert into orders values (${id}, ${id}, ${id}, 'NaN', 'PENDING', 'c', ${at}, ${at})`,
    "payments_amount_is_a_number": () =>
      sql`insert into payments values (${id}, ${id}, ${id}, 'NaN', 'SUCCEEDED', 1, 'r', null, null, ${at}, ${at})`,
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
