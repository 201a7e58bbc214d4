import { assertEquals, assertStringIncludes } from "@std/assert";
import { type EventData, type EventType, makeEvent, type ReceivedEvent } from "../../shared/events.ts";
import type { OrderStatus, OrderTrigger } from "../../shared/order_status.ts";
import { expectedStatuses, moveEach } from "./move_orders.ts";
import { countEvents, insertOrder, paymentSucceeded } from "../../specs/support/test_events.ts";
import { shareTestSchema, testInbox, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import type { Outcome } from "../../shared/broker/settle.ts";
import type { Atomically } from "../../shared/sql/connect.ts";
import { createRegistry, type Registry } from "../../shared/process/metrics.ts";

const now = new Date("2026-01-02T03:04:05Z");
const course = "00000000-0000-0000-0000-000000000103";

function received<T extends EventType>(type: T, data: EventData<T>): ReceivedEvent<T> {
  const cause = {
    correlationId: "c-1",
    traceparent: "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01",
  };
  const { event, traceparent } = makeEvent(type, data, cause, now);
  return { event, traceparent, attempt: 1, mayBeRepeat: false };
}

shareTestSchema();

function handlerOn(
  db: TestSchema,
  consumer = "orders",
  beforeWriting = () => Promise.resolve(),
  registry: Registry | null = null,
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

Deno.test("moveEach() moves orders, remembers the events and asks for refunds, once", async () => {
  await using db = await testSchema();
  const [a, b, c] = [
    await insertOrder(db.sql, "PENDING"),
    await insertOrder(db.sql, "PAID"),
    await insertOrder(db.sql, "PAID"),
  ];
  const events = [paymentSucceeded(a), noSeat(b), seat(c)];
  assertEquals((await handlerOn(db)(events)).map(({ kind }) => kind), ["done", "done", "done"]);
  assertEquals((await handlerOn(db)(events)).map(({ kind }) => kind), [
    "duplicate",
    "duplicate",
    "duplicate",
  ]);
  const rows = await db.sql`select id, status from orders order by id`;
  assertEquals(rows.map(({ id, status }) => [id, status]), [[a, "PAID"], [b, "REFUND_IN_PROGRESS"], [
    c,
    "COMPLETED",
  ]]);
  assertEquals((await db.sql`select from processed_events`).count, 3);
  const outbox = await db
    .sql`select type, order_id, correlation_id, traceparent, payload -> 'data' as data from outbox_events`;
  assertEquals(outbox.map((row) => ({ ...row })), [{
    type: "refund.requested",
    order_id: b,
    correlation_id: "c-1",
    traceparent: events[1]?.traceparent,
    data: { orderId: b, reason: "no seat left" },
  }]);
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
    const lifecycle = handlerOn(db, "lifecycle");
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
  assertEquals(rows.map(({ status, count }) => [status, count]), [["COMPLETED", 20], [
    "REFUND_IN_PROGRESS",
    20,
  ]]);
  assertEquals(await countEvents(db.sql), { "refund.requested": 20 });
});

Deno.test("moveEach() decides anew on an order that another copy moves between its look and its write", async () => {
  await using db = await testSchema();
  const [moved, other] = [await insertOrder(db.sql, "PAID"), await insertOrder(db.sql, "PAID")];
  const events = [noSeat(moved), noSeat(other)];
  const copy = handlerOn(db);
  let writes = 0;
  const registry = createRegistry("test");
  const handler = handlerOn(
    db,
    "orders",
    async () => {
      if (++writes === 1) await copy(events.slice(0, 1));
    },
    registry,
  );
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
  const completed = await insertOrder(db.sql, "COMPLETED");
  const refunded = received("refund.succeeded", { orderId: done, paymentId: crypto.randomUUID() });
  const nobodys = seat(crypto.randomUUID());
  const events = [noSeat(paid), paymentSucceeded(paid), noSeat(done), refunded, nobodys, noSeat(completed)];
  const illegal = (detail: string): Outcome => ({ kind: "rejected", reason: "illegal transition", detail });
  const rejected = [illegal("there is no such order"), illegal("enrollment.failed while COMPLETED")];
  assertEquals(await handlerOn(db)(events), [
    { kind: "done", note: "PAID → REFUND_IN_PROGRESS" },
    { kind: "duplicate" },
    { kind: "duplicate" },
    { kind: "done", note: "REFUND_IN_PROGRESS → REFUNDED" },
    ...rejected,
  ]);
  assertEquals((await db.sql`select from processed_events`).count, 4);
  await db.sql`delete from processed_events`;
  const repeats = await handlerOn(db)(events);
  assertEquals(repeats, [...events.slice(0, 4).map(() => ({ kind: "duplicate" } as const)), ...rejected]);
  const rows = await db.sql`select id, status from orders order by id`;
  assertEquals(rows.map(({ id, status }) => [id, status]), [
    [paid, "REFUND_IN_PROGRESS"],
    [done, "REFUNDED"],
    [completed, "COMPLETED"],
  ]);
  assertEquals(await countEvents(db.sql), { "refund.requested": 1 });
});

Deno.test("expectedStatuses() is where the first event of each order starts from", () => {
  const [a, b] = [crypto.randomUUID(), crypto.randomUUID()];
  const expected = new Map([[a, "PAID"], [b, "PENDING"]]);
  assertEquals(
    expectedStatuses([noSeat(a), paymentSucceeded(a), paymentSucceeded(b)]),
    expected as Map<string, OrderStatus>,
  );
});
