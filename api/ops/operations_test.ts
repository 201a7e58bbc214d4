import { assertEquals } from "@std/assert";
import type { z } from "zod/mini";
import { operationsPageSchema } from "../../shared/ops/answers.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import { appendEvents, orderCreated } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { prune } from "../../workers/relay/retention.ts";

shareTestSchema();

Deno.test("what an operator does is one row each: when, what, on what, from where, and why; refusals are none", async () => {
  await using db = await testSchema();
  const { ask } = testApp(db, { faults: usualTopology() });
  const cause = orderCreated();
  await appendEvents(db.sql, [cause]);
  await db.sql`update outbox_events set published_at = now()`;
  const operate = async (line: string, body?: object) =>
    (await ask(line.replace(" ", " /ops/"), body, { "user-agent": "a test" })).body;
  await operate("PUT holds/relay", { because: "to look" });
  await operate("POST holds/relay/step");
  await operate("DELETE holds/relay");
  await operate("POST holds/relay/step"); // it is not held
  const { armed: [fault] } = await operate("POST faults", { point: "provider.slow" });
  await operate(`POST faults/${fault.id}/disarm`);
  await operate("PUT faults", { faults: [] });
  await operate("POST scenarios/order-success");
  await operate(`POST outbox/${cause.event.eventId}/republish`);
  await operate("POST outbox/tick");
  const { id } = await operate("POST replays", { type: "order.created" });
  await operate(`POST replays/${id}/start`, {});
  await operate(`POST replays/${id}/cancel`);

  const list = async (): Promise<z.infer<typeof operationsPageSchema>> =>
    operationsPageSchema.parse(await operate("GET operations"));
  const { operations } = await list();
  assertEquals(operations.map(({ action }) => action), [
    ...["cancel", "replay", "tick", "republish", "play scenario", "replace faults"],
    ...["disarm fault", "arm fault", "resume", "step", "hold"],
  ]);
  const { source, reason, subject } = operations.at(-1) ?? {};
  assertEquals([source, reason, subject], ["127.0.0.1 a test", "to look", {
    part: "relay",
    forSeconds: 600,
  }]);
  const started = operations.find(({ action }) => action === "replay")?.subject;
  assertEquals(started, { setId: id, filter: { type: "order.created" }, total: 1, ratePerSecond: 200 });
  await prune(db.as("orderflow_retention"), {
    before: new Date(Date.now() + 60_000),
    bindings: [],
    limit: 100,
  });
  assertEquals((await list()).operations, []);
});

Deno.test("what cannot be written down is not done", async () => {
  await using db = await testSchema();
  const { ask } = testApp(db, { faults: usualTopology() });
  const cause = orderCreated();
  await appendEvents(db.sql, [cause]);
  await db.sql`update outbox_events set published_at = now()`;
  await db.sql`drop table operations`;
  const cases: Record<string, object> = {
    "PUT /ops/holds/relay": {},
    "POST /ops/faults": { point: "provider.slow" },
    "PUT /ops/faults": { faults: [{ point: "provider.slow" }] },
    [`POST /ops/outbox/${cause.event.eventId}/republish`]: {},
  };
  for (const [route, body] of Object.entries(cases)) {
    assertEquals((await ask(route, body)).status, 503, route);
  }
  for (const table of ["holds", "faults", "replays"]) {
    assertEquals((await db.sql`select from ${db.sql(table)}`).count, 0, table);
  }
});
