import { assertEquals, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import type { OutgoingMessage, Publisher } from "../../shared/broker/publish.ts";
import { FAULT_POINT_NAMES } from "../../shared/ops/faults.ts";
import { type TestApp, testApp } from "../../specs/support/test_app.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { SCENARIOS } from "./scenarios.ts";

shareTestSchema();

const faults = usualTopology();
const { paymentsOrderCreated: { name: consumer }, enrollmentsPaymentSucceeded } = faults.queues;

const appOn = (db: TestSchema, publisher: Publisher | null = null) =>
  testApp(db, { isBrokerUp: () => true, publisher: () => publisher, faults });

async function armedOf({ call }: TestApp): Promise<unknown[]> {
  const { armed } = await call("GET /ops/faults");
  return armed.map(({ id: _, createdAt: __, ...fault }: Record<string, unknown>) => fault);
}

/** A fault as it is listed. */
const fault = (point: string, more: object = {}) => {
  return { point, times: 1, consumer: null, correlationId: null, delayMs: null, ...more };
};

Deno.test("PUT /ops/faults replaces all that is armed, and GET shows it with the catalogue", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  const { points } = await api.call("GET /ops/faults");
  assertEquals(points.map(({ point }: { point: string }) => point), [...FAULT_POINT_NAMES]);
  await api.call("PUT /ops/faults", { faults: [{ point: "delivery.lost" }] });
  const slow = { consumer, correlationId: "c-1", delayMs: 70 };
  const given = [{ point: "relay.crash-before-publish", times: 2 }, { point: "provider.slow", ...slow }];
  await api.call("PUT /ops/faults", { faults: given });
  const listed = [fault("relay.crash-before-publish", { times: 2 }), fault("provider.slow", slow)];
  assertEquals(await armedOf(api), listed);
  await api.call("PUT /ops/faults", { faults: [] });
  assertEquals(await armedOf(api), []);
});

Deno.test("a scenario arms its faults for its own order alone, which PUT /ops/faults leaves be, and arms none of them that was spent", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  const play = await api.ask("POST /ops/scenarios/provider-timeout", undefined, {
    "x-correlation-id": "mine",
  });
  assertEquals([play.status, play.headers.get("location")], [201, `/orders/${play.body.id}`]);
  const listed = await armedOf(api);
  assertEquals(listed, [fault("provider.timeout", { times: 2, consumer, correlationId: "mine" })]);
  await api.call("PUT /ops/faults", { faults: [] });
  assertEquals(await armedOf(api), listed);
  await db.sql`update faults set remaining = 0`; // it strikes, while somebody puts back what was listed
  await api.call("PUT /ops/faults", { faults: [...listed, { point: "delivery.lost" }] });
  assertEquals(await armedOf(api), [fault("delivery.lost")]);
});

Deno.test("POST /ops/faults arms one beside the others, and disarming takes that one away", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  const { ask } = api;
  await ask("POST /ops/faults", { point: "delivery.lost" });
  const { status, body } = await ask("POST /ops/faults", { point: "provider.slow", delayMs: 70, times: 3 });
  assertEquals([status, (await armedOf(api)).length], [201, 2]);
  const [first, second] = body.armed;
  assertEquals((await ask(`POST /ops/faults/${first.id}/disarm`)).status, 200);
  assertEquals((await ask(`POST /ops/faults/${first.id}/disarm`)).status, 404);
  await db.sql`update faults set remaining = 0`;
  assertEquals((await ask(`POST /ops/faults/${second.id}/disarm`)).status, 404, "it is spent");
  assertEquals((await ask("POST /ops/faults", { point: "relay.nap" })).status, 400);
});

Deno.test("PUT /ops/faults names what is wrong, and then changes nothing", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  await api.call("PUT /ops/faults", { faults: [{ point: "delivery.lost" }] });
  const wrong: [fault: object, field: string, says?: string][] = [
    [{ point: "relay.nap" }, "faults.0.point", "relay.crash-before-publish"],
    [{ point: "delivery.lost", consumer: "nobody" }, "faults.0.consumer", consumer],
    [{ point: "delivery.lost", times: 0 }, "faults.0.times"],
    [{ point: "delivery.lost", times: 1001 }, "faults.0.times"],
    [{ point: "delivery.delayed", delayMs: -1 }, "faults.0.delayMs"],
    [{ point: "delivery.lost", delayMs: 5 }, "faults.0.delayMs", "takes no delay"],
    [{ point: "relay.connection-lost", consumer }, "faults.0.consumer", "takes no consumer"],
    [{ point: "delivery.lost", correlationId: "" }, "faults.0.correlationId"],
    [{ point: "delivery.lost", when: "now" }, "faults.0", "when"],
  ];
  for (const [fault, field, says = ""] of wrong) {
    const { status, body: { errors } } = await api.ask("PUT /ops/faults", { faults: [fault] });
    assertEquals(status, 400, JSON.stringify(fault));
    assertEquals(errors.map((error: { field: string }) => error.field), [field]);
    assertStringIncludes(errors[0].detail, says);
  }
  assertEquals((await armedOf(api)).length, 1);
});

Deno.test("a scenario sends its message to one queue; with the broker away it places no order", async () => {
  await using db = await testSchema();
  const sent: [OutgoingMessage, string][] = [];
  const publisher: Publisher = {
    publish(messages, route) {
      sent.push(...messages.map((message): [OutgoingMessage, string] => [message, route.keyOf(message)]));
      const confirmed = messages.map(({ id }) => id);
      return Promise.resolve({ confirmed, refused: [], unknown: [], offence: null });
    },
  };
  const { id } = await appOn(db, publisher).call("POST /ops/scenarios/unknown-version");
  const [[message, queue] = []] = sent;
  assertEquals([sent.length, queue], [1, enrollmentsPaymentSucceeded.name]);
  const body = z.object({ version: z.number(), data: z.object({ orderId: z.string() }) })
    .parse(JSON.parse(String(message?.body)));
  assertEquals(body, { version: 2, data: { orderId: id } });
  assertEquals((await appOn(db).ask("POST /ops/scenarios/unknown-version")).status, 503);
  assertEquals((await db.sql`select from orders`).count, 1);
});

Deno.test("without FAULTS_ENABLED there are no faults, and no scenarios that need them", async () => {
  await using db = await testSchema();
  const { ask, call } = testApp(db);
  const { scenarios } = await call("GET /ops/scenarios");
  const names = ["order-success", "payment-failure", "enrollment-failure"];
  assertEquals(scenarios.map(({ name }: { name: string }) => name), names);
  assertEquals((await ask("POST /ops/scenarios/nope")).status, 404);
  const needing = SCENARIOS.filter(({ name }) => !names.includes(name))
    .map(({ name }) => `POST /ops/scenarios/${name}`);
  for (const line of ["GET /ops/faults", "PUT /ops/faults", ...needing]) {
    const { status, body: { detail } } = await ask(line);
    assertEquals(status, 404, line);
    const path = line.split(" ")[1];
    assertStringIncludes(
      detail,
      `There is nothing at ${path}. Faults are switched off: set FAULTS_ENABLED=true`,
    );
  }
  assertEquals((await db.sql`select from orders`).count, 0);
});
