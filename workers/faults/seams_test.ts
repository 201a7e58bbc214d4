import { assertEquals, assertRejects } from "@std/assert";
import { kindOfError, TransientError } from "../../shared/process/errors.ts";
import { insertOrder, orderCreated } from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import type { Faults } from "./watch.ts";
import { consumerSeams, MAX_HELD, withProviderFaults, withPublisherFaults } from "./seams.ts";
import type { PaymentProvider } from "../payments/provider.ts";
import { type OutgoingMessage, type Publisher, toExchange } from "../../shared/broker/publish.ts";
import { type Fault, type FaultPoint, isMeantFor } from "../../shared/ops/faults.ts";
import { eventually } from "../../specs/support/eventually.ts";

shareTestSchema();

/** What stands in for the end of the process. */
class Crash extends Error {
  override name = "Crash";
}

/** Armed faults, and those that have struck. */
interface FakeFaults extends Faults {
  readonly struck: readonly FaultPoint[];
}

/** Arms faults, each once unless told, wherever it is unless told. A crash is a rejection with {@linkcode Crash}. */
function fakeFaults(...faults: readonly (Partial<Fault> & Pick<Fault, "point">)[]): FakeFaults {
  const struck: FaultPoint[] = [];
  const armed = faults.map((fault) => ({
    id: crypto.randomUUID(),
    times: 1,
    consumer: null,
    correlationId: null,
    delayMs: null,
    createdAt: new Date(),
    ...fault,
  }));
  const strike: Faults["strike"] = (point, target) => {
    const fault = armed.find((fault) => fault.times > 0 && isMeantFor(fault, point, target));
    if (!fault) return Promise.resolve(null);
    fault.times--;
    struck.push(point);
    return Promise.resolve(fault);
  };
  return {
    struck,
    anyArmed: () => Promise.resolve(armed.some(({ times }) => times > 0)),
    strike,
    async crash(point, target) {
      if (await strike(point, target)) throw new Crash(point);
    },
  };
}

/** Has a handler of the consumer `payments`, which meets `faults`, pay an order in one transaction. */
async function pay(db: TestSchema, faults: Faults, kind: "done" | "duplicate" = "done") {
  const id = await insertOrder(db.sql, "PENDING");
  const seams = consumerSeams(db.as("orderflow_orders"), "payments", faults);
  let written = 0;
  const handle = seams.handling(async (events) => {
    await seams.atomically(async (tx) => {
      written = (await tx`update orders set status = 'PAID' where id = ${id}`).count;
    });
    return events.map(() => ({ kind }));
  });
  const error = await handle([orderCreated()]).then(() => null, (error) => error);
  const [row] = await db.sql`select status from orders where id = ${id}`;
  return { error, written, status: row?.status };
}

Deno.test("without faults everything is what it wraps; with none armed a statement needs no transaction", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_orders");
  const handle = () => Promise.resolve([]);
  const isPool = (tx: unknown) => Promise.resolve(tx === sql);
  const seams = consumerSeams(sql, "payments", null);
  assertEquals([seams.handling(handle) === handle, await seams.atomically(isPool)], [true, true]);
  assertEquals(await consumerSeams(sql, "payments", fakeFaults()).atomically(isPool), true);
  assertEquals(withProviderFaults(provider, "payments", null) === provider, true);
  const publisher: Publisher = { publish: () => Promise.reject(new Error("not called")) };
  assertEquals(withPublisherFaults(publisher, { faults: null, bindings, cut: () => {} }) === publisher, true);
});

Deno.test("database.timeout is a true time-out, and leaves nothing behind", async () => {
  await using db = await testSchema();
  const faults = fakeFaults({ point: "database.timeout" });
  const { error, written, status } = await pay(db, faults);
  assertEquals([error.code, kindOfError(error), written, status], ["57014", "transient", 0, "PENDING"]);
  assertEquals(await pay(db, faults), { error: null, written: 1, status: "PAID" });
});

Deno.test("a consumer's crash strikes when all is written and nothing committed, or behind the commit of something new", async () => {
  await using db = await testSchema();
  const before = await pay(db, fakeFaults({ point: "consumer.crash-before-commit", consumer: "payments" }));
  assertEquals([before.error instanceof Crash, before.written, before.status], [true, 1, "PENDING"]);
  const faults = fakeFaults({ point: "consumer.crash-after-commit", correlationId: "test-correlation" });
  const spared = await pay(db, faults, "duplicate");
  assertEquals([spared.error, faults.struck], [null, []]);
  const after = await pay(db, faults);
  assertEquals([after.error instanceof Crash, after.status], [true, "PAID"]);
});

Deno.test("consumerSeams() spares other consumers and other correlation ids", async () => {
  await using db = await testSchema();
  const faults = fakeFaults(
    { point: "database.timeout", consumer: "orders" },
    { point: "consumer.crash-before-commit", correlationId: "another" },
    { point: "consumer.crash-after-commit", correlationId: "another" },
  );
  assertEquals([(await pay(db, faults)).status, faults.struck], ["PAID", []]);
});

const provider: PaymentProvider = {
  charge: () => Promise.resolve({ kind: "charged", reference: "c" }),
  refund: () => Promise.resolve({ reference: "r" }),
};
const charge = (correlationId = "a") => ({
  idempotencyKey: "k",
  amount: "1.00",
  metadata: { orderId: "o", courseId: "c", correlationId },
  traceparent: null,
});
const refund = {
  idempotencyKey: "k",
  chargeReference: "c",
  amount: "1.00",
  metadata: { orderId: "o", correlationId: "a" },
  traceparent: null,
};
const never = new AbortController().signal;

Deno.test("provider.failing fails so often, charges and refunds alike, and spares others", async () => {
  const faults = fakeFaults({
    point: "provider.failing",
    times: 2,
    correlationId: "a",
    consumer: "payments",
  });
  const failing = withProviderFaults(provider, "payments", faults);
  assertEquals(await withProviderFaults(provider, "refunds", faults).refund(refund, never), {
    reference: "r",
  });
  assertEquals(await failing.charge(charge("b"), never), { kind: "charged", reference: "c" });
  await assertRejects(() => failing.charge(charge(), never), TransientError);
  await assertRejects(() => failing.refund(refund, never), TransientError);
  assertEquals(await failing.refund(refund, never), { reference: "r" });
});

Deno.test("provider.timeout never answers: the caller's time-out ends it", async () => {
  const silent = withProviderFaults(provider, "payments", fakeFaults({ point: "provider.timeout" }));
  const controller = new AbortController();
  const charging = silent.charge(charge(), controller.signal);
  const first = await Promise.race([charging, new Promise((resolve) => setTimeout(resolve, 20, "silence"))]);
  assertEquals(first, "silence");
  controller.abort(new Error("the time is up"));
  await assertRejects(() => charging, Error, "the time is up");
  assertEquals(await silent.charge(charge(), never), { kind: "charged", reference: "c" });
});

Deno.test("provider.slow answers after the delay, and obeys the caller's time-out", async () => {
  const slow = withProviderFaults(
    provider,
    "payments",
    fakeFaults({ point: "provider.slow", times: 2, delayMs: 30 }),
  );
  const startedAt = performance.now();
  assertEquals(await slow.charge(charge(), never), { kind: "charged", reference: "c" });
  assertEquals(performance.now() - startedAt >= 25, true);
  const timedOut = AbortSignal.abort(new Error("the time is up"));
  await assertRejects(() => slow.charge(charge(), timedOut), Error, "time");
});

const TYPE = "payment.succeeded";
const bindings = [
  { consumer: "orders", type: TYPE },
  { consumer: "enrollments", type: TYPE },
] as const;
const route = toExchange("events", new Set([TYPE]));

const message = (id: string, correlationId = id): OutgoingMessage => ({
  id,
  type: TYPE,
  correlationId,
  traceparent: null,
  occurredAt: null,
  body: "{}",
});

/** A publisher that meets `faults`, and whose broker refuses some ids; `sent` are `<id> <exchange>:<routing key>`. */
function rig(faults: FakeFaults, refused: readonly string[] = []) {
  const sent: string[] = [];
  let cuts = 0;
  const broker: Publisher = {
    publish(messages, { exchange, keyOf }) {
      sent.push(...messages.map((m) => `${m.id} ${exchange}:${keyOf(m)}`));
      const ids = messages.map(({ id }) => id);
      return Promise.resolve({
        confirmed: ids.filter((id) => !refused.includes(id)),
        refused: ids.filter((id) => refused.includes(id)).map((id) => ({ id, error: "no" })),
        unknown: [],
        offence: null,
      });
    },
  };
  const publisher = withPublisherFaults(broker, { faults, bindings, cut: () => void cuts++ });
  const publish = (...messages: OutgoingMessage[]) => publisher.publish(messages, route, 1000);
  return { sent, faults, publish, cuts: () => cuts };
}

const armed = (point: FaultPoint, more: Partial<Fault> = {}) => fakeFaults({ point, ...more });
const whole = (id: string) => `${id} events:${TYPE}`;

Deno.test("relay.crash-before-publish strikes before anything is sent", async () => {
  const { publish, sent } = rig(armed("relay.crash-before-publish", { correlationId: "b" }));
  await assertRejects(() => publish(message("a"), message("b")), Crash);
  assertEquals(sent, []);
});

Deno.test("relay.crash-after-confirm strikes behind the confirm, and only of what is confirmed", async () => {
  const spared = rig(armed("relay.crash-after-confirm", { correlationId: "b" }), ["b"]);
  await spared.publish(message("a"), message("b"));
  assertEquals(spared.faults.struck, []);
  const { publish, sent } = rig(armed("relay.crash-after-confirm", { correlationId: "b" }));
  await publish(message("a"));
  await assertRejects(() => publish(message("b")), Crash);
  assertEquals(sent, [whole("a"), whole("b")]);
});

Deno.test("relay.connection-lost cuts behind the sending, once", async () => {
  const { publish, sent, cuts } = rig(armed("relay.connection-lost"));
  await publish(message("a"));
  await publish(message("b"));
  assertEquals([sent, cuts()], [[whole("a"), whole("b")], 1]);
});

Deno.test("delivery.lost reports as confirmed what it does not send, delivery.duplicate sends twice; a consumer's alone leaves the others theirs", async () => {
  const cases: [FaultPoint, Partial<Fault>, sent: string[]][] = [
    ["delivery.lost", { correlationId: "b" }, [whole("a")]],
    ["delivery.lost", { correlationId: "b", consumer: "orders" }, [whole("a"), "b :enrollments"]],
    ["delivery.duplicate", { correlationId: "b" }, [whole("a"), whole("b"), whole("b")]],
    ["delivery.duplicate", { correlationId: "b", consumer: "orders" }, [whole("a"), whole("b"), "b :orders"]],
  ];
  for (const [point, more, expected] of cases) {
    const { publish, sent } = rig(armed(point, more));
    assertEquals((await publish(message("a"), message("b"))).confirmed.toSorted(), ["a", "b"]);
    assertEquals(sent, expected);
  }
});

Deno.test("delivery.delayed holds one back, and nobody else", async () => {
  const { publish, sent } = rig(armed("delivery.delayed", { correlationId: "a", delayMs: 20 }));
  assertEquals((await publish(message("a"), message("b"))).confirmed.toSorted(), ["a", "b"]);
  await publish(message("c"));
  assertEquals(sent, [whole("b"), whole("c")]);
  await eventually("the late one", () => sent.length === 3);
  assertEquals(sent[2], whole("a"));
});

Deno.test("delivery.reordered holds one back until a later one of its order has gone", async () => {
  const { publish, sent } = rig(armed("delivery.reordered", { consumer: "orders", delayMs: 0 }));
  assertEquals((await publish(message("a", "order-1"))).confirmed, ["a"]);
  await publish(message("b", "order-2"));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(sent, ["a :enrollments", whole("b")], "another order's does not release it");
  await publish(message("c", "order-1"));
  await eventually("the overtaken one", () => sent.length === 4, 5000); // by itself it would go after 10 s
  assertEquals(sent.slice(2), [whole("c"), "a :orders"]);
});

Deno.test("no more messages are held back than there are places, however many are sent at once", async () => {
  const { publish, sent, faults } = rig(armed("delivery.delayed", { times: 2 * MAX_HELD, delayMs: 50 }));
  const messages = Array.from({ length: MAX_HELD + 1 }, (_, n) => message(`${n}`));
  assertEquals((await publish(...messages)).confirmed.length, MAX_HELD + 1);
  assertEquals([sent.length, faults.struck.length], [1, MAX_HELD]);
  await eventually("all to have gone", () => sent.length === MAX_HELD + 1);
  await publish(message("a"));
  assertEquals(faults.struck.length, MAX_HELD + 1, "places are free again");
  await eventually("the last one", () => sent.length === MAX_HELD + 2);
});

Deno.test("a place to hold back is left again by a message that the broker refuses", async () => {
  const refused = Array.from({ length: MAX_HELD }, (_, n) => `${n}`);
  const more = { consumer: "orders", times: 2 * MAX_HELD, delayMs: 20 };
  const { publish, sent, faults } = rig(armed("delivery.delayed", more), refused);
  await publish(...refused.map((id) => message(id)));
  await publish(message("a"));
  assertEquals(faults.struck.length, MAX_HELD + 1);
  await eventually("the late one", () => sent.length === MAX_HELD + 2);
});

Deno.test("a message whose delivery was to fail, and which the broker refuses, counts as refused", async () => {
  const { publish } = rig(armed("delivery.duplicate"), ["a"]);
  assertEquals(await publish(message("a")), {
    confirmed: [],
    refused: [{ id: "a", error: "no" }],
    unknown: [],
    offence: null,
  });
});

Deno.test("a fault for a consumer that does not get the type, or another correlation id, spares the message", async () => {
  const faults = fakeFaults(
    { point: "delivery.lost", consumer: "notifications" },
    { point: "delivery.lost", correlationId: "z" },
    { point: "relay.crash-before-publish", correlationId: "z" },
  );
  const { publish, sent } = rig(faults);
  await publish(message("a"));
  assertEquals([sent, faults.struck], [[whole("a")], []]);
});
