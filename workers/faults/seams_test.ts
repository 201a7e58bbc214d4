import { assertEquals, assertRejects } from "@std/assert";
import { TransientError } from "../../shared/process/errors.ts";
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

type Armed = Partial<Fault> & Pick<Fault, "point">;
type FakeFaults = ReturnType<typeof fakeFaults>;

/** Arms faults, each once unless told, wherever it is unless told. A crash is a rejection with {@linkcode Crash}. */
function fakeFaults(...faults: readonly Armed[]) {
  const struck: FaultPoint[] = [];
  const anywhere = { times: 1, consumer: null, correlationId: null, delayMs: null };
  const armed = faults.map((fault) => ({ ...anywhere, id: "", createdAt: new Date(), ...fault }));
  const strike: Faults["strike"] = (point, target) => {
    const fault = armed.find((fault) => fault.times > 0 && isMeantFor(fault, point, target));
    if (!fault) return Promise.resolve(null);
    fault.times--;
    struck.push(point);
    return Promise.resolve(fault);
  };
  const crash: Faults["crash"] = async (point, target) => {
    if (await strike(point, target)) throw new Crash(point);
  };
  return { struck, anyArmed: () => Promise.resolve(armed.some(({ times }) => times > 0)), strike, crash };
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

/** Has a handler of the consumer `payments`, which meets `faults`, pay an order in one transaction. */
async function pay(db: TestSchema, faults: Faults, kind: "done" | "duplicate") {
  const id = await insertOrder(db.sql, "PENDING");
  const seams = consumerSeams(db.as("orderflow_orders"), "payments", faults);
  let written = 0;
  const handle = seams.handling(async (events) => {
    await seams.atomically(async (tx) => {
      written = (await tx`update orders set status = 'PAID' where id = ${id}`).count;
    });
    return events.map(() => ({ kind }));
  });
  const ended = await handle([orderCreated()]).then(() => "well", ({ code, name }) => code ?? name);
  const [row] = await db.sql`select status from orders where id = ${id}`;
  return [ended, written, row?.status];
}

Deno.test("a consumer's faults strike with a true time-out, when all is written and nothing committed, or behind the commit of something new", async () => {
  await using db = await testSchema();
  const mine = { consumer: "payments", correlationId: "test-correlation" };
  const cases: [ended: unknown[], faults: Armed[], kind?: "duplicate"][] = [
    [["57014", 0, "PENDING"], [{ point: "database.timeout", ...mine }]],
    [["Crash", 1, "PENDING"], [{ point: "consumer.crash-before-commit", ...mine }]],
    [["Crash", 1, "PAID"], [{ point: "consumer.crash-after-commit", ...mine }]],
    [["well", 1, "PAID"], [{ point: "consumer.crash-after-commit", ...mine }], "duplicate"],
    [["well", 1, "PAID"], [ // those of others
      { point: "database.timeout", consumer: "orders" },
      { point: "consumer.crash-before-commit", correlationId: "another" },
      { point: "consumer.crash-after-commit", correlationId: "another" },
    ]],
  ];
  for (const [ended, armed, kind = "done"] of cases) {
    const faults = fakeFaults(...armed);
    assertEquals(await pay(db, faults, kind), ended);
    if (ended[0] !== "well") assertEquals(await pay(db, faults, kind), ["well", 1, "PAID"]);
    assertEquals(faults.struck.length, ended[0] === "well" ? 0 : 1);
  }
});

const provider: PaymentProvider = {
  charge: () => Promise.resolve({ kind: "charged", reference: "c" }),
  refund: () => Promise.resolve({ reference: "r" }),
};
const charged = { kind: "charged", reference: "c" } as const;
const charge = (correlationId = "a") => ({
  idempotencyKey: "k",
  amount: "1.00",
  metadata: { orderId: "o", courseId: "c", correlationId },
  traceparent: null,
});
const refund = { ...charge(), chargeReference: "c" };
const never = new AbortController().signal;

Deno.test("provider.failing fails so often, charges and refunds alike, and spares others", async () => {
  const faults = fakeFaults({
    point: "provider.failing",
    times: 2,
    correlationId: "a",
    consumer: "payments",
  });
  const failing = withProviderFaults(provider, "payments", faults);
  const refunds = withProviderFaults(provider, "refunds", faults);
  assertEquals(await refunds.refund(refund, never), { reference: "r" });
  assertEquals(await failing.charge(charge("b"), never), charged);
  await assertRejects(() => failing.charge(charge(), never), TransientError);
  await assertRejects(() => failing.refund(refund, never), TransientError);
  assertEquals(await failing.refund(refund, never), { reference: "r" });
});

Deno.test("provider.timeout never answers, provider.slow after the delay; the caller's time-out ends both", async () => {
  const faults = fakeFaults(
    { point: "provider.timeout", correlationId: "silent" },
    { point: "provider.slow", correlationId: "a", times: 2, delayMs: 30 },
  );
  const faulty = withProviderFaults(provider, "payments", faults);
  const controller = new AbortController();
  const charging = faulty.charge(charge("silent"), controller.signal);
  const first = await Promise.race([charging, new Promise((resolve) => setTimeout(resolve, 20, "silence"))]);
  assertEquals(first, "silence");
  controller.abort(new Error("the time is up"));
  await assertRejects(() => charging, Error, "the time is up");
  const startedAt = performance.now();
  assertEquals(await faulty.charge(charge(), never), charged);
  assertEquals(performance.now() - startedAt >= 25, true);
  await assertRejects(() => faulty.charge(charge(), controller.signal), Error, "the time is up");
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

/** A publisher that meets `faults`, and whose broker refuses some ids; `sent` are `<id> <exchange>:<routing key>`, or `cut`. */
function rig(faults: FakeFaults, refused: readonly string[] = []) {
  const sent: string[] = [];
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
  const publisher = withPublisherFaults(broker, { faults, bindings, cut: () => void sent.push("cut") });
  const publish = (...messages: OutgoingMessage[]) => publisher.publish(messages, route, 1000);
  return { sent, faults, publish };
}

const whole = (id: string) => `${id} events:${TYPE}`;

Deno.test("what strikes a publisher strikes before the sending, behind it, or behind the confirm, and what it is meant for alone", async () => {
  const b = { correlationId: "b" };
  const cases: [fault: Armed, sent: string[], refused?: string][] = [
    [{ point: "relay.crash-before-publish", ...b }, [whole("a"), "Crash"]],
    [{ point: "relay.crash-after-confirm", ...b }, [whole("a"), whole("b"), "Crash"]],
    [{ point: "relay.crash-after-confirm", ...b }, [whole("a"), whole("b")], "b"],
    [{ point: "relay.connection-lost", ...b }, [whole("a"), whole("b"), "cut"]],
    [{ point: "delivery.lost", ...b }, [whole("a")]],
    [{ point: "delivery.lost", ...b, consumer: "orders" }, [whole("a"), "b :enrollments"]],
    [{ point: "delivery.duplicate", ...b }, [whole("a"), whole("b"), whole("b")]],
    [{ point: "delivery.duplicate", ...b, consumer: "orders" }, [whole("a"), whole("b"), "b :orders"]],
    [{ point: "delivery.lost", consumer: "notifications" }, [whole("a"), whole("b")]], // it does not get the type
    [{ point: "delivery.lost", correlationId: "z" }, [whole("a"), whole("b")]],
    [{ point: "relay.crash-before-publish", correlationId: "z" }, [whole("a"), whole("b")]],
  ];
  for (const [fault, expected, refused = ""] of cases) {
    const { publish, sent } = rig(fakeFaults(fault), [refused]);
    await publish(message("a"));
    const outcome = await publish(message("b")).catch((error) => void sent.push(error.name));
    assertEquals([fault, sent], [fault, expected]);
    if (outcome && refused === "") assertEquals(outcome.confirmed, ["b"], "also what is lost");
  }
});

Deno.test("delivery.delayed holds one back, and nobody else", async () => {
  const { publish, sent } = rig(fakeFaults({ point: "delivery.delayed", correlationId: "a", delayMs: 20 }));
  assertEquals((await publish(message("a"), message("b"))).confirmed.toSorted(), ["a", "b"]);
  await publish(message("c"));
  assertEquals(sent, [whole("b"), whole("c")]);
  await eventually("the late one", () => sent.length === 3);
  assertEquals(sent[2], whole("a"));
});

Deno.test("delivery.reordered holds one back until a later one of its order has gone", async () => {
  const { publish, sent } = rig(fakeFaults({ point: "delivery.reordered", consumer: "orders", delayMs: 0 }));
  assertEquals((await publish(message("a", "order-1"))).confirmed, ["a"]);
  await publish(message("b", "order-2"));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assertEquals(sent, ["a :enrollments", whole("b")], "another order's does not release it");
  await publish(message("c", "order-1"));
  await eventually("the overtaken one", () => sent.length === 4, 5000); // by itself it would go after 10 s
  assertEquals(sent.slice(2), [whole("c"), "a :orders"]);
});

Deno.test("no more messages are held back than there are places, however many are sent at once; each is free again once its message has gone or was refused", async () => {
  const fault = { point: "delivery.delayed", times: 4 * MAX_HELD, delayMs: 50 } as const;
  const { publish, sent, faults } = rig(fakeFaults(fault));
  const messages = Array.from({ length: MAX_HELD + 1 }, (_, n) => message(`${n}`));
  assertEquals((await publish(...messages)).confirmed.length, MAX_HELD + 1);
  assertEquals([sent.length, faults.struck.length], [1, MAX_HELD]);
  await eventually("all to have gone", () => sent.length === MAX_HELD + 1);
  await publish(message("a"));
  assertEquals(faults.struck.length, MAX_HELD + 1);
  await eventually("the last one", () => sent.length === MAX_HELD + 2);

  const refusing = rig(fakeFaults({ ...fault, consumer: "orders" }), messages.map(({ id }) => id));
  await refusing.publish(...messages.slice(1));
  await refusing.publish(message("a"));
  assertEquals(refusing.faults.struck.length, MAX_HELD + 1);
  await eventually("the late one", () => refusing.sent.length === MAX_HELD + 2);
});

Deno.test("a message whose delivery was to fail, and which the broker refuses, counts as refused", async () => {
  const { publish } = rig(fakeFaults({ point: "delivery.duplicate" }), ["a"]);
  const { confirmed, refused } = await publish(message("a"));
  assertEquals([confirmed, refused], [[], [{ id: "a", error: "no" }]]);
});
