import { assertEquals } from "@std/assert";
import type { z } from "zod/mini";
import { operationsPageSchema } from "../../shared/ops/answers.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { appendEvents, orderCreated } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { prune } from "../../workers/relay/retention.ts";

shareTestSchema();

Deno.test("what an operator does is one row each: when, what, on what, from where, and why; refusals are none", async () => {
  await using db = await testSchema();
  const { app } = testApp(db, { faults: topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined)) });
  const cause = orderCreated();
  await appendEvents(db.sql, [cause]);
  await db.sql`update outbox_events set published_at = now()`;
  const ask = async (method: string, path: string, body?: object) => {
    const headers = { "content-type": "application/json", "user-agent": "a test" };
    const json = body && JSON.stringify(body);
    const response = await app.request(`/ops/${path}`, { method, headers, ...json ? { body: json } : {} });
    return await response.json();
  };
  await ask("PUT", "holds/relay", { because: "to look" });
  await ask("POST", "holds/relay/step");
  await ask("DELETE", "holds/relay");
  await ask("POST", "holds/relay/step"); // it is not held
  const { armed: [fault] } = await ask("POST", "faults", { point: "provider.slow" });
  await ask("POST", `faults/${fault.id}/disarm`);
  await ask("PUT", "faults", { faults: [] });
  await ask("POST", "scenarios/order-success");
  await ask("POST", `outbox/${cause.event.eventId}/republish`);
  await ask("POST", "outbox/tick");
  const { id } = await ask("POST", "replays", { type: "order.created" });
  await ask("POST", `replays/${id}/start`, {});
  await ask("POST", `replays/${id}/cancel`);

  const list = async (query = ""): Promise<z.infer<typeof operationsPageSchema>> =>
    operationsPageSchema.parse(await ask("GET", `operations?${query}`));
  const { operations } = await list();
  assertEquals(operations.map(({ action }) => action), [
    ...[
      "cancel",
      "replay",
      "tick",
      "republish",
      "play scenario",
      "replace faults",
      "disarm fault",
      "arm fault",
    ],
    ...["resume", "step", "hold"],
  ]);
  const { source, reason, subject } = operations.at(-1) ?? {};
  assertEquals([source, reason, subject], ["127.0.0.1 a test", "to look", {
    part: "relay",
    forSeconds: 600,
  }]);
  const started = operations.find(({ action }) => action === "replay")?.subject;
  assertEquals(started, { setId: id, filter: { type: "order.created" }, total: 1, ratePerSecond: 200 });
  const first = await list("limit=6");
  const rest = await list(`limit=6&cursor=${first.nextCursor}`);
  assertEquals([...first.operations, ...rest.operations], operations);

  await prune(db.as("orderflow_retention"), {
    before: new Date(Date.now() + 60_000),
    bindings: [],
    limit: 100,
  });
  assertEquals((await list()).operations, []);
});

Deno.test("what cannot be written down is not done", async () => {
  await using db = await testSchema();
  const { app } = testApp(db, { faults: topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined)) });
  const cause = orderCreated();
  await appendEvents(db.sql, [cause]);
  await db.sql`update outbox_events set published_at = now()`;
  await db.sql`drop table operations`;
  const cases: [method: string, path: string, body: object][] = [
    ["PUT", "holds/relay", {}],
    ["POST", "faults", { point: "provider.slow" }],
    ["PUT", "faults", { faults: [{ point: "provider.slow" }] }],
    ["POST", `outbox/${cause.event.eventId}/republish`, {}],
  ];
  for (const [method, path, body] of cases) {
    const headers = { "content-type": "application/json" };
    const response = await app.request(`/ops/${path}`, { method, headers, body: JSON.stringify(body) });
    await response.body?.cancel();
    assertEquals(response.status, 503, path);
  }
  for (const table of ["holds", "faults", "replays"]) {
    assertEquals((await db.sql`select from ${db.sql(table)}`).count, 0, table);
  }
});
