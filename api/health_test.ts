import { assertEquals, assertStringIncludes } from "@std/assert";
import { eventually } from "../specs/support/eventually.ts";
import { type TestApp, testApp } from "../specs/support/test_app.ts";
import { newLetter, newRetry, ORDER } from "../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../specs/support/test_schema.ts";
import { insertDeadLetters, insertRetries, markRetriesSent } from "../shared/sql/set_aside.ts";
import { readReadiness } from "./health.ts";

shareTestSchema();

function appOn(db: TestSchema, more: Parameters<typeof testApp>[1] = {}) {
  const readQueues = () => Promise.resolve([{ queue: "payments", messages: 7, consumers: 1 }]);
  return testApp(db, { isBrokerUp: () => true, readQueues, ...more });
}

Deno.test("a database that takes no writes is down, on connections from before too, and up again with the writes", async () => {
  await using db = await testSchema();
  const ordersSql = db.as("orderflow_orders");
  const read = () => readReadiness({ ordersSql, isSchemaReady: () => true, isBrokerUp: () => false });
  const name = db.sql(new URL(db.url).pathname.slice(1));
  assertEquals(await read(), { database: "up", broker: "down" });
  await db.sql`alter database ${name} set default_transaction_read_only = on`;
  await db.sql`
    select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()`;
  await eventually("the database to be down", async () => (await read()).database === "down");
  await db.sql`alter database ${name} reset default_transaction_read_only`;
  await eventually("the database to be up", async () => (await read()).database === "up", 2000);
  await ordersSql`set transaction_read_only = on`; // nothing: it is for one transaction, and reported to nobody
  assertEquals((await read()).database, "up");
});

Deno.test("GET /readyz says what cannot be reached", async () => {
  await using db = await testSchema();
  const cases: [TestApp, number, object][] = [
    [appOn(db), 200, { status: "ready", database: "up", broker: "up" }],
    [appOn(db, { isBrokerUp: () => false }), 503, { status: "not ready", database: "up", broker: "down" }],
    [appOn(db, { isSchemaReady: () => false }), 503, { status: "not ready", database: "down", broker: "up" }],
  ];
  for (const [{ ask }, status, told] of cases) {
    const ready = await ask("GET /readyz");
    assertEquals([ready.status, ready.body], [status, told]);
  }
});

Deno.test("GET /metrics has the requests by route, the outbox, and the queues while the broker is up", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  await api.call("POST /orders", ORDER);
  const lines = [
    `GET /orders/${crypto.randomUUID()}`,
    "GET /healthz",
    "MADE-UP /nowhere",
    "ALSO-MADE-UP /nowhere",
  ];
  for (const line of lines) await api.ask(line);
  const retry = newRetry("payments");
  await insertRetries(db.sql, [retry, newRetry("payments")]);
  await markRetriesSent(db.sql, [retry]);
  await insertDeadLetters(db.sql, [newLetter("payments"), newLetter("payments")]);
  await db.sql`
    update dead_letters set state = 'REDRIVEN', resolution = 'redriven', resolved_at = now()
    where id = (select max(id::text)::uuid from dead_letters)`;
  const up = await api.call("GET /metrics");
  const shown = [
    'duration_seconds_count{method="POST",route="/orders",status="201"} 1',
    'duration_seconds_count{method="GET",route="/orders/:id",status="404"} 1',
    'duration_seconds_count{method="GET",route="/healthz",status="200"} 1',
    'duration_seconds_count{method="other",route="/*",status="404"} 2',
    "orderflow_outbox_unpublished_events 1",
    'orderflow_queue_messages{queue="payments"} 7',
    "orderflow_broker_up 1",
    'orderflow_orders_recent{status="PENDING"} 1',
    'orderflow_orders_recent{status="PAID"} 0',
    'orderflow_delayed_retries_waiting{consumer="payments"} 1', // the other one has been sent
    'orderflow_dead_letters_open{consumer="payments"} 1',
  ];
  for (const line of shown) assertStringIncludes(up, line);
  const down = await appOn(db, { readQueues: () => Promise.resolve(null) }).call("GET /metrics");
  assertStringIncludes(down, "orderflow_broker_up 0");
  assertEquals(down.includes("queue_messages{"), false);
  assertEquals(
    (await appOn(db, { access: { token: undefined, remoteAddress: () => "192.168.1.5" } }).ask(
      "GET /metrics",
    )).status,
    403,
  );
});

Deno.test("GET /metrics answers while the database is away, without the figures that are read from it", async () => {
  const db = await testSchema();
  const { call } = appOn(db);
  assertStringIncludes(await call("GET /metrics"), "\norderflow_outbox_unpublished_events 0\n");
  const early = await appOn(db, { isSchemaReady: () => false }).call("GET /metrics");
  await db[Symbol.asyncDispose]();
  for (const text of [await call("GET /metrics"), early]) {
    assertStringIncludes(text, "\norderflow_database_up 0\n");
    assertStringIncludes(text, "\norderflow_broker_up 1\n");
    assertEquals(/^orderflow_(outbox|orders_recent|dead_letters|delayed)/m.test(text), false);
  }
});
