import { assert, assertEquals, assertRejects } from "@std/assert";
import { TransientError } from "../shared/process/errors.ts";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { eventually } from "../specs/support/eventually.ts";
import type { ReceivedEvent } from "../shared/events.ts";
import { countEvents, orderCreated } from "../specs/support/test_events.ts";
import { shareTestSchema, testInbox, type TestSchema, testSchema } from "../specs/support/test_schema.ts";
import { charge } from "./payments_order_created.ts";
import { createFakeProvider, type PaymentProvider } from "./payments/provider.ts";

shareTestSchema();

const fake = createFakeProvider({ latencyMs: 0 });

/** The event as it comes when its consumer may have had it before. */
const redelivered = <R extends { readonly mayBeRepeat: boolean }>(received: R): R => ({
  ...received,
  mayBeRepeat: true,
});

function handlerOn(db: TestSchema, provider: PaymentProvider, timeoutMs = 5000) {
  const sql = db.as("orderflow_payments");
  return charge({
    sql,
    inbox: testInbox(sql, "payments"),
    provider,
    concurrency: 4,
    timeoutMs,
    stop: new AbortController().signal,
  });
}

Deno.test("charge() charges a batch: one payment and one event each, declined cards are outcomes", async () => {
  await using db = await testSchema();
  const events = [orderCreated(), orderCreated(RESERVED_COURSES.paymentFailure), orderCreated()];
  const outcomes = await handlerOn(db, fake)(events);
  assertEquals(outcomes.map(({ kind }) => kind), ["done", "done", "done"]);
  const payments = await db.sql`
    select order_id, status, amount, attempt_count, provider_reference is not null as charged, failure_reason
    from payments order by id`;
  assertEquals(
    payments.map((row) => ({ ...row })),
    events.map(({ event }, i) => ({
      order_id: event.data.orderId,
      status: i === 1 ? "FAILED" : "SUCCEEDED",
      amount: "49.90",
      attempt_count: 1,
      charged: i !== 1,
      failure_reason: i === 1 ? "card declined" : null,
    })),
  );
  assertEquals(await countEvents(db.sql), { "payment.failed": 1, "payment.succeeded": 2 });
  const [traced] = await db.sql`
    select correlation_id, traceparent, payload -> 'correlationId' as inside from outbox_events limit 1`;
  assertEquals({ ...traced }, {
    correlation_id: "test-correlation",
    traceparent: "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01",
    inside: "test-correlation",
  });
});

/** The fake provider, and the keys that it was asked for. */
function countingProvider(): PaymentProvider & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    ...fake,
    asked,
    charge(request, signal) {
      asked.push(request.idempotencyKey);
      return fake.charge(request, signal);
    },
  };
}

/** Another event about the same order. */
function twinOf(order: ReceivedEvent<"order.created">): ReceivedEvent<"order.created"> {
  return { ...order, event: { ...order.event, eventId: orderCreated().event.eventId } };
}

Deno.test("charge() charges once, however often and from however many copies an event comes, even when the inbox has forgotten", async () => {
  await using db = await testSchema();
  const events = Array.from({ length: 20 }, () => orderCreated());
  const copies = [1, 2, 3].map(() => handlerOn(db, fake));
  const outcomes = await Promise.all(copies.map((handle) => handle(events)));
  const done = events.map((_, i) => outcomes.filter((copy) => copy[i]?.kind === "done").length);
  assertEquals(done, events.map(() => 1));
  const repeats = [...events, ...events.map(twinOf)];
  const provider = countingProvider();
  const assertRepeated = async (events: readonly ReceivedEvent<"order.created">[]) => {
    const kinds = (await handlerOn(db, provider)(events)).map(({ kind }) => kind);
    assertEquals(new Set(kinds), new Set(["duplicate"]));
  };
  await assertRepeated(repeats.map(redelivered));
  await db.sql`delete from processed_events`; // retention does, after RETENTION_DAYS
  // A letter that is redriven, a copy that has lain in a queue, and another event about the same order.
  await assertRepeated(repeats.map(redelivered));
  assertEquals(provider.asked, [], "whoever has a payment never reaches the provider again");
  await db.sql`delete from processed_events`;
  await assertRepeated(repeats); // although nothing says that they may be repeats
  assertEquals((await db.sql`select from payments`).count, 20);
  assertEquals(await countEvents(db.sql), { "payment.succeeded": 20 });
});

Deno.test("charge() asks once for two events about one order in a batch, and charges once", async () => {
  await using db = await testSchema();
  const provider = countingProvider();
  const order = orderCreated();
  const outcomes = await handlerOn(db, provider)([order, twinOf(order)]);
  assertEquals(outcomes.map(({ kind }) => kind), ["done", "duplicate"]);
  assertEquals([provider.asked.length, await countEvents(db.sql)], [1, { "payment.succeeded": 1 }]);
});

Deno.test("charge() lets a slow or failing provider hold up only its own order", async () => {
  await using db = await testSchema();
  const [good, slow, failing] = [orderCreated(), orderCreated(), orderCreated()];
  const provider: PaymentProvider = {
    ...fake,
    charge: (request, signal) => {
      if (request.idempotencyKey === slow?.event.data.orderId) {
        return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      }
      if (request.idempotencyKey === failing?.event.data.orderId) throw new TransientError("try later");
      return fake.charge(request, signal);
    },
  };
  const events = [good, slow, failing].filter((e) => e !== undefined);
  const outcomes = await handlerOn(db, provider, 30)(events);
  assertEquals(outcomes, [
    { kind: "done", note: "charged 49.90" },
    { kind: "failed", error: "the payment provider did not answer within 30 ms" },
    { kind: "failed", error: "try later" },
  ]);
  const later = await handlerOn(db, fake)(events.map((event) => redelivered({ ...event, attempt: 2 })));
  assertEquals(later.map(({ kind }) => kind), ["duplicate", "done", "done"]);
  const attempts = await db.sql`select attempt_count from payments order by attempt_count`;
  assertEquals(attempts.map((row) => row.attempt_count), [1, 2, 2]);
});

Deno.test("charge() waits for nobody's slow answer, and records it once it is there", async () => {
  await using db = await testSchema();
  const [good, slow] = [orderCreated(), orderCreated()];
  assert(good && slow);
  const answered = Promise.withResolvers<void>();
  let asked = 0;
  const provider: PaymentProvider = {
    ...fake,
    async charge(request, signal) {
      if (request.idempotencyKey === slow.event.data.orderId) {
        asked++;
        await answered.promise;
      }
      return await fake.charge(request, signal);
    },
  };
  const handle = handlerOn(db, provider);
  const outcomes = await handle([slow, good]);
  assertEquals(outcomes, [{ kind: "waiting" }, { kind: "done", note: "charged 49.90" }]);
  assertEquals(await handle([slow]), [{ kind: "waiting" }]);
  answered.resolve();
  await eventually("the answer to be recorded", async () => (await handle([slow]))[0]?.kind === "done");
  assertEquals(asked, 1, "a call that is under way is not made again");
  assertEquals(await countEvents(db.sql), { "payment.succeeded": 2 });
});

Deno.test("charge() never calls the provider with a transaction open, and at most so many at once", async () => {
  await using db = await testSchema();
  const answering = Promise.withResolvers<void>();
  let running = 0;
  let most = 0;
  const provider: PaymentProvider = {
    ...fake,
    async charge(request, signal) {
      most = Math.max(most, ++running);
      await answering.promise;
      running--;
      return await fake.charge(request, signal);
    },
  };
  const handle = handlerOn(db, provider);
  const orders = Array.from({ length: 12 }, () => orderCreated());
  const handled = handle(orders);
  await eventually("the provider to be asked by as many as may", () => running === 4);
  // Nobody has an answer yet, so there is nothing to record: whatever is open now is open for the calls.
  const [row] = await db.sql<{ open: number }[]>`
    select count(*)::int as open from pg_stat_activity
    where datname = current_database() and state = 'idle in transaction'`;
  answering.resolve();
  await handled;
  await eventually("all to be charged", async () => {
    return (await handle(orders.map(redelivered))).every(({ kind }) => kind === "duplicate");
  });
  assertEquals({ most, open: row?.open }, { most: 4, open: 0 });
});

Deno.test("charge() commits nothing of a batch that fails", async () => {
  await using db = await testSchema();
  const bad = orderCreated();
  const events = [orderCreated(), { ...bad, traceparent: "\0" }];
  await assertRejects(() => handlerOn(db, fake)(events) as Promise<unknown>);
  assertEquals((await db.sql`select from payments`).count, 0);
  assertEquals((await db.sql`select from processed_events`).count, 0);
});
