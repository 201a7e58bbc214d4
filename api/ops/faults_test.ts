import { assertEquals, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import type { OutgoingMessage, Publisher } from "../../shared/broker/publish.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { FAULT_POINT_NAMES } from "../../shared/ops/faults.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import type { App } from "../http.ts";
import { needsFaults, SCENARIOS } from "./scenario_list.ts";

shareTestSchema();

const topology = topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));

interface Options {
  readonly faults?: boolean;
  readonly publisher?: Publisher | null;
}

function appOn(db: TestSchema, { faults = true, publisher = null }: Options = {}): App {
  const more = {
    isBrokerUp: () => true,
    publisher: () => publisher,
    ...(faults ? { faults: topology } : {}),
  };
  return testApp(db, more).app;
}

const put = (faults: unknown): RequestInit => ({
  method: "PUT",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ faults }),
});

async function armedOf(app: App): Promise<unknown[]> {
  const { armed } = await (await app.request("/ops/faults")).json();
  return armed.map(({ id: _, createdAt: __, ...fault }: Record<string, unknown>) => fault);
}

Deno.test("PUT /ops/faults replaces all that is armed, and GET shows it with the catalogue", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const { points } = await (await app.request("/ops/faults")).json();
  assertEquals(points.map(({ point }: { point: string }) => point), [...FAULT_POINT_NAMES]);
  await app.request("/ops/faults", put([{ point: "delivery.lost" }]));
  const consumer = topology.queues.paymentsOrderCreated.name;
  const response = await app.request(
    "/ops/faults",
    put([
      { point: "relay.crash-before-publish", times: 2 },
      { point: "provider.slow", consumer, correlationId: "c-1", delayMs: 70 },
    ]),
  );
  assertEquals(response.status, 200);
  const armed = [
    { point: "relay.crash-before-publish", times: 2, consumer: null, correlationId: null, delayMs: null },
    { point: "provider.slow", times: 1, consumer, correlationId: "c-1", delayMs: 70 },
  ];
  assertEquals(await armedOf(app), armed);
  await app.request("/ops/faults", put([]));
  assertEquals(await armedOf(app), []);
});

Deno.test("PUT /ops/faults leaves a running scenario's fault alone, and arms none of its own that was spent", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await app.request("/ops/scenarios/provider-timeout", {
    method: "POST",
    headers: { "x-correlation-id": "mine" },
  });
  const listed = await armedOf(app);
  await app.request("/ops/faults", put([]));
  assertEquals(await armedOf(app), listed);
  await db.sql`update faults set remaining = 0`; // it strikes, while somebody puts back what was listed
  await app.request("/ops/faults", put([...listed, { point: "delivery.lost" }]));
  const lost = { point: "delivery.lost", times: 1, consumer: null, correlationId: null, delayMs: null };
  assertEquals(await armedOf(app), [lost]);
});

Deno.test("POST /ops/faults arms one beside the others, and disarming takes that one away", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const post = (path: string, body: unknown) =>
    app.request(path, { ...put([]), method: "POST", body: JSON.stringify(body) });
  await post("/ops/faults", { point: "delivery.lost" });
  const response = await post("/ops/faults", { point: "provider.slow", delayMs: 70, times: 3 });
  assertEquals([response.status, (await armedOf(app)).length], [201, 2]);
  const [first, second] = (await response.json()).armed;
  assertEquals((await post(`/ops/faults/${first.id}/disarm`, {})).status, 200);
  assertEquals((await post(`/ops/faults/${first.id}/disarm`, {})).status, 404);
  await db.sql`update faults set remaining = 0`;
  assertEquals((await post(`/ops/faults/${second.id}/disarm`, {})).status, 404, "it is spent");
  assertEquals((await post("/ops/faults", { point: "relay.nap" })).status, 400);
});

Deno.test("PUT /ops/faults names what is wrong, and then changes nothing", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await app.request("/ops/faults", put([{ point: "delivery.lost" }]));
  const wrong: [unknown, string, string][] = [
    [{ point: "relay.nap" }, "faults.0.point", "relay.crash-before-publish"],
    [{ point: "delivery.lost", consumer: "nobody" }, "faults.0.consumer", "payments.order-created.v1"],
    [{ point: "delivery.lost", times: 0 }, "faults.0.times", ""],
    [{ point: "delivery.lost", times: 1001 }, "faults.0.times", ""],
    [{ point: "delivery.delayed", delayMs: -1 }, "faults.0.delayMs", ""],
    [{ point: "delivery.lost", delayMs: 5 }, "faults.0.delayMs", "takes no delay"],
    [
      { point: "relay.connection-lost", consumer: topology.queues.paymentsOrderCreated.name },
      "faults.0.consumer",
      "takes no consumer",
    ],
    [{ point: "delivery.lost", correlationId: "" }, "faults.0.correlationId", ""],
    [{ point: "delivery.lost", when: "now" }, "faults.0", "when"],
  ];
  for (const [fault, field, says] of wrong) {
    const response = await app.request("/ops/faults", put([fault]));
    assertEquals(response.status, 400, JSON.stringify(fault));
    const { errors } = await response.json();
    assertEquals(errors.map((error: { field: string }) => error.field), [field]);
    assertStringIncludes(errors[0].detail, says);
  }
  assertEquals((await armedOf(app)).length, 1);
});

Deno.test("a scenario arms its faults for its own order alone", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const response = await app.request("/ops/scenarios/provider-timeout", {
    method: "POST",
    headers: { "x-correlation-id": "mine" },
  });
  assertEquals(response.status, 201);
  assertEquals(response.headers.get("location"), `/orders/${(await response.json()).id}`);
  assertEquals(await armedOf(app), [{
    point: "provider.timeout",
    times: 2,
    consumer: topology.queues.paymentsOrderCreated.name,
    correlationId: "mine",
    delayMs: null,
  }]);
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
  const placed = await appOn(db, { publisher }).request("/ops/scenarios/unknown-version", { method: "POST" });
  const { id } = await placed.json();
  const [[message, queue] = []] = sent;
  assertEquals([sent.length, queue], [1, topology.queues.enrollmentsPaymentSucceeded.name]);
  const body = z.object({ version: z.number(), data: z.object({ orderId: z.string() }) })
    .parse(JSON.parse(String(message?.body)));
  assertEquals(body, { version: 2, data: { orderId: id } });
  const refused = await appOn(db).request("/ops/scenarios/unknown-version", { method: "POST" });
  assertEquals(refused.status, 503);
  assertEquals((await db.sql`select from orders`).count, 1);
});

Deno.test("without FAULTS_ENABLED there are no faults, and no scenarios that need them", async () => {
  await using db = await testSchema();
  const app = appOn(db, { faults: false });
  const unknown = async (path: string, init?: RequestInit) => {
    const response = await app.request(path, init);
    const { status, detail } = await response.json();
    assertEquals([response.status, status], [404, 404], path);
    assertStringIncludes(
      detail,
      `There is nothing at ${path}. Faults are switched off: set FAULTS_ENABLED=true`,
    );
  };
  const { scenarios } = await (await app.request("/ops/scenarios")).json();
  assertEquals(scenarios.map(({ name }: { name: string }) => name), [
    "order-success",
    "payment-failure",
    "enrollment-failure",
  ]);
  assertEquals((await app.request("/ops/scenarios/nope", { method: "POST" })).status, 404);
  await unknown("/ops/faults");
  await unknown("/ops/faults", put([]));
  for (const scenario of SCENARIOS.filter(needsFaults)) {
    await unknown(`/ops/scenarios/${scenario.name}`, { method: "POST" });
  }
  assertEquals((await db.sql`select from orders`).count, 0);
});
