import { assertEquals, assertRejects } from "@std/assert";
import type { OutgoingMessage, Publisher, PublishOutcome } from "../../shared/broker/publish.ts";
import { toExchange } from "../../shared/broker/publish.ts";
import type { Fault, FaultPoint } from "../../shared/faults/fault_points.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { Crash, type FakeFaults, fakeFaults } from "../../specs/support/fake_faults.ts";
import { withPublisherFaults } from "./publisher_faults.ts";

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

interface Rig {
  /** What was sent, in its order: `<id> <exchange>:<routing key>`. */
  readonly sent: string[];
  readonly faults: FakeFaults;
  readonly publish: (...messages: OutgoingMessage[]) => Promise<PublishOutcome>;
  readonly cuts: () => number;
}

function rig(faults: FakeFaults, refused: ReadonlySet<string> = new Set()): Rig {
  const sent: string[] = [];
  let cuts = 0;
  const broker: Publisher = {
    publish(messages, { exchange, keyOf }) {
      sent.push(...messages.map((m) => `${m.id} ${exchange}:${keyOf(m)}`));
      const ids = messages.map(({ id }) => id);
      return Promise.resolve({
        confirmed: ids.filter((id) => !refused.has(id)),
        refused: ids.filter((id) => refused.has(id)).map((id) => ({ id, error: "no" })),
        unknown: [],
        offence: null,
      });
    },
  };
  const publisher = withPublisherFaults(broker, { faults, bindings, cut: () => void cuts++ });
  return {
    sent,
    faults,
    publish: (...messages) => publisher.publish(messages, route, 1000),
    cuts: () => cuts,
  };
}

const armed = (point: FaultPoint, more: Partial<Fault> = {}) => fakeFaults({ point, ...more });
const whole = (id: string) => `${id} events:${TYPE}`;

Deno.test("withPublisherFaults() without faults is the publisher that it wraps", () => {
  const publisher: Publisher = { publish: () => Promise.reject(new Error("not called")) };
  assertEquals(withPublisherFaults(publisher, { faults: null, bindings, cut: () => {} }) === publisher, true);
});

Deno.test("relay.crash-before-publish strikes before anything is sent", async () => {
  const { publish, sent } = rig(armed("relay.crash-before-publish", { correlationId: "b" }));
  await assertRejects(() => publish(message("a"), message("b")), Crash);
  assertEquals(sent, []);
});

Deno.test("relay.crash-after-confirm strikes behind the confirm, and only of what is confirmed", async () => {
  const spared = rig(armed("relay.crash-after-confirm", { correlationId: "b" }), new Set(["b"]));
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

Deno.test("delivery.lost reports as confirmed what it does not send; a consumer's alone leaves the others theirs", async () => {
  const all = rig(armed("delivery.lost", { correlationId: "b" }));
  assertEquals((await all.publish(message("a"), message("b"))).confirmed.toSorted(), ["a", "b"]);
  assertEquals(all.sent, [whole("a")]);
  const one = rig(armed("delivery.lost", { consumer: "orders" }));
  assertEquals((await one.publish(message("a"))).confirmed, ["a"]);
  assertEquals(one.sent, ["a :enrollments"]);
});

Deno.test("delivery.duplicate sends twice; a consumer's alone gets it twice", async () => {
  const all = rig(armed("delivery.duplicate"));
  assertEquals((await all.publish(message("a"), message("b"))).confirmed.toSorted(), ["a", "b"]);
  assertEquals(all.sent.toSorted(), [whole("a"), whole("a"), whole("b")]);
  const one = rig(armed("delivery.duplicate", { consumer: "orders" }));
  await one.publish(message("a"));
  assertEquals(one.sent, [whole("a"), "a :orders"]);
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

Deno.test("a message whose delivery was to fail, and which the broker refuses, counts as refused", async () => {
  const { publish } = rig(armed("delivery.duplicate"), new Set(["a"]));
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
