import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import { eventually } from "../specs/support/eventually.ts";
import { serve, testApp } from "../specs/support/test_app.ts";
import { countEvents } from "../specs/support/test_events.ts";
import { testLog } from "../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../specs/support/test_schema.ts";
import type { App } from "./http.ts";
import { createWakeUps, listenForWakeUps } from "../shared/sql/outbox.ts";
import { createOrderPlacer } from "./place_orders.ts";

shareTestSchema();

interface Options {
  readonly address?: string;
  readonly brokerUp?: boolean;
  readonly schemaReady?: boolean;
}

function appOn(
  db: TestSchema,
  { address, brokerUp = true, schemaReady = true }: Options = {},
): App {
  return testApp(db, {
    isSchemaReady: () => schemaReady,
    isBrokerUp: () => brokerUp,
    readQueues: () => Promise.resolve(brokerUp ? [{ queue: "payments", messages: 7, consumers: 1 }] : null),
    access: { token: undefined, remoteAddress: () => address ?? "127.0.0.1" },
  }).app;
}

const order = { userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" };
const json = { "content-type": "application/json" };
const post = (body: unknown, headers: Record<string, string> = json): RequestInit => ({
  method: "POST",
  headers,
  body: typeof body === "string" ? body : JSON.stringify(body),
});

const orderSchema = z.object({
  id: z.uuidv7(),
  userId: z.string(),
  courseId: z.string(),
  amount: z.string(),
  status: z.string(),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
});

const problemSchema = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number(),
  detail: z.string(),
  instance: z.string(),
  errors: z.array(z.object({
    field: z.string(),
    in: z.enum(["body", "query", "path"]),
    pointer: z.string().optional(),
    detail: z.string(),
  })).optional(),
});

async function problemOf(response: Response): Promise<z.infer<typeof problemSchema>> {
  assertEquals(response.headers.get("content-type"), "application/problem+json");
  const problem = problemSchema.parse(await response.json());
  assertEquals(problem.status, response.status);
  return problem;
}

Deno.test("POST /orders creates a pending order and its event, and says where it is", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const response = await app.request("/orders", post({ ...order, amount: "49.9" }));
  assertEquals(response.status, 201);
  const created = orderSchema.strict().parse(await response.json());
  assertEquals({ ...created, id: "", createdAt: "", updatedAt: "" }, {
    ...order,
    id: "",
    status: "PENDING",
    createdAt: "",
    updatedAt: "",
  });
  assertEquals(response.headers.get("location"), `/orders/${created.id}`);
  const found = await app.request(`/orders/${created.id}`);
  assertEquals(await found.json(), created);
  assertEquals(await countEvents(db.sql), { "order.created": 1 });
});

Deno.test("POST /orders names every field at fault", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const problem = await problemOf(await app.request("/orders", post({ userId: "x", amount: 49.9 })));
  assertEquals(problem.status, 400);
  assertEquals(problem.errors?.map(({ field, in: part, pointer }) => [field, part, pointer]), [
    ["userId", "body", "#/userId"],
    ["courseId", "body", "#/courseId"],
    ["amount", "body", "#/amount"],
  ]);
  for (const body of ["null", "[]", '"x"', "1"]) {
    assertEquals((await problemOf(await app.request("/orders", post(body)))).status, 400, body);
  }
});

Deno.test("POST /orders refuses bodies that are malformed, of another type, or too large", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const cases: [RequestInit, number, string][] = [
    [post("{"), 400, "not JSON"],
    [post(""), 400, "not JSON"],
    [{ method: "POST", headers: json, body: new Uint8Array([0x22, 0xff, 0x22]) }, 400, "not UTF-8"],
    [post("userId=1", { "content-type": "application/x-www-form-urlencoded" }), 415, "application/json"],
    [post({ ...order, more: "x".repeat(20_000) }), 413, "16384 bytes"],
    [post(order, { ...json, "content-encoding": "gzip" }), 415, "without the content-encoding gzip"],
  ];
  for (const [request, status, detail] of cases) {
    const problem = await problemOf(await app.request("/orders", request));
    assertEquals(problem.status, status);
    assertStringIncludes(problem.detail, detail);
  }
  assertEquals((await db.sql`select from orders`).count, 0);
});

Deno.test("POST /orders takes any 8-4-4-4-12 hex id, in lower case from then on", async () => {
  await using db = await testSchema();
  const response = await appOn(db).request(
    "/orders",
    post({ ...order, userId: "ABCDEF00-0000-0000-0000-00000000000F" }),
  );
  assertEquals(orderSchema.parse(await response.json()).userId, "abcdef00-0000-0000-0000-00000000000f");
});

Deno.test("concurrent POST /orders share transactions, and each gets its own order", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, i) => app.request("/orders", post({ ...order, amount: `${i + 1}.00` }))),
  );
  const created = await Promise.all(answers.map(async (answer) => orderSchema.parse(await answer.json())));
  assertEquals(created.map(({ amount }) => amount), answers.map((_, i) => `${i + 1}.00`));
  assertEquals(new Set(created.map(({ id }) => id)).size, 60);
  const [row] = await db.sql<{ transactions: number }[]>`
    select count(distinct xmin::text)::int as transactions from orders`;
  assert(row && row.transactions < 10, `60 orders took ${row?.transactions} transactions`);
});

Deno.test("createOrderPlacer() lets one bad row in a group fail alone", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_orders");
  const place = createOrderPlacer(sql, createWakeUps(), testLog);
  const cause = { correlationId: "c", traceparent: null };
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, (_, i) => place({ ...order, amount: i === 7 ? "0.00" : "1.00" }, cause)),
  );
  assertEquals(
    results.map(({ status }) => status),
    results.map((_, i) => i === 7 ? "rejected" : "fulfilled"),
  );
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
    const cause = { correlationId: "c", traceparent: null };
    const answers = await Promise.allSettled([place(order, cause), place(order, cause)]);
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
  client.postMessage({ received, url: `${served.url}/orders`, request: post(order) });
  assert(await answered.promise !== "timed-out");
  client.terminate();
});

/** The client, in a thread of its own: sends an order, and tells that the answer has come. */
function sendOrder(): void {
  onmessage = async ({ data: { received, url, request } }) => {
    await fetch(url, request);
    Atomics.store(received, 0, 1);
    Atomics.notify(received, 0);
  };
}

Deno.test("what the database refuses to everybody is a 503, not the order's fault", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await db.sql`revoke insert on orders from orderflow_orders`;
  try {
    const refused = await app.request("/orders", post(order));
    assertEquals([refused.status, refused.headers.get("retry-after")], [503, "1"]);
    await problemOf(refused);
  } finally {
    await db.sql`grant insert on orders to orderflow_orders`;
  }
  assertEquals((await app.request("/orders", post(order))).status, 201);
});

Deno.test("GET /orders pages through the orders, newest first", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const ids: string[] = [];
  for (let i = 0; i < 5; i++) {
    ids.unshift(orderSchema.parse(await (await app.request("/orders", post(order))).json()).id);
  }
  const pageSchema = z.object({ orders: z.array(orderSchema), nextCursor: z.string().nullable() });
  const seen: string[] = [];
  for (let cursor: string | null = "", pages = 0; cursor !== null && pages < 5; pages++) {
    const page = pageSchema.parse(
      await (await app.request(`/orders?limit=2${cursor ? `&cursor=${cursor}` : ""}`)).json(),
    );
    seen.push(...page.orders.map(({ id }) => id));
    cursor = page.nextCursor;
  }
  assertEquals(seen, ids);
  assertEquals((await problemOf(await app.request("/orders?limit=0"))).errors?.[0]?.field, "limit");
  assertEquals((await problemOf(await app.request("/orders?cursor=x"))).errors?.[0]?.field, "cursor");
});

Deno.test("GET /orders/:id tells an unknown order from what is no id", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  assertEquals((await problemOf(await app.request(`/orders/${crypto.randomUUID()}`))).status, 404);
  assertEquals((await problemOf(await app.request("/orders/nope"))).errors?.[0]?.field, "id");
});

Deno.test("every answer has the correlation id, and every event that and the trace context: the caller's, or new ones", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const given = await app.request("/orders", post(order, { ...json, "x-correlation-id": "mine-1" }));
  assertEquals(given.headers.get("x-correlation-id"), "mine-1");
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  await app.request("/orders", post(order, { ...json, traceparent }));
  const [event, traced] = await db.sql`select correlation_id, traceparent from outbox_events order by id`;
  assertEquals([event?.correlation_id, traced?.traceparent], ["mine-1", traceparent]);
  assertMatch(event?.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  assertMatch((await app.request("/nope")).headers.get("x-correlation-id") ?? "", /^[0-9a-f-]{36}$/);
  const bad = await app.request("/orders", post(order, { ...json, "x-correlation-id": "a b" }));
  assertStringIncludes((await problemOf(bad)).detail, "x-correlation-id");
});

Deno.test("unknown routes are 404, unknown methods 405 with what is allowed", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  assertEquals((await problemOf(await app.request("/nope"))).status, 404);
  const response = await app.request("/orders", { method: "DELETE" });
  assertEquals(response.headers.get("allow"), "GET, POST");
  assertEquals((await problemOf(response)).status, 405);
});

Deno.test("GET /readyz says what cannot be reached", async () => {
  await using db = await testSchema();
  const ready = await appOn(db).request("/readyz");
  assertEquals([ready.status, await ready.json()], [200, { status: "ready", database: "up", broker: "up" }]);
  const without = await appOn(db, { brokerUp: false }).request("/readyz");
  const broken = { status: "not ready", database: "up", broker: "down" };
  assertEquals([without.status, await without.json()], [503, broken]);
});

Deno.test("until the database has been reached for the first time, the API is up and says 503", async () => {
  await using db = await testSchema();
  const app = appOn(db, { schemaReady: false });
  assertEquals((await app.request("/healthz")).status, 200);
  assertEquals((await (await app.request("/readyz")).json()).database, "down");
  for (const path of ["/orders", "/ops/outbox"]) {
    const response = await app.request(path);
    assertEquals([response.status, response.headers.get("retry-after")], [503, "1"], path);
    assertEquals(response.headers.get("content-type"), "application/problem+json");
  }
});

Deno.test("GET /ops/outbox filters and pages; one event can be seen and published again", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await app.request("/ops/scenarios/order-success", { method: "POST" });
  await app.request("/ops/scenarios/order-success", { method: "POST" });
  const listSchema = z.object({
    events: z.array(z.object({ id: z.string(), type: z.string(), publishedAt: z.string().nullable() })),
    nextCursor: z.string().nullable(),
  });
  const list = async (query: string) =>
    listSchema.parse(await (await app.request(`/ops/outbox?${query}`)).json());
  const { events, nextCursor } = await list("limit=1&type=order.created&published=false");
  assertEquals(events.length, 1);
  assertEquals((await list(`cursor=${nextCursor}`)).events.length, 1);
  assertEquals((await list("published=true")).events, []);
  const [event] = events;
  assert(event);
  await db.sql`update outbox_events set published_at = now()`;
  assertEquals((await list("published=true")).events.length, 2);
  const again = await app.request(`/ops/outbox/${event.id}/republish`, { method: "POST" });
  assertEquals(again.status, 202);
  assertEquals((await again.json()).alreadyProcessedBy, []);
  assertEquals((await list("published=false")).events.map(({ id }) => id), [event.id]);
  assertEquals((await app.request(`/ops/outbox/${event.id}`)).status, 200);
  assertEquals((await problemOf(await app.request(`/ops/outbox/${crypto.randomUUID()}`))).status, 404);
  assertEquals((await problemOf(await app.request("/ops/outbox?type=x"))).errors?.[0]?.field, "type");
});

Deno.test("GET /ops/debug, /ops/processed-events and the timelines show what happened", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const created = orderSchema.parse(
    await (await app.request("/ops/scenarios/order-success", { method: "POST" })).json(),
  );
  await db.sql`
    insert into processed_events select id, 'payments.order-created.v1', now() from outbox_events`;
  const debug = await (await app.request("/ops/debug")).json();
  assertEquals([
    debug.orders.length,
    debug.outbox.unpublished,
    debug.processedEvents.length,
    debug.deadLetters,
  ], [
    1,
    1,
    1,
    [],
  ]);
  for (const path of [`/orders/${created.id}/timeline`, `/ops/orders/${created.id}/timeline`]) {
    const { order, timeline } = await (await app.request(path)).json();
    assertEquals([order.id, "correlationId" in order], [created.id, path.startsWith("/ops")]);
    assertEquals(timeline.map(({ kind }: { kind: string }) => kind), ["status", "emitted", "processed"]);
  }
  const processed = await (await app.request("/ops/processed-events?limit=1")).json();
  assertEquals(processed.processedEvents[0].consumer, "payments.order-created.v1");
  const next = await app.request(`/ops/processed-events?cursor=${processed.nextCursor}`);
  assertEquals((await next.json()).processedEvents, []);
  for (const query of [`cursor=${"-".repeat(36)}~x`, "cursor=x", "consumer=%00", "eventId=1"]) {
    assertEquals((await app.request(`/ops/processed-events?${query}`)).status, 400, query);
  }
});

Deno.test("GET /ops/audit says what breaks the promises, once it is older than the grace", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const created = await app.request("/orders", post(order));
  const { id } = orderSchema.parse(await created.json());
  const audit = async (query = "") => await (await app.request(`/ops/audit${query}`)).json();
  const early = await audit();
  assertEquals([early.ok, early.graceSeconds, early.orders, early.events], [true, 120, 1, 1]);
  const late = await audit("?graceSeconds=0");
  const found = late.checks.filter(({ count }: { count: number }) => count > 0);
  assertEquals(found.map(({ check }: { check: string }) => check), ["order stuck", "event not published"]);
  assertEquals(found[0].violations[0].orderId, id);
  assertEquals(late.ok, false);
  for (const query of ["graceSeconds=-1", "graceSeconds=x", "graceSeconds=1.5"]) {
    assertEquals((await app.request(`/ops/audit?${query}`)).status, 400, query);
  }
});

Deno.test("GET /ops/audit runs one audit at a time", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const paths = ["/ops/audit", "/ops/audit", "/ops/audit?graceSeconds=7"];
  const answers = await Promise.all(paths.map((path) => app.request(path)));
  assertEquals(answers.map(({ status }) => status), [200, 200, 503]);
  const [first, same] = await Promise.all(answers.slice(0, 2).map((answer) => answer.json()));
  assertEquals(first.checkedAt, same.checkedAt, "one audit for both");
  assertEquals((await app.request("/ops/audit")).status, 200);
});

Deno.test("GET /metrics has the requests by route, the outbox, and the queues while the broker is up", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await app.request("/orders", post(order));
  await app.request(`/orders/${crypto.randomUUID()}`);
  await app.request("/healthz");
  for (const method of ["MADE-UP", "ALSO-MADE-UP"]) await app.request("/nowhere", { method });
  const up = await (await app.request("/metrics")).text();
  assertStringIncludes(up, 'duration_seconds_count{method="POST",route="/orders",status="201"} 1');
  assertStringIncludes(up, 'duration_seconds_count{method="GET",route="/orders/:id",status="404"} 1');
  assertStringIncludes(up, 'duration_seconds_count{method="GET",route="/healthz",status="200"} 1');
  assertStringIncludes(up, 'duration_seconds_count{method="other",route="/*",status="404"} 2');
  assertStringIncludes(up, "orderflow_outbox_unpublished_events 1");
  assertStringIncludes(up, 'orderflow_queue_messages{queue="payments"} 7');
  assertStringIncludes(up, "orderflow_broker_up 1");
  assertStringIncludes(up, 'orderflow_orders_recent{status="PENDING"} 1');
  assertStringIncludes(up, 'orderflow_orders_recent{status="PAID"} 0');
  const down = await (await appOn(db, { brokerUp: false }).request("/metrics")).text();
  assertStringIncludes(down, "orderflow_broker_up 0");
  assertEquals(down.includes("queue_messages{"), false);
  assertEquals((await appOn(db, { address: "192.168.1.5" }).request("/metrics")).status, 403);
});

Deno.test("GET /metrics answers while the database is away, without the figures that are read from it", async () => {
  const db = await testSchema();
  const metricsOf = async (app: App) => await (await app.request("/metrics")).text();
  const app = appOn(db);
  assertStringIncludes(await metricsOf(app), "\norderflow_outbox_unpublished_events 0\n");
  const early = await metricsOf(appOn(db, { schemaReady: false }));
  await db[Symbol.asyncDispose]();
  for (const text of [await metricsOf(app), early]) {
    assertStringIncludes(text, "\norderflow_database_up 0\n");
    assertStringIncludes(text, "\norderflow_broker_up 1\n");
    assertEquals(/^orderflow_(outbox|orders_recent|dead_letters|delayed)/m.test(text), false);
  }
});
