import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import {
  insertEvent,
  insertHistory,
  insertOrder,
  newLetter,
  newRetry,
  ORDER,
  type Outcome,
} from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import { type Audit, AUDIT_CHECKS, runAudit } from "./audit.ts";
import { holdPart, resumePart } from "./holds.ts";
import type { Sql } from "../sql/connect.ts";
import { insertDeadLetters, insertRetries } from "../sql/set_aside.ts";

shareTestSchema();

const topology = usualTopology();
const audit = (db: TestSchema, graceSeconds = 60, retentionDays = 36_500) =>
  runAudit(db.as("orderflow_ops"), topology, { graceSeconds, retentionDays });

/** Which check names which orders. */
function findings({ checks }: Audit): Record<string, string[]> {
  const found = checks.filter(({ count }) => count > 0);
  return Object.fromEntries(
    found.map(({ check, violations }) => [check, violations.map(({ orderId }) => orderId)]),
  );
}

/** An order of each end. */
async function insertHistories(sql: Sql) {
  for (const outcome of ["COMPLETED", "PAYMENT_FAILED", "REFUNDED"] as const) {
    await insertHistory(sql, outcome);
  }
}

/** An event of a type that nobody expects, fresh, so that nobody misses it at its consumers. */
async function addEvent(sql: Sql, id: string, type: Parameters<typeof insertEvent>[2]) {
  const eventId = await insertEvent(sql, id, type, new Date());
  await sql`delete from processed_events where event_id = ${eventId}`;
}

async function dropEvent(sql: Sql, id: string, type: string) {
  await sql`delete from outbox_events where order_id = ${id} and type = ${type}`;
}

/** An order that has come no further than a status, with an open dead letter or without one. */
async function addUnfinished(sql: Sql, { letter = false } = {}) {
  const id = await insertOrder(sql, "PENDING");
  const at = new Date(Date.now() - 3_600_000);
  await sql`update orders set created_at = ${at}, updated_at = ${at} where id = ${id}`;
  await insertEvent(sql, id, "order.created", at);
  if (letter) await insertDeadLetters(sql, [newLetter("any", { eventId: null, aggregateId: id })]);
  return id;
}

async function redriveLetters(sql: Sql, secondsAgo: number) {
  await sql`update dead_letters set state = 'REDRIVEN', resolution = 'redriven',
    resolved_at = now() - make_interval(secs => ${secondsAgo})`;
}

Deno.test("what a hold keeps waiting is no violation, until the grace after its end is over; what was due before it is one", async () => {
  await using db = await testSchema();
  await addUnfinished(db.sql); // an hour ago
  assertEquals((await audit(db)).ok, false);
  await holdPart(db.as("orderflow_ops"), { part: "relay", forSeconds: 600, because: null });
  assertEquals((await audit(db)).ok, false);
  await db.sql`update holds set since = now() - interval '3550 seconds'`;
  assertEquals((await audit(db)).ok, true);
  await resumePart(db.as("orderflow_ops"), "relay");
  assertEquals((await audit(db)).ok, true);
  await db.sql`update holds set until = now() - interval '61 seconds'`;
  assertEquals((await audit(db)).ok, false);
});

type Breaking = (sql: Sql, id: string) => PromiseLike<unknown>;
type EventType = Parameters<typeof addEvent>[2];

const drop = (type: EventType): Breaking => (sql, id) => dropEvent(sql, id, type);
const add = (type: EventType): Breaking => (sql, id) => addEvent(sql, id, type);
/** One statement on the order `$1`. */
const run = (statement: string): Breaking => (sql, id) => sql.unsafe(statement, [id]);
const set = (table: string, to: string, key = "order_id") =>
  run(`update ${table} set ${to} where ${key} = $1`);
const remove = (table: string, key = "order_id") => run(`delete from ${table} where ${key} = $1`);

const NOT_LED = "order status that its events do not lead to";
const NOT_HAPPENED = "notification of what has not happened";

/** How each promise is broken by an order that had ended well, and what else is wrong then. */
const BREACHES: [check: string, of: Outcome, by: Breaking, ...also: string[]][] = [
  ["order without order.created", "COMPLETED", drop("order.created")],
  ["order.created without order", "COMPLETED", remove("orders", "id")],
  ["charge without payment.succeeded", "COMPLETED", drop("payment.succeeded"), NOT_LED],
  ["payment.succeeded without charge", "PAYMENT_FAILED", add("payment.succeeded")],
  [
    "declined payment without payment.failed",
    "PAYMENT_FAILED",
    drop("payment.failed"),
    NOT_LED,
    NOT_HAPPENED,
  ],
  ["payment.failed without declined payment", "COMPLETED", add("payment.failed")],
  ["seat without enrollment.granted", "COMPLETED", drop("enrollment.granted"), NOT_LED, NOT_HAPPENED],
  ["enrollment.granted without seat", "REFUNDED", add("enrollment.granted")],
  ["refused seat without enrollment.failed", "REFUNDED", drop("enrollment.failed"), NOT_LED],
  ["enrollment.failed without refused seat", "COMPLETED", add("enrollment.failed")],
  ["order under refund without refund.requested", "REFUNDED", drop("refund.requested")],
  ["refund.requested without order under refund", "COMPLETED", add("refund.requested")],
  ["refund without refund.succeeded", "REFUNDED", drop("refund.succeeded"), NOT_LED, NOT_HAPPENED],
  ["refund.succeeded without refund", "COMPLETED", add("refund.succeeded")],
  ["notification without notification.sent", "COMPLETED", drop("notification.sent")],
  ["notification.sent without notification", "REFUNDED", remove("notifications")],
  [NOT_LED, "COMPLETED", set("orders", "status = 'PAID', updated_at = now()", "id")],
  ["event that an order has twice", "COMPLETED", add("payment.succeeded")],
  ["payment of another amount or course than its order's", "COMPLETED", set("payments", "amount = 999")],
  [
    "seat in another course than its order's",
    "REFUNDED",
    set("enrollments", "course_id = gen_random_uuid()"),
  ],
  ["paid order without charge", "COMPLETED", remove("payments"), "payment.succeeded without charge"],
  [
    "PAYMENT_FAILED order without declined payment",
    "PAYMENT_FAILED",
    set("payments", "status = 'SUCCEEDED', provider_reference = 'x', failure_reason = null"),
    "charge without payment.succeeded",
    "payment.failed without declined payment",
  ],
  ["COMPLETED order without seat", "COMPLETED", remove("enrollments"), "enrollment.granted without seat"],
  [
    NOT_HAPPENED,
    "COMPLETED",
    run("insert into notifications values (gen_random_uuid(), $1, 'ORDER_REFUNDED', now())"),
  ],
  [
    "outcome without notification",
    "PAYMENT_FAILED",
    run(`with gone as (delete from notifications where order_id = $1)
      delete from outbox_events where order_id = $1 and type = 'notification.sent'`),
  ],
  [
    "refund without cause",
    "COMPLETED",
    async (sql, id) => {
      await set("payments", "status = 'REFUND_SUCCEEDED', refund_reference = 'x'")(sql, id);
      await addEvent(sql, id, "refund.succeeded");
    },
  ],
  [
    "charge kept although there is no seat",
    "REFUNDED",
    set("payments", "status = 'SUCCEEDED', refund_reference = null"),
    "refund.succeeded without refund",
  ],
  [
    "event not published",
    "COMPLETED",
    run(`update outbox_events set published_at = null, retry_count = 3, last_error = 'NO_ROUTE'
      where order_id = $1 and type = 'enrollment.granted'`),
  ],
  [
    "event lost on its way to a consumer",
    "COMPLETED",
    run(`delete from processed_events using outbox_events e
      where e.id = event_id and e.order_id = $1 and consumer = 'notifications.final-events.v1'`),
  ],
  [
    "event processed by a consumer that is not bound to it",
    "COMPLETED",
    run(`insert into processed_events select id, 'payments.refund-requested.v1', now()
      from outbox_events where order_id = $1 and type = 'order.created'`),
  ],
];

Deno.test("runAudit() finds nothing in complete histories, however short the grace", async () => {
  await using db = await testSchema();
  await insertHistories(db.sql);
  const result = await audit(db, 0);
  assertEquals(findings(result), {});
  assertEquals([result.ok, result.orders, result.events], [true, 3, 13]);
  assertEquals(result.checks.map(({ check, promise }) => ({ check, promise })), [...AUDIT_CHECKS]);
});

Deno.test("runAudit() names the order at fault, with every check that it does not pass, and no other order", async () => {
  const tested = [...BREACHES.map(([check]) => check), "order stuck"];
  assertEquals(tested.toSorted(), AUDIT_CHECKS.map(({ check }) => check).toSorted());
  await using db = await testSchema();
  await insertHistories(db.sql);
  const wanted = new Map<string, readonly string[]>();
  for (const [check, of, by, ...also] of BREACHES) {
    const id = await insertHistory(db.sql, of);
    await by(db.sql, id);
    wanted.set(id, [check, ...also].toSorted());
  }
  const { ok, checks } = await audit(db);
  const found = checks.flatMap(({ check, violations }) =>
    violations.map(({ orderId }) => ({ check, orderId }))
  );
  const byOrder = Map.groupBy(found, ({ orderId }) => orderId);
  const named = [...byOrder].map(([id, all]) => [id, all.map(({ check }) => check).toSorted()] as const);
  assertEquals([ok, new Map<string, readonly string[]>(named)], [false, wanted]);
});

Deno.test("runAudit() tells an order that is stuck from one that waits for an operator, or whose letter was just redriven", async () => {
  await using db = await testSchema();
  await insertHistories(db.sql);
  const [stuck, waiting] = [await addUnfinished(db.sql), await addUnfinished(db.sql, { letter: true })];
  const look = async () => {
    const result = await audit(db);
    return [findings(result), result.waitingForOperator.orders.map(({ orderId }) => orderId)];
  };
  assertEquals(await look(), [{ "order stuck": [stuck] }, [waiting]]);
  await redriveLetters(db.sql, 30);
  assertEquals(await look(), [{ "order stuck": [stuck] }, []]);
  await redriveLetters(db.sql, 90);
  assertEquals(await look(), [{ "order stuck": [stuck, waiting] }, []]);
});

Deno.test("runAudit() leaves work under way alone until it is older than the grace, whatever the API's clock says", async () => {
  await using db = await testSchema();
  const id = await insertOrder(db.sql, "PENDING");
  await db
    .sql`update orders set created_at = now() - interval '2 hours', updated_at = now() - interval '2 hours'`;
  await addEvent(db.sql, id, "order.created");
  assertEquals(findings(await audit(db)), {});
  const late = findings(await audit(db, 0));
  assertEquals(late, { "order stuck": [id], "event lost on its way to a consumer": [id] });
});

Deno.test("runAudit() takes an event that was put aside for neither lost nor missed, unless it was redriven", async () => {
  await using db = await testSchema();
  const id = await insertHistory(db.sql, "COMPLETED");
  const consumer = "notifications.final-events.v1";
  const [event] = await db.sql<{ id: string }[]>`
    delete from processed_events using outbox_events e
    where e.id = event_id and consumer = ${consumer} returning e.id`;
  assert(event);
  await db.sql`delete from notifications`;
  await dropEvent(db.sql, id, "notification.sent");
  assertEquals(Object.keys(findings(await audit(db))), [
    "outcome without notification",
    "event lost on its way to a consumer",
  ]);
  const about = { eventId: event.id, eventType: "enrollment.granted", aggregateId: id } as const;
  await insertDeadLetters(db.sql, [newLetter(consumer, about)]);
  assertEquals(findings(await audit(db)), {});
  await redriveLetters(db.sql, 30);
  assertEquals(findings(await audit(db)), {}, "it has the grace to arrive");
  await redriveLetters(db.sql, 90);
  assertEquals(Object.keys(findings(await audit(db))).length, 2);
  await insertRetries(db.sql, [newRetry(consumer, { eventId: event.id })]);
  await db.sql`update delayed_retries set due_at = null, sent_at = now() - interval '30 seconds'`;
  assertEquals(Object.keys(findings(await audit(db))), ["outcome without notification"]);
});

Deno.test("runAudit() misses no event of an order that is older than events are kept", async () => {
  await using db = await testSchema();
  const id = await insertHistory(db.sql, "REFUNDED");
  await db.sql`update orders set created_at = now() - interval '15 days' where id = ${id}`;
  await db.sql`delete from outbox_events where order_id = ${id}`;
  assertEquals(findings(await audit(db, 60, 14)), {});
  assertEquals(Object.keys(findings(await audit(db, 60, 16))).length, 8);
});

Deno.test("runAudit() names the first twenty violations, counts all, and says of each what is there", async () => {
  await using db = await testSchema();
  const ids: string[] = [];
  for (let n = 0; n < 21; n++) ids.push(await addUnfinished(db.sql));
  const paid = await insertHistory(db.sql, "COMPLETED");
  const refused = await insertHistory(db.sql, "COMPLETED");
  const other = uuidv7();
  await db.sql`update payments set course_id = ${other} where order_id = ${paid}`;
  const [row] = await db.sql`
    update outbox_events set published_at = null, retry_count = 3, last_error = 'NO_ROUTE'
    where order_id = ${refused} and type = 'order.created' returning id`;
  const { checks } = await audit(db);
  const of = (name: string) => checks.find(({ check }) => check === name);
  const stuck = of("order stuck");
  assertEquals([stuck?.count, stuck?.violations.map(({ orderId }) => orderId)], [21, ids.slice(0, 20)]);
  const nothing = "order PENDING, payment none, seat none, notifications 0; events: 1 order.created";
  assertEquals(stuck?.violations[0]?.detail, nothing);
  const detail = of("payment of another amount or course than its order's")?.violations[0]?.detail;
  assertStringIncludes(detail ?? "", `; paid 49.90 for the course ${other}, not 49.90 for ${ORDER.courseId}`);
  assertEquals(of("event not published")?.violations, [
    { orderId: refused, eventId: row?.id, detail: "order.created, refused 3 times: NO_ROUTE" },
  ]);
});
