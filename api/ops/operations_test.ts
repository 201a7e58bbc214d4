import { assertEquals } from "@std/assert";
import { operationsPageSchema } from "../../shared/ops/answers.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import { appendEvents, orderCreated } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { prune } from "../../workers/relay/retention.ts";

shareTestSchema();

/** The application with faults, and an event that was published. */
async function stage() {
  const db = await testSchema();
  const { event, traceparent } = orderCreated();
  await appendEvents(db.sql, [{ event, traceparent }]);
  await db.sql`update outbox_events set published_at = now()`;
  const { ask } = testApp(db, { faults: usualTopology() });
  const operate = (line: string, body?: object) =>
    ask(line.replace(" ", " /ops/"), body, { "user-agent": "a test" });
  return { db, operate, eventId: event.eventId, [Symbol.asyncDispose]: () => db[Symbol.asyncDispose]() };
}

Deno.test("what an operator does is one row each: when, what, on what, from where, and why; refusals are none", async () => {
  await using on = await stage();
  const operate = async (line: string, body?: object) => (await on.operate(line, body)).body;
  await operate("PUT holds/relay", { because: "to look" });
  await operate("POST holds/relay/step");
  await operate("DELETE holds/relay");
  await operate("POST holds/relay/step"); // it is not held
  const { armed: [fault] } = await operate("POST faults", { point: "provider.slow" });
  await operate(`POST faults/${fault.id}/disarm`);
  await operate("PUT faults", { faults: [] });
  await operate("POST scenarios/order-success");
  await operate(`POST outbox/${on.eventId}/republish`);
  await operate("POST outbox/tick");
  const { id } = await operate("POST replays", { type: "order.created" });
  await operate(`POST replays/${id}/start`, {});
  await operate(`POST replays/${id}/cancel`);

  const list = async () => operationsPageSchema.parse(await operate("GET operations")).operations;
  const operations = await list();
  assertEquals(operations.map(({ action }) => action), [
    ...["cancel", "replay", "tick", "republish", "play scenario", "replace faults"],
    ...["disarm fault", "arm fault", "resume", "step", "hold"],
  ]);
  const { source, reason, subject } = operations.at(-1) ?? {};
  const held = { part: "relay", forSeconds: 600 };
  assertEquals([source, reason, subject], ["127.0.0.1 a test", "to look", held]);
  const started = operations.find(({ action }) => action === "replay")?.subject;
  assertEquals(started, { setId: id, filter: { type: "order.created" }, total: 1, ratePerSecond: 200 });
  const before = new Date(Date.now() + 60_000);
  await prune(on.db.as("orderflow_retention"), { before, bindings: [], limit: 100 });
  assertEquals(await list(), []);
});

Deno.test("what cannot be written down is not done", async () => {
  await using on = await stage();
  await on.db.sql`drop table operations`;
  const cases: [line: string, body?: object][] = [
    ["PUT holds/relay", {}],
    ["POST faults", { point: "provider.slow" }],
    ["PUT faults", { faults: [{ point: "provider.slow" }] }],
    [`POST outbox/${on.eventId}/republish`],
  ];
  for (const [line, body] of cases) assertEquals((await on.operate(line, body)).status, 503, line);
  for (const table of ["holds", "faults", "replays"]) {
    assertEquals((await on.db.sql`select from ${on.db.sql(table)}`).count, 0, table);
  }
});
