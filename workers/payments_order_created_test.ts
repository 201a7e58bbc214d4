import { assertEquals } from "@std/assert";
import type { Outcome } from "../shared/broker/settle.ts";
import { TransientError } from "../shared/process/errors.ts";
import { aborted } from "../shared/process/stop.ts";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { eventually } from "../specs/support/eventually.ts";
import type { ReceivedEvent } from "../shared/events.ts";
import { countEvents, orderCreated } from "../specs/support/test_events.ts";
import { shareTestSchema, testInbox, type TestSchema, testSchema } from "../specs/support/test_schema.ts";
import { charge } from "./payments_order_created.ts";
import { createFakeProvider, type PaymentProvider } from "./payments/provider.ts";

shareTestSchema();

const fake = createFakeProvider({ latencyMs: 0 });

type Order = ReceivedEvent<"order.created">;

/** The event as it comes when its consumer may have had it before. */
const redelivered = (order: Order): Order => ({ ...order, mayBeRepeat: true });

/** Another event about the same order. */
const twinOf = (order: Order): Order => {
  return { ...order, event: { ...order.event, eventId: orderCreated().event.eventId } };
};

/** The fake provider, with the keys that it was asked for; a charge does `before` first. */
function providerOf(before: (key: string, signal: AbortSignal) => unknown = () => {}) {
  const asked: string[] = [];
  const provider: PaymentProvider = {
    ...fake,
    async charge(request, signal) {
      asked.push(request.idempotencyKey);
      await before(request.idempotencyKey, signal);
      return await fake.charge(request, signal);
    },
  };
  return { ...provider, asked };
}

function handlerOn(db: TestSchema, provider: PaymentProvider = fake, timeoutMs = 5000) {
  const sql = db.as("orderflow_payments");
  const inbox = testInbox(sql, "payments");
  const handle = charge({
    sql,
    inbox,
    provider,
    concurrency: 4,
    timeoutMs,
    stop: new AbortController().signal,
  });
  return async (orders: readonly Order[]) => await handle(orders);
}

const kindsOf = (outcomes: readonly Outcome[]) => outcomes.map(({ kind }) => kind);

Deno.test("charge() charges a batch: one payment and one event each, declined cards are outcomes", async () => {
  await using db = await testSchema();
  const events = [orderCreated(), orderCreated(RESERVED_COURSES.paymentFailure), orderCreated()];
  assertEquals(kindsOf(await handlerOn(db)(events)), ["done", "done", "done"]);
  const payments = await db.sql`
    select order_id, status, amount, attempt_count, provider_reference is not null, failure_reason
    from payments order by id`.values();
  const ids = events.map(({ event }) => event.data.orderId);
  assertEquals([...payments], [
    [ids[0], "SUCCEEDED", "49.90", 1, true, null],
    [ids[1], "FAILED", "49.90", 1, false, "card declined"],
    [ids[2], "SUCCEEDED", "49.90", 1, true, null],
  ]);
  assertEquals(await countEvents(db.sql), { "payment.failed": 1, "payment.succeeded": 2 });
  const told = await db.sql`
    select distinct correlation_id, payload ->> 'correlationId', traceparent from outbox_events`.values();
  const { event: { correlationId }, traceparent } = orderCreated();
  assertEquals([...told], [[correlationId, correlationId, traceparent]]);
});

Deno.test("charge() charges once, however often and from however many copies an event comes, even when the inbox has forgotten", async () => {
  await using db = await testSchema();
  const events = Array.from({ length: 20 }, () => orderCreated());
  const copies = await Promise.all([1, 2, 3].map(() => handlerOn(db)(events)));
  assertEquals(copies.flat().filter(({ kind }) => kind === "done").length, 20);
  const repeats = [...events, ...events.map(twinOf)];
  const provider = providerOf();
  const assertRepeated = async (events: readonly Order[]) =>
    assertEquals(new Set(kindsOf(await handlerOn(db, provider)(events))), new Set(["duplicate"]));
  await assertRepeated(repeats.map(redelivered));
  await db.sql`delete from processed_events`; // retention does, after RETENTION_DAYS
  // A letter that is redriven, a copy that has lain in a queue, and another event about the same order.
  await assertRepeated(repeats.map(redelivered));
  assertEquals(provider.asked, [], "whoever has a payment never reaches the provider again");
  assertEquals((await db.sql`select from processed_events`).count, 40, "a repeat is known from then on");
  await db.sql`delete from processed_events`;
  await assertRepeated(repeats); // although nothing says that they may be repeats
  assertEquals(provider.asked.length, 20, "what is fresh is not looked up");
  const order = orderCreated();
  assertEquals(kindsOf(await handlerOn(db, provider)([order, twinOf(order)])), ["done", "duplicate"]);
  assertEquals(provider.asked.filter((key) => key === order.event.data.orderId).length, 1);
  assertEquals((await db.sql`select from payments`).count, 21);
  assertEquals(await countEvents(db.sql), { "payment.succeeded": 21 });
});

Deno.test("charge() lets a slow or failing provider hold up only its own order", async () => {
  await using db = await testSchema();
  const events = [orderCreated(), orderCreated(), orderCreated()];
  const [, slow, failing] = events.map(({ event }) => event.data.orderId);
  const provider = providerOf(async (key, signal) => {
    if (key === failing) throw new TransientError("try later");
    if (key === slow) await aborted(signal);
    signal.throwIfAborted();
  });
  assertEquals(await handlerOn(db, provider, 30)(events), [
    { kind: "done", note: "charged 49.90" },
    { kind: "failed", error: "the payment provider did not answer within 30 ms" },
    { kind: "failed", error: "try later" },
  ]);
  const later = await handlerOn(db)(events.map((event) => redelivered({ ...event, attempt: 2 })));
  assertEquals(kindsOf(later), ["duplicate", "done", "done"]);
  const attempts = await db.sql`select attempt_count from payments order by attempt_count`;
  assertEquals(attempts.map((row) => row.attempt_count), [1, 2, 2]);
});

Deno.test("charge() waits for nobody's slow answer, and records it once it is there", async () => {
  await using db = await testSchema();
  const [good, slow] = [orderCreated(), orderCreated()];
  const answered = Promise.withResolvers<void>();
  const slowKey = slow.event.data.orderId;
  const provider = providerOf((key) => key === slowKey ? answered.promise : undefined);
  const handle = handlerOn(db, provider);
  assertEquals(await handle([slow, good]), [{ kind: "waiting" }, { kind: "done", note: "charged 49.90" }]);
  assertEquals(await handle([slow]), [{ kind: "waiting" }]);
  answered.resolve();
  await eventually("the answer to be recorded", async () => (await handle([slow]))[0]?.kind === "done");
  assertEquals(provider.asked, [slowKey, good.event.data.orderId], "what is under way is not asked again");
  assertEquals(await countEvents(db.sql), { "payment.succeeded": 2 });
});

Deno.test("charge() never calls the provider with a transaction open, and at most so many at once", async () => {
  await using db = await testSchema();
  const answering = Promise.withResolvers<void>();
  let [running, most] = [0, 0];
  const handle = handlerOn(
    db,
    providerOf(async () => {
      most = Math.max(most, ++running);
      await answering.promise;
      running--;
    }),
  );
  const orders = Array.from({ length: 12 }, () => orderCreated());
  const handled = handle(orders);
  await eventually("the provider to be asked by as many as may", () => running === 4);
  // Nobody has an answer yet, so there is nothing to record: whatever is open now is open for the calls.
  const open = await db.sql`
    select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'`;
  answering.resolve();
  await handled;
  await eventually("all to be charged", async () => {
    return (await handle(orders.map(redelivered))).every(({ kind }) => kind === "duplicate");
  });
  assertEquals({ most, open: open.count }, { most: 4, open: 0 });
});
