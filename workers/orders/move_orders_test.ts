import { assertEquals, assertStringIncludes } from "@std/assert";
import type { ReceivedEvent } from "../../shared/events.ts";
import type { OrderTrigger } from "../../shared/order_status.ts";
import { moveEach } from "./move_orders.ts";
import { countEvents, insertOrder, paymentSucceeded, received } from "../../specs/support/test_events.ts";
import { shareTestSchema, testInbox, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import type { Outcome } from "../../shared/broker/settle.ts";
import type { Atomically } from "../../shared/sql/connect.ts";
import { createRegistry, type Registry } from "../../shared/process/metrics.ts";

const course = "00000000-0000-0000-0000-000000000103";

shareTestSchema();

/** The handler of a consumer, before each of whose writes something else may happen. */
function handlerOn(
  db: TestSchema,
  { consumer = "orders", beforeWriting = () => Promise.resolve(), registry = null }: {
    readonly consumer?: string;
    readonly beforeWriting?: () => Promise<void>;
    readonly registry?: Registry | null;
  } = {},
) {
  const sql = db.as("orderflow_orders");
  const atomically: Atomically = async (work) => {
    await beforeWriting();
    return await work(sql);
  };
  return moveEach({ sql, inbox: { ...testInbox(sql, consumer), atomically }, registry });
}

const noSeat = (orderId: string) =>
  received("enrollment.failed", { orderId, courseId: course, reason: "no seat left" });
const seat = (orderId: string) =>
  received("enrollment.granted", { orderId, enrollmentId: crypto.randomUUID(), courseId: course });
const refunded = (orderId: string) =>
  received("refund.succeeded", { orderId, paymentId: crypto.randomUUID() });

const readOrders = async ({ sql }: TestSchema) => [
  ...await sql`select id, status from orders order by id`.values(),
];

Deno.test("moveEach() moves orders in one write, remembers the events and asks for refunds, once", async () => {
  await using db = await testSchema();
  const [a, b, c] = [
    await insertOrder(db.sql, "PENDING"),
    await insertOrder(db.sql, "PAID"),
    await insertOrder(db.sql, "PAID"),
  ];
  const failed = noSeat(b);
  const events = [paymentSucceeded(a), failed, seat(c)];
  let writes = 0;
  const beforeWriting = () => Promise.resolve(void writes++);
  // What is in order is written on what is expected; of repeats it is read where their orders are.
  for (const [expected, atMost] of [["done", 1], ["duplicate", 3]] as const) {
    const kinds = (await handlerOn(db, { beforeWriting })(events)).map(({ kind }) => kind);
    assertEquals([kinds, writes], [events.map(() => expected), atMost]);
  }
  assertEquals(await readOrders(db), [[a, "PAID"], [b, "REFUND_IN_PROGRESS"], [c, "COMPLETED"]]);
  assertEquals((await db.sql`select from processed_events`).count, 3);
  const told = await db.sql`
    select type, order_id, correlation_id, traceparent, payload -> 'data' from outbox_events`.values();
  const { event: { correlationId }, traceparent } = failed;
  const data = { orderId: b, reason: "no seat left" };
  assertEquals([...told], [["refund.requested", b, correlationId, traceparent, data]]);
});

Deno.test("moveEach() leaves an early event out of the inbox; it is processed once its time has come", async () => {
  await using db = await testSchema();
  const order = await insertOrder(db.sql, "PENDING");
  const granted = seat(order);
  assertEquals(await handlerOn(db)([granted]), [{ kind: "early", awaits: "PAID" }]);
  assertEquals((await db.sql`select from processed_events`).count, 0);
  await handlerOn(db)([paymentSucceeded(order)]);
  assertEquals((await handlerOn(db)([granted]))[0]?.kind, "done");
});

Deno.test("moveEach() strands no order and asks for each refund once when both queues' copies race on the same orders", async () => {
  await using db = await testSchema();
  const orders = await Promise.all(Array.from({ length: 40 }, () => insertOrder(db.sql, "PENDING")));
  const payments = orders.map((id) => paymentSucceeded(id));
  const seats = orders.map((id, i) => i % 2 ? seat(id) : noSeat(id));
  async function untilDone(seats: readonly ReceivedEvent<OrderTrigger>[]) {
    const lifecycle = handlerOn(db, { consumer: "lifecycle" });
    // Bounded: each round waits for locks that the other copy holds, and the payments need two rounds at most.
    let waiting = seats;
    for (let round = 0; waiting.length > 0 && round < 1000; round++) {
      const outcomes = await lifecycle(waiting);
      waiting = waiting.filter((_, i) => outcomes[i]?.kind === "early");
    }
    assertEquals(waiting.length, 0);
  }
  await Promise.all([
    untilDone(seats),
    untilDone(seats.toReversed()),
    handlerOn(db)(payments.slice(0, 25).toReversed()),
    handlerOn(db)(payments.slice(15)),
  ]);
  const rows = await db
    .sql`select status, count(*)::int as count from orders group by status order by status`;
  const counts = rows.map(({ status, count }) => `${count} ${status}`);
  assertEquals(counts, ["20 COMPLETED", "20 REFUND_IN_PROGRESS"]);
  assertEquals(await countEvents(db.sql), { "refund.requested": 20 });
});

Deno.test("moveEach() decides anew on an order that another copy moves between its look and its write", async () => {
  await using db = await testSchema();
  const [moved, other] = [await insertOrder(db.sql, "PAID"), await insertOrder(db.sql, "PAID")];
  const events = [noSeat(moved), noSeat(other)];
  const copy = handlerOn(db);
  let writes = 0;
  const registry = createRegistry("test");
  const beforeWriting = async () => {
    if (++writes === 1) await copy(events.slice(0, 1));
  };
  const handler = handlerOn(db, { beforeWriting, registry });
  assertEquals((await handler(events)).map(({ kind }) => kind), ["duplicate", "done"]);
  assertEquals(writes, 2);
  assertStringIncludes( // not what the copy has moved
    await registry.metrics(),
    'orderflow_order_transitions_total{from="PAID",to="REFUND_IN_PROGRESS"} 1',
  );
  assertEquals(await countEvents(db.sql), { "refund.requested": 2 });
  const inbox = await db.sql`select event_id, duplicates from processed_events`;
  const counted = new Map(inbox.map(({ event_id, duplicates }) => [event_id, duplicates]));
  assertEquals(events.map(({ event }) => counted.get(event.eventId)), [1, 0]);
});

Deno.test("moveEach() decides on what an order is, not on what its events expect or the inbox knows, for any mix in a batch", async () => {
  await using db = await testSchema();
  const [paid, done] = [await insertOrder(db.sql, "PAID"), await insertOrder(db.sql, "REFUND_IN_PROGRESS")];
  const [completed, both] = [await insertOrder(db.sql, "COMPLETED"), await insertOrder(db.sql, "PAID")];
  const nobodys = seat(crypto.randomUUID());
  const moving = [noSeat(paid), refunded(done), noSeat(both), refunded(both)];
  const events = [...moving, paymentSucceeded(paid), noSeat(done), nobodys, noSeat(completed)];
  const illegal = (detail: string): Outcome => ({ kind: "rejected", reason: "illegal transition", detail });
  const rejected = [illegal("there is no such order"), illegal("enrollment.failed while COMPLETED")];
  const notes = ["PAID → REFUND_IN_PROGRESS", "REFUND_IN_PROGRESS → REFUNDED"];
  const duplicate = { kind: "duplicate" } as const;
  assertEquals(await handlerOn(db)(events), [
    ...[...notes, ...notes].map((note) => ({ kind: "done", note } as const)),
    duplicate,
    duplicate,
    ...rejected,
  ]);
  assertEquals((await db.sql`select from processed_events`).count, 6);
  await db.sql`delete from processed_events`;
  const repeats = await handlerOn(db)(events);
  assertEquals(repeats, [...events.slice(0, 6).map(() => duplicate), ...rejected]);
  assertEquals(await readOrders(db), [
    [paid, "REFUND_IN_PROGRESS"],
    [done, "REFUNDED"],
    [completed, "COMPLETED"],
    [both, "REFUNDED"],
  ]);
  assertEquals(await countEvents(db.sql), { "refund.requested": 2 });
});
