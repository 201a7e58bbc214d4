import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { auditSchema, outboxPageSchema, problemSchema } from "../shared/ops/answers.ts";
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
  { address = "127.0.0.1", brokerUp = true, schemaReady = true }: Options = {},
): App {
  return testApp(db, {
    isSchemaReady: () => schemaReady,
    isBrokerUp: () => brokerUp,
    readQueues: () => Promise.resolve(brokerUp ? [{ queue: "payments", messages: 7, consumers: 1 }] : null),
    access: { token: undefined, remoteAddress: () => address },
  }).app;
}

const order = { userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" };
const json = { "content-type": "application/json" };
const post = (body: unknown, headers: Record<string, string> = json): RequestInit => ({
  method: "POST",
  headers,
  body: typeof body === "string" ? body : JSON.stringify(body),
});
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

const jsonOf = async (app: App, path: string, init?: RequestInit) =>
  await (await app.request(path, init)).json();

/** Places an order by the route. */
const placed = async (app: App, more: Partial<typeof order> = {}) =>
  orderSchema.parse(await jsonOf(app, "/orders", post({ ...order, ...more })));

async function problemOf(response: Response) {
  assertEquals(response.headers.get("content-type"), "application/problem+json");
  const problem = problemSchema.parse(await response.json());
  assertEquals(problem.status, response.status);
  return problem;
}

Deno.test("POST /orders creates a pending order and its event, and says where it is", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const userId = "ABCDEF00-0000-0000-0000-00000000000F"; // any 8-4-4-4-12 hex id, in lower case from then on
  const response = await app.request("/orders", post({ ...order, userId, amount: "49.9" }));
  assertEquals(response.status, 201);
  const created = orderSchema.parse(await response.json());
  const { id, createdAt, updatedAt, ...rest } = created;
  assertEquals(rest, { ...order, userId: userId.toLowerCase(), status: "PENDING" });
  assertEquals([response.headers.get("location"), createdAt], [`/orders/${id}`, updatedAt]);
  assertEquals(await jsonOf(app, `/orders/${id}`), created);
  assertEquals(await countEvents(db.sql), { "order.created": 1 });
});

Deno.test("a request that cannot be served is refused with what is wrong with it, each field at fault by name", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const notUtf8 = { method: "POST", headers: json, body: new Uint8Array([0x22, 0xff, 0x22]) };
  const form = post("userId=1", { "content-type": "application/x-www-form-urlencoded" });
  const body = "The body of the request is not valid";
  const cases: [path: string, init: RequestInit, status: number, detail: string, fields?: string[]][] = [
    ["/orders", post({ userId: "x", amount: 49.9 }), 400, body, ["#/userId", "#/courseId", "#/amount"]],
    ["/orders", post("null"), 400, body, ["#"]],
    ["/orders", post("[]"), 400, body, ["#"]],
    ["/orders", post('"x"'), 400, body, ["#"]],
    ["/orders", post("{"), 400, "not JSON"],
    ["/orders", post(""), 400, "not JSON"],
    ["/orders", notUtf8, 400, "not UTF-8"],
    ["/orders", form, 415, "application/json"],
    [
      "/orders",
      post(order, { ...json, "content-encoding": "gzip" }),
      415,
      "without the content-encoding gzip",
    ],
    ["/orders", post({ ...order, more: "x".repeat(20_000) }), 413, "16384 bytes"],
    ["/orders", post(order, { ...json, "x-correlation-id": "a b" }), 400, "x-correlation-id"],
    ["/orders", { method: "DELETE" }, 405, "takes GET, POST, not DELETE"],
    ["/orders?limit=0", {}, 400, "query", ["limit"]],
    ["/orders?cursor=x", {}, 400, "query", ["cursor"]],
    ["/orders/nope", {}, 400, "path", ["id"]],
    [`/orders/${crypto.randomUUID()}`, {}, 404, "There is no order"],
    ["/nope", {}, 404, "There is nothing at /nope"],
  ];
  for (const [path, init, status, detail, fields] of cases) {
    const problem = await problemOf(await app.request(path, init));
    assertEquals(problem.status, status, path);
    assertStringIncludes(problem.detail, detail);
    assertEquals(problem.errors?.map(({ field, pointer }) => pointer ?? field), fields);
  }
  assertEquals((await db.sql`select from orders`).count, 0);
  assertEquals((await app.request("/orders", { method: "DELETE" })).headers.get("allow"), "GET, POST");
});

Deno.test("concurrent POST /orders share transactions, and each gets its own order", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const amounts = Array.from({ length: 60 }, (_, i) => `${i + 1}.00`);
  const created = await Promise.all(amounts.map((amount) => placed(app, { amount })));
  assertEquals(created.map(({ amount }) => amount), amounts);
  assertEquals(new Set(created.map(({ id }) => id)).size, 60);
  const transactions = await db.sql`select distinct xmin::text from orders`;
  assert(transactions.count < 10, `60 orders took ${transactions.count} transactions`);
});

Deno.test("createOrderPlacer() lets one bad row in a group fail alone", async () => {
  await using db = await testSchema();
  const place = createOrderPlacer(db.as("orderflow_orders"), createWakeUps(), testLog);
  const amounts = Array.from({ length: 20 }, (_, i) => i === 7 ? "0.00" : "1.00");
  const results = await Promise.allSettled(amounts.map((amount) => place({ ...order, amount }, cause)));
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
  for (let i = 0; i < 5; i++) ids.unshift((await placed(app)).id);
  const pageSchema = z.object({ orders: z.array(orderSchema), nextCursor: z.string().nullable() });
  const seen: string[] = [];
  for (let cursor: string | null = "", pages = 0; cursor !== null && pages < 5; pages++) {
    const page = pageSchema.parse(await jsonOf(app, `/orders?limit=2${cursor && `&cursor=${cursor}`}`));
    seen.push(...page.orders.map(({ id }) => id));
    cursor = page.nextCursor;
  }
  assertEquals(seen, ids);
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
});

Deno.test("GET /readyz says what cannot be reached; until the database has been, all that needs it says 503", async () => {
  await using db = await testSchema();
  const unready = appOn(db, { schemaReady: false });
  const cases: [App, number, object][] = [
    [appOn(db), 200, { status: "ready", database: "up", broker: "up" }],
    [appOn(db, { brokerUp: false }), 503, { status: "not ready", database: "up", broker: "down" }],
    [unready, 503, { status: "not ready", database: "down", broker: "up" }],
  ];
  for (const [app, status, told] of cases) {
    const ready = await app.request("/readyz");
    assertEquals([ready.status, await ready.json()], [status, told]);
  }
  assertEquals((await unready.request("/healthz")).status, 200);
  for (const path of ["/orders", "/ops/outbox"]) {
    const response = await unready.request(path);
    assertEquals([(await problemOf(response)).status, response.headers.get("retry-after")], [503, "1"], path);
  }
});

Deno.test("GET /ops/outbox filters and pages; one event can be seen and published again", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  for (let i = 0; i < 2; i++) await placed(app);
  const list = async (query: string) => outboxPageSchema.parse(await jsonOf(app, `/ops/outbox?${query}`));
  const { events: [event, ...others], nextCursor } = await list(
    "limit=1&type=order.created&published=false",
  );
  assert(event);
  assertEquals([others, (await list(`cursor=${nextCursor}`)).events.length], [[], 1]);
  assertEquals((await list("published=true")).events, []);
  await db.sql`update outbox_events set published_at = now()`;
  assertEquals((await list("published=true")).events.length, 2);
  const again = await app.request(`/ops/outbox/${event.id}/republish`, { method: "POST" });
  assertEquals([again.status, (await again.json()).alreadyProcessedBy], [202, []]);
  assertEquals((await list("published=false")).events, [], "its first publication stays known");
  const [set] = await db.sql`select action, state, total from replays`;
  assertEquals(set, { action: "REPUBLISH", state: "RUNNING", total: 1 });
  assertEquals((await jsonOf(app, `/ops/outbox/${event.id}`)).id, event.id);
  assertEquals((await problemOf(await app.request(`/ops/outbox/${crypto.randomUUID()}`))).status, 404);
  assertEquals((await problemOf(await app.request("/ops/outbox?type=x"))).errors?.[0]?.field, "type");
});

Deno.test("GET /ops/debug, /ops/processed-events and the timelines show what happened", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const { id } = await placed(app);
  await db.sql`
    insert into processed_events select id, 'payments.order-created.v1', now() from outbox_events`;
  const debug = await jsonOf(app, "/ops/debug");
  const shown = [
    debug.orders.length,
    debug.outbox.unpublished,
    debug.processedEvents.length,
    debug.deadLetters,
  ];
  assertEquals(shown, [1, 1, 1, []]);
  for (const path of [`/orders/${id}/timeline`, `/ops/orders/${id}/timeline`]) {
    const { order, timeline } = await jsonOf(app, path);
    assertEquals([order.id, "correlationId" in order], [id, path.startsWith("/ops")]);
    assertEquals(timeline.map(({ kind }: { kind: string }) => kind), ["status", "emitted", "processed"]);
  }
  const { processedEvents, nextCursor } = await jsonOf(app, "/ops/processed-events?limit=1");
  assertEquals(processedEvents[0].consumer, "payments.order-created.v1");
  assertEquals((await jsonOf(app, `/ops/processed-events?cursor=${nextCursor}`)).processedEvents, []);
  for (const query of [`cursor=${"-".repeat(36)}~x`, "cursor=x", "consumer=%00", "eventId=1"]) {
    assertEquals((await app.request(`/ops/processed-events?${query}`)).status, 400, query);
  }
});

Deno.test("GET /ops/audit says what breaks the promises, once it is older than the grace", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const { id } = await placed(app);
  const early = await jsonOf(app, "/ops/audit");
  assertEquals([early.ok, early.graceSeconds, early.orders, early.events], [true, 120, 1, 1]);
  const late = auditSchema.parse(await jsonOf(app, "/ops/audit?graceSeconds=0"));
  const found = late.checks.filter(({ count }) => count > 0);
  assertEquals(found.map(({ check }) => check), ["order stuck", "event not published"]);
  assertEquals([late.ok, found[0]?.violations[0]?.orderId], [false, id]);
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
  await placed(app);
  for (const path of [`/orders/${crypto.randomUUID()}`, "/healthz"]) await app.request(path);
  for (const method of ["MADE-UP", "ALSO-MADE-UP"]) await app.request("/nowhere", { method });
  const up = await (await app.request("/metrics")).text();
  for (
    const line of [
      'duration_seconds_count{method="POST",route="/orders",status="201"} 1',
      'duration_seconds_count{method="GET",route="/orders/:id",status="404"} 1',
      'duration_seconds_count{method="GET",route="/healthz",status="200"} 1',
      'duration_seconds_count{method="other",route="/*",status="404"} 2',
      "orderflow_outbox_unpublished_events 1",
      'orderflow_queue_messages{queue="payments"} 7',
      "orderflow_broker_up 1",
      'orderflow_orders_recent{status="PENDING"} 1',
      'orderflow_orders_recent{status="PAID"} 0',
    ]
  ) assertStringIncludes(up, line);
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

Deno.test("what the page reads is compressed for who takes that, an order's answer is not", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const headers = { ...json, "accept-encoding": "gzip" };
  const encodingOf = async (path: string, init: RequestInit = {}) => {
    const response = await app.request(path, { headers, ...init });
    await response.body?.cancel();
    return response.headers.get("content-encoding");
  };
  assertEquals(await encodingOf("/openapi.json"), "gzip");
  assertEquals(await encodingOf("/openapi.json", { headers: {} }), null);
  assertEquals(await encodingOf("/ops/orders"), "gzip");
  assertEquals(await encodingOf("/orders", { ...post(order), headers }), null);
});
