import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { auditSchema, outboxPageSchema, problemSchema } from "../shared/ops/answers.ts";
import { eventually } from "../specs/support/eventually.ts";
import { serve, type TestApp, testApp } from "../specs/support/test_app.ts";
import { countEvents, ORDER } from "../specs/support/test_events.ts";
import { testLog } from "../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../specs/support/test_schema.ts";
import { createWakeUps, listenForWakeUps } from "../shared/sql/outbox.ts";
import { createOrderPlacer } from "./place_orders.ts";

shareTestSchema();

interface Options {
  readonly address?: string;
  readonly brokerUp?: boolean;
  readonly schemaReady?: boolean;
}

function appOn(db: TestSchema, { address = "127.0.0.1", brokerUp = true, schemaReady = true }: Options = {}) {
  return testApp(db, {
    isSchemaReady: () => schemaReady,
    isBrokerUp: () => brokerUp,
    readQueues: () => Promise.resolve(brokerUp ? [{ queue: "payments", messages: 7, consumers: 1 }] : null),
    access: { token: undefined, remoteAddress: () => address },
  });
}

const cause = { correlationId: "c", traceparent: null };

const orderSchema = z.strictObject({
  id: z.uuidv7(),
  userId: z.string(),
  courseId: z.string(),
  amount: z.string(),
  status: z.string(),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
});

/** Places an order by the route. */
const placed = async ({ call }: TestApp, more: Partial<Record<keyof typeof ORDER, string>> = {}) =>
  orderSchema.parse(await call("POST /orders", { ...ORDER, ...more }));

Deno.test("POST /orders creates a pending order and its event, and says where it is", async () => {
  await using db = await testSchema();
  const { ask, call } = appOn(db);
  const userId = "ABCDEF00-0000-0000-0000-00000000000F"; // any 8-4-4-4-12 hex id, in lower case from then on
  const { status, headers, body } = await ask("POST /orders", { ...ORDER, userId, amount: "49.9" });
  const { id, createdAt, updatedAt, ...rest } = orderSchema.parse(body);
  assertEquals(rest, { ...ORDER, userId: userId.toLowerCase(), status: "PENDING" });
  assertEquals([status, headers.get("location"), createdAt], [201, `/orders/${id}`, updatedAt]);
  assertEquals(await call(`GET /orders/${id}`), body);
  assertEquals(await countEvents(db.sql), { "order.created": 1 });
});

Deno.test("a request that cannot be served is refused with what is wrong with it, each field at fault by name", async () => {
  await using db = await testSchema();
  const { app, ask } = appOn(db);
  const form = { "content-type": "application/x-www-form-urlencoded" };
  const wrong = "The body of the request is not valid";
  const large = { ...ORDER, more: "x".repeat(20_000) };
  const fields = ["#/userId", "#/courseId", "#/amount"];
  const cases: [
    line: string,
    Parameters<typeof ask>[1],
    status: number,
    says: string,
    fields?: string[] | undefined,
    headers?: Record<string, string>,
  ][] = [
    ["POST /orders", { userId: "x", amount: 49.9 }, 400, wrong, fields],
    ["POST /orders", "null", 400, wrong, ["#"]],
    ["POST /orders", "[]", 400, wrong, ["#"]],
    ["POST /orders", '"x"', 400, wrong, ["#"]],
    ["POST /orders", "{", 400, "not JSON"],
    ["POST /orders", "", 400, "not JSON"],
    ["POST /orders", "userId=1", 415, "application/json", undefined, form],
    ["POST /orders", ORDER, 415, "without the content-encoding gzip", undefined, {
      "content-encoding": "gzip",
    }],
    ["POST /orders", large, 413, "16384 bytes"],
    ["POST /orders", ORDER, 400, "x-correlation-id", undefined, { "x-correlation-id": "a b" }],
    ["DELETE /orders", undefined, 405, "takes GET, POST, not DELETE"],
    ["GET /orders?limit=0", undefined, 400, "query", ["limit"]],
    ["GET /orders/nope", undefined, 400, "path", ["id"]],
    [`GET /orders/${crypto.randomUUID()}`, undefined, 404, "There is no order"],
    ["GET /nope", undefined, 404, "There is nothing at /nope"],
  ];
  for (const [line, body, status, says, fields, headers] of cases) {
    const answer = await ask(line, body, headers);
    const problem = problemSchema.parse(answer.body);
    assertEquals([answer.status, problem.status], [status, status], line);
    assertEquals(answer.headers.get("content-type"), "application/problem+json");
    assertStringIncludes(problem.detail, says);
    assertEquals(problem.errors?.map(({ field, pointer }) => pointer ?? field), fields);
  }
  const json = { "content-type": "application/json" };
  const notUtf8 = { method: "POST", headers: json, body: new Uint8Array([0x22, 0xff, 0x22]) };
  assertStringIncludes(await (await app.request("/orders", notUtf8)).text(), "not UTF-8");
  assertEquals((await db.sql`select from orders`).count, 0);
  assertEquals((await ask("DELETE /orders")).headers.get("allow"), "GET, POST");
});

Deno.test("concurrent POST /orders share transactions, and each gets its own order", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  const amounts = Array.from({ length: 60 }, (_, i) => `${i + 1}.00`);
  const created = await Promise.all(amounts.map((amount) => placed(api, { amount })));
  assertEquals(created.map(({ amount }) => amount), amounts);
  assertEquals(new Set(created.map(({ id }) => id)).size, 60);
  const transactions = await db.sql`select distinct xmin::text from orders`;
  assert(transactions.count < 10, `60 orders took ${transactions.count} transactions`);
});

Deno.test("createOrderPlacer() lets one bad row in a group fail alone", async () => {
  await using db = await testSchema();
  const place = createOrderPlacer(db.as("orderflow_orders"), createWakeUps(), testLog);
  const amounts = Array.from({ length: 20 }, (_, i) => i === 7 ? "0.00" : "1.00");
  const results = await Promise.allSettled(amounts.map((amount) => place({ ...ORDER, amount }, cause)));
  const rejected = results.flatMap(({ status }, i) => status === "rejected" ? [i] : []);
  assertEquals(rejected, [7]);
  assertEquals((await db.sql`select from orders`).count, 19);
  assertEquals(await countEvents(db.sql), { "order.created": 19 });
});

Deno.test("createOrderPlacer() answers for the orders that are stored when the rest of their group meets an outage", async () => {
  await using db = await testSchema();
  // The group fails for one bad row, its left half is stored, and its right half finds the disk full.
  await db.sql`create sequence inserts`;
  await db.sql`
    create function fail_insert() returns trigger language plpgsql security definer as $$
    declare n bigint := nextval('inserts');
    begin
      if n = 1 then raise exception 'a bad row' using errcode = '22000'; end if;
      if n = 3 then raise exception 'no space left on device' using errcode = '53100'; end if;
      return null;
    end $$`;
  await db.sql`
    create trigger fail_insert before insert on orders for each statement execute function fail_insert()`;
  try {
    let wakeUps = 0;
    const stopListening = await listenForWakeUps(db.sql, (kind) => void (kind === "events" && wakeUps++));
    wakeUps = 0; // the first one only says that it listens
    const counted: number[] = [];
    const place = createOrderPlacer(
      db.as("orderflow_orders"),
      createWakeUps(() => 0), // for this clock only the first statement is due
      testLog,
      (orders) => counted.push(orders),
    );
    const answers = await Promise.allSettled([place(ORDER, cause), place(ORDER, cause)]);
    assertEquals(answers.map(({ status }) => status), ["fulfilled", "rejected"]);
    assertEquals((await db.sql`select from orders`).count, 1);
    await eventually("the wake-up, although the group's own was rolled back", () => wakeUps === 1);
    await eventually("the count", () => counted.length > 0);
    assertEquals(counted, [1]);
    await stopListening();
  } finally {
    await db.sql`drop trigger fail_insert on orders`;
    await db.sql`drop function fail_insert`;
    await db.sql`drop sequence inserts`;
  }
});

Deno.test("the answer to POST /orders has left before the log hears of the order", async () => {
  await using db = await testSchema();
  const received = new Int32Array(new SharedArrayBuffer(4));
  const answered = Promise.withResolvers<string>();
  // Nothing else runs in this process while the log waits, so the answer is on its way by then, or never in this time.
  const info = () => answered.resolve(Atomics.wait(received, 0, 0, 5000));
  const log = new Proxy(testLog, {
    get: (target, name) => name === "info" ? info : Reflect.get(target, name),
  });
  const placeOrder = createOrderPlacer(db.as("orderflow_orders"), createWakeUps(), log);
  await using served = serve(testApp(db, { placeOrder }));
  const client = new Worker(
    `data:application/javascript,${encodeURIComponent(`(${sendOrder})()`)}`,
    { type: "module" },
  );
  client.postMessage({ received, url: `${served.url}/orders`, body: JSON.stringify(ORDER) });
  assert(await answered.promise !== "timed-out");
  client.terminate();
});

/** The client, in a thread of its own: sends an order, and tells that the answer has come. */
function sendOrder(): void {
  onmessage = async ({ data: { received, url, body } }) => {
    await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
    Atomics.store(received, 0, 1);
    Atomics.notify(received, 0);
  };
}

Deno.test("what the database refuses to everybody is a 503, not the order's fault", async () => {
  await using db = await testSchema();
  const { ask } = appOn(db);
  await db.sql`revoke insert on orders from orderflow_orders`;
  try {
    const { status, headers, body } = await ask("POST /orders", ORDER);
    assertEquals([status, headers.get("retry-after"), body.status], [503, "1", 503]);
  } finally {
    await db.sql`grant insert on orders to orderflow_orders`;
  }
  assertEquals((await ask("POST /orders", ORDER)).status, 201);
});

Deno.test("every answer has the correlation id, and every event that and the trace context: the caller's, or new ones", async () => {
  await using db = await testSchema();
  const { ask } = appOn(db);
  const given = await ask("POST /orders", ORDER, { "x-correlation-id": "mine-1" });
  assertEquals(given.headers.get("x-correlation-id"), "mine-1");
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  await ask("POST /orders", ORDER, { traceparent });
  const [event, traced] = await db.sql`select correlation_id, traceparent from outbox_events order by id`;
  assertEquals([event?.correlation_id, traced?.traceparent], ["mine-1", traceparent]);
  assertMatch(event?.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  assertMatch((await ask("GET /nope")).headers.get("x-correlation-id") ?? "", /^[0-9a-f-]{36}$/);
});

Deno.test("GET /readyz says what cannot be reached; until the database has been, all that needs it says 503", async () => {
  await using db = await testSchema();
  const unready = appOn(db, { schemaReady: false });
  const cases: [TestApp, number, object][] = [
    [appOn(db), 200, { status: "ready", database: "up", broker: "up" }],
    [appOn(db, { brokerUp: false }), 503, { status: "not ready", database: "up", broker: "down" }],
    [unready, 503, { status: "not ready", database: "down", broker: "up" }],
  ];
  for (const [{ ask }, status, told] of cases) {
    const ready = await ask("GET /readyz");
    assertEquals([ready.status, ready.body], [status, told]);
  }
  assertEquals((await unready.ask("GET /healthz")).status, 200);
  for (const path of ["/orders", "/ops/outbox"]) {
    const { status, headers } = await unready.ask(`GET ${path}`);
    assertEquals([status, headers.get("retry-after")], [503, "1"], path);
  }
});

Deno.test("GET /ops/outbox filters; one event can be seen and published again", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  const { ask, call } = api;
  await placed(api);
  const list = async (query: string) => outboxPageSchema.parse(await call(`GET /ops/outbox?${query}`)).events;
  const [event] = await list("type=order.created&published=false");
  assertEquals(await list("published=true"), []);
  await db.sql`update outbox_events set published_at = now()`;
  assertEquals((await list("published=true")).length, 1);
  const again = await ask(`POST /ops/outbox/${event?.id}/republish`);
  assertEquals([again.status, again.body.alreadyProcessedBy], [202, []]);
  assertEquals(await list("published=false"), [], "its first publication stays known");
  const [set] = await db.sql`select action, state, total from replays`;
  assertEquals(set, { action: "REPUBLISH", state: "RUNNING", total: 1 });
  assertEquals((await call(`GET /ops/outbox/${event?.id}`)).id, event?.id);
  assertEquals((await ask(`GET /ops/outbox/${crypto.randomUUID()}`)).status, 404);
});

Deno.test("GET /ops/debug and the timelines show what happened", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  const { call } = api;
  const { id } = await placed(api);
  await db.sql`
    insert into processed_events select id, 'payments.order-created.v1', now() from outbox_events`;
  const { orders, outbox, processedEvents, deadLetters } = await call("GET /ops/debug");
  assertEquals([orders.length, outbox.unpublished, deadLetters], [1, 1, []]);
  assertEquals(processedEvents[0].consumer, "payments.order-created.v1");
  for (const path of [`/orders/${id}/timeline`, `/ops/orders/${id}/timeline`]) {
    const { order, timeline } = await call(`GET ${path}`);
    assertEquals([order.id, "correlationId" in order], [id, path.startsWith("/ops")]);
    assertEquals(timeline.map(({ kind }: { kind: string }) => kind), ["status", "emitted", "processed"]);
  }
});

Deno.test("GET /ops/audit says what breaks the promises, once it is older than the grace, and runs one at a time", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  const { ask, call } = api;
  const { id } = await placed(api);
  const early = await call("GET /ops/audit");
  assertEquals([early.ok, early.graceSeconds, early.orders, early.events], [true, 120, 1, 1]);
  const late = auditSchema.parse(await call("GET /ops/audit?graceSeconds=0"));
  const found = late.checks.filter(({ count }) => count > 0);
  assertEquals(found.map(({ check }) => check), ["order stuck", "event not published"]);
  assertEquals([late.ok, found[0]?.violations[0]?.orderId], [false, id]);

  const queries = ["", "", "?graceSeconds=7"];
  const [first, same, other] = await Promise.all(queries.map((query) => ask(`GET /ops/audit${query}`)));
  assertEquals([first?.status, same?.status, other?.status], [200, 200, 503]);
  assertEquals(first?.body.checkedAt, same?.body.checkedAt, "one audit for both");
});

Deno.test("GET /metrics has the requests by route, the outbox, and the queues while the broker is up", async () => {
  await using db = await testSchema();
  const api = appOn(db);
  await placed(api);
  const lines = [
    `GET /orders/${crypto.randomUUID()}`,
    "GET /healthz",
    "MADE-UP /nowhere",
    "ALSO-MADE-UP /nowhere",
  ];
  for (const line of lines) await api.ask(line);
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
  ];
  for (const line of shown) assertStringIncludes(up, line);
  const down = await appOn(db, { brokerUp: false }).call("GET /metrics");
  assertStringIncludes(down, "orderflow_broker_up 0");
  assertEquals(down.includes("queue_messages{"), false);
  assertEquals((await appOn(db, { address: "192.168.1.5" }).ask("GET /metrics")).status, 403);
});

Deno.test("GET /metrics answers while the database is away, without the figures that are read from it", async () => {
  const db = await testSchema();
  const { call } = appOn(db);
  assertStringIncludes(await call("GET /metrics"), "\norderflow_outbox_unpublished_events 0\n");
  const early = await appOn(db, { schemaReady: false }).call("GET /metrics");
  await db[Symbol.asyncDispose]();
  for (const text of [await call("GET /metrics"), early]) {
    assertStringIncludes(text, "\norderflow_database_up 0\n");
    assertStringIncludes(text, "\norderflow_broker_up 1\n");
    assertEquals(/^orderflow_(outbox|orders_recent|dead_letters|delayed)/m.test(text), false);
  }
});

Deno.test("what the page reads is compressed for who takes that, an order's answer is not", async () => {
  await using db = await testSchema();
  const { app } = appOn(db);
  const json = { "content-type": "application/json", "accept-encoding": "gzip" };
  const order = { method: "POST", body: JSON.stringify(ORDER) };
  const cases: [path: string, init: RequestInit, encoding: string | null][] = [
    ["/openapi.json", { headers: json }, "gzip"],
    ["/openapi.json", {}, null],
    ["/ops/orders", { headers: json }, "gzip"],
    ["/orders", { ...order, headers: json }, null],
  ];
  for (const [path, init, encoding] of cases) {
    const response = await app.request(path, init);
    await response.body?.cancel();
    assertEquals(response.headers.get("content-encoding"), encoding, path);
  }
});
