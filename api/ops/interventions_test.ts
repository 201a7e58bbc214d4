import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { heldSchema, holdsSchema } from "../../shared/ops/answers.ts";
import { FAULT_POINT_NAMES } from "../../shared/ops/faults.ts";
import { MAX_STEPS } from "../../shared/ops/holds.ts";
import { type TestApp, testApp } from "../../specs/support/test_app.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { SCENARIOS } from "./scenarios.ts";

shareTestSchema();

const faults = usualTopology();
const consumer = faults.queues.paymentsOrderCreated.name;

const appOn = (db: TestSchema) => testApp(db, { faults });

async function armedOf({ call }: TestApp): Promise<unknown[]> {
  const { armed } = await call("GET /ops/faults");
  return armed.map(({ id: _, createdAt: __, ...fault }: Record<string, unknown>) => fault);
}

/** A fault as it is listed. */
const fault = (point: string, more: object = {}) => {
  return { point, times: 1, consumer: null, correlationId: null, delayMs: null, ...more };
};

Deno.test("PUT /ops/faults replaces all that is armed, POST arms one beside it, disarming takes that one away; GET shows all with the catalogue", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  const { ask, call } = api;
  const { points } = await call("GET /ops/faults");
  assertEquals(points.map(({ point }: { point: string }) => point), [...FAULT_POINT_NAMES]);
  await call("PUT /ops/faults", { faults: [{ point: "delivery.lost" }] });
  const slow = { consumer, correlationId: "c-1", delayMs: 70 };
  const given = [{ point: "relay.crash-before-publish", times: 2 }, { point: "provider.slow", ...slow }];
  await call("PUT /ops/faults", { faults: given });
  const listed = [fault("relay.crash-before-publish", { times: 2 }), fault("provider.slow", slow)];
  assertEquals(await armedOf(api), listed);
  const { status, body } = await ask("POST /ops/faults", { point: "delivery.lost" });
  assertEquals([status, await armedOf(api)], [201, [...listed, fault("delivery.lost")]]);
  const [first, second] = body.armed;
  assertEquals((await ask(`POST /ops/faults/${first.id}/disarm`)).status, 200);
  assertEquals((await ask(`POST /ops/faults/${first.id}/disarm`)).status, 404);
  await db.sql`update faults set remaining = 0`;
  assertEquals((await ask(`POST /ops/faults/${second.id}/disarm`)).status, 404, "it is spent");
  await call("PUT /ops/faults", { faults: [] });
  assertEquals(await armedOf(api), []);
});

Deno.test("a scenario arms its faults for its own order alone, which PUT /ops/faults leaves be, and arms none of them that was spent", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  const mine = { "x-correlation-id": "mine" };
  const play = await api.ask("POST /ops/scenarios/provider-timeout", undefined, mine);
  assertEquals([play.status, play.headers.get("location")], [201, `/orders/${play.body.id}`]);
  const listed = await armedOf(api);
  assertEquals(listed, [fault("provider.timeout", { times: 2, consumer, correlationId: "mine" })]);
  await api.call("PUT /ops/faults", { faults: [] });
  assertEquals(await armedOf(api), listed);
  await db.sql`update faults set remaining = 0`; // it strikes, while somebody puts back what was listed
  await api.call("PUT /ops/faults", { faults: [...listed, { point: "delivery.lost" }] });
  assertEquals(await armedOf(api), [fault("delivery.lost")]);
});

Deno.test("what is wrong is named, and changes nothing: a fault, a part that is not there, a seam without faults, a step of nothing", async () => {
  await using db = await testSchema();
  const [without, api] = [testApp(db), appOn(db)];
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

  const [relay, inner] = ["PUT /ops/holds/relay", `PUT /ops/holds/${consumer}.before-commit`];
  const cases: [status: number, says: string, line: string, body?: unknown][] = [
    [404, "The parts are relay, payments", "PUT /ops/holds/nobody"],
    [404, "There is no part nobody", "DELETE /ops/holds/nobody"],
    [409, "FAULTS_ENABLED=true", inner],
    [409, "FAULTS_ENABLED=true", "PUT /ops/holds/relay.before-mark"],
    [409, "hold it first", "POST /ops/holds/relay/step"],
    [400, "1 to 3600", relay, { forSeconds: 3601 }],
    [400, "1 to 3600", relay, { forSeconds: 0 }],
    [400, "because", relay, { because: "a\0b" }],
    [400, "because", relay, { because: "a".repeat(501) }],
    [400, "nonsense", relay, { nonsense: 1 }],
  ];
  for (const [status, says, ...request] of cases) {
    const answer = await without.ask(...request);
    assertEquals([request, answer.status], [request, status]);
    assertStringIncludes(JSON.stringify(answer.body), says);
  }
  await api.call(inner);
  const parts = 2 + 2 * Object.keys(faults.queues).length;
  assertEquals(holdsSchema.parse(await api.call("GET /ops/holds")).parts.length, parts);
  assertEquals((await without.call("GET /ops/holds")).parts.length, parts / 2);
});

Deno.test("a scenario that sends a message places no order while the broker is away", async () => {
  await using db = await testSchema();
  assertEquals((await appOn(db).ask("POST /ops/scenarios/unknown-version")).status, 503);
  assertEquals((await db.sql`select from orders`).count, 0);
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
    const nothing = `There is nothing at ${line.split(" ")[1]}. `;
    assertStringIncludes(detail, `${nothing}Faults are switched off: set FAULTS_ENABLED=true`);
  }
  assertEquals((await db.sql`select from orders`).count, 0);
});

Deno.test("a part is held for so long, stepped and resumed; holding it again keeps its beginning and its steps", async () => {
  await using db = await testSchema();
  const { call } = testApp(db);
  const held = async (line: string, body?: unknown) => heldSchema.parse(await call(line, body)).holds;
  const seconds = (from = "", to = "") => Math.round((Date.parse(to) - Date.parse(from)) / 1000);
  const [first, ...more] = await held("PUT /ops/holds/relay");
  assertEquals([first?.part, first?.steps, first?.because, more.length], ["relay", 0, null, 0]);
  assertEquals(seconds(first?.sinceAt, first?.untilAt), 600);
  await held("POST /ops/holds/relay/step");
  const [again] = await held("PUT /ops/holds/relay", { forSeconds: 3600, because: " a look " });
  assertEquals([again?.sinceAt, again?.steps, again?.because], [first?.sinceAt, 1, "a look"]);
  assert(seconds(first?.sinceAt, again?.untilAt) >= 3600);
  const both = await held(`PUT /ops/holds/${consumer}`, { forSeconds: 60 });
  assertEquals(both.map(({ part }) => part), [consumer, "relay"]);
  for (const _ of ["once", "and again"]) {
    assertEquals((await held("DELETE /ops/holds/relay")).map(({ part }) => part), [consumer]);
  }
  const [, anew] = await held("PUT /ops/holds/relay");
  assertEquals([anew?.part, anew?.steps], ["relay", 0], "steps of before are not kept");
  await call("DELETE /ops/holds/relay");
  await db.sql`update holds set steps = ${MAX_STEPS} where part = ${consumer}`;
  assertEquals((await held(`POST /ops/holds/${consumer}/step`)).map(({ steps }) => steps), [MAX_STEPS]);
  const [shown] = (await call("GET /ops/status")).figures.holds;
  assertEquals([shown.part, shown.steps], [consumer, MAX_STEPS]);
  assertStringIncludes(await call("GET /metrics"), `orderflow_held{part="${consumer}"} 1`);
  await db.sql`update holds set until = now()`;
  assertEquals((await call("GET /ops/holds")).holds, []);
});
