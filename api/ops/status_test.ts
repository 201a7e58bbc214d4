import { assertEquals } from "@std/assert";
import { eventually } from "../../specs/support/eventually.ts";
import { insertHistory, newHeartbeat } from "../../specs/support/test_events.ts";
import { type TestApp, testApp } from "../../specs/support/test_app.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import { connect, transaction } from "../../shared/sql/connect.ts";
import { armFaults } from "../../shared/ops/faults.ts";
import { beat } from "../../shared/process/heartbeat.ts";
import { type SystemStatus, systemStatusSchema } from "../../shared/ops/live.ts";
import { VERSION } from "../../shared/process/metrics.ts";
import { createLiveFeed } from "./live.ts";

shareTestSchema();

async function statusOf({ call }: TestApp): Promise<SystemStatus> {
  return systemStatusSchema.parse(await call("GET /ops/status"));
}

Deno.test("/ops/status tells of orders, processes, replays under way and faults, and of nothing that has ended", async () => {
  await using db = await testSchema();
  const subject = testApp(db, { faults: usualTopology(), isBrokerUp: () => true });
  await insertHistory(db.sql, "COMPLETED");
  await insertHistory(db.sql, "REFUNDED");
  await beat(db.sql, newHeartbeat({ counts: { published: 3 } }));
  await db.sql`update outbox_events set published_at = now(), occurred_at = now()`;
  for (let i = 0; i < 3; i++) await subject.call("POST /ops/replays", { type: "order.created" });
  const [running, cancelled] = await db.sql<{ id: string }[]>`select id from replays order by id`;
  await subject.call(`POST /ops/replays/${running?.id}/start`);
  await subject.call(`POST /ops/replays/${cancelled?.id}/cancel`);
  const fault = { consumer: null, correlationId: null, delayMs: null };
  await armFaults(db.sql, [{ point: "provider.failing", times: 2, ...fault }], new Date());

  const { version, database, broker, figures } = await statusOf(subject);
  assertEquals([version, database, broker], [VERSION, "up", "up"]);
  assertEquals(figures?.orders, { COMPLETED: 1, REFUNDED: 1 });
  assertEquals(figures?.replays.map(({ id, total, sent }) => [id, total, sent]), [[running?.id, 2, 0]]);
  assertEquals(figures?.faults, [{ point: "provider.failing", consumer: null, times: 2 }]);
  assertEquals(figures?.processes.map(({ name, version, counts }) => [name, version, counts]), [
    ["outbox-relay", "1.2.3", { published: 3 }],
  ]);
  const without = await statusOf(testApp(db));
  assertEquals([without.broker, without.figures?.faults], ["down", null]);
});

Deno.test("/ops/status answers while the database is away, without figures", async () => {
  await using db = await testSchema();
  const away = connect("postgres://127.0.0.1:1/none", { name: "test", role: null, max: 1 });
  const live = createLiveFeed({ sql: away, readQueues: () => Promise.resolve(null), log: testLog });
  const never = await statusOf(testApp(db, { ordersSql: away, opsSql: away, isSchemaReady: () => false }));
  assertEquals([never.database, never.figures], ["down", null]);
  const since = await statusOf(testApp(db, { ordersSql: away, opsSql: away, live }));
  assertEquals([since.database, since.figures], ["down", null]);
  const between = await statusOf(testApp(db, { live })); // it answered the first question only
  assertEquals([between.database, between.figures], ["up", null]);
  await live.close();
  await away.end({ timeout: 1 });
});

Deno.test("what keeps the ops routes waiting leaves the API ready, and /ops/status answers without figures", async () => {
  await using db = await testSchema();
  const opsSql = connect(db.url, { name: "test", role: null, max: 1 });
  const [begun, hold] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const held = transaction(opsSql, async () => {
    begun.resolve();
    await hold.promise;
  });
  await begun.promise;
  const subject = testApp(db, { opsSql, isBrokerUp: () => true });
  assertEquals((await subject.call("GET /readyz")).database, "up");
  const { database, figures } = await statusOf(subject);
  assertEquals([database, figures], ["up", null]);
  hold.resolve();
  await held;
  await eventually("figures", async () => (await statusOf(subject)).figures !== null);
  await opsSql.end({ timeout: 1 });
});
