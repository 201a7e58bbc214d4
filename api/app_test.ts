import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { auditSchema, outboxPageSchema, problemSchema } from "../shared/ops/answers.ts";
import { serve, type ServedApp, testApp, testBundle } from "../specs/support/test_app.ts";
import { countEvents, ORDER } from "../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../specs/support/test_schema.ts";

shareTestSchema();

const orderSchema = z.strictObject({
  id: z.uuidv7(),
  userId: z.string(),
  courseId: z.string(),
  amount: z.string(),
  status: z.string(),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
});

Deno.test("POST /orders creates a pending order and its event, and says where it is", async () => {
  await using db = await testSchema();
  const { ask, call } = testApp(db);
  const userId = "ABCDEF00-0000-0000-0000-00000000000F"; // any 8-4-4-4-12 hex id, in lower case from then on
  const { status, headers, body } = await ask("POST /orders", { ...ORDER, userId, amount: "49.9" });
  const { id, createdAt, updatedAt, ...rest } = orderSchema.parse(body);
  assertEquals(rest, { ...ORDER, userId: userId.toLowerCase(), status: "PENDING" });
  assertEquals([status, headers.get("location"), createdAt], [201, `/orders/${id}`, updatedAt]);
  assertEquals(await call(`GET /orders/${id}`), body);
  assertEquals(await countEvents(db.sql), { "order.created": 1 });
});

const OF_EVERY_ANSWER = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};
const NOTHING = "default-src 'none'; frame-ancestors 'none'";
const PAGE = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
  "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const FOR_EVER = "public, max-age=31536000, immutable";

/** A request, the status and type of its answer, and what else is asked and is not as usual. */
type Case = [line: string, status: number, type: string | null, more?: {
  readonly headers?: Record<string, string>;
  readonly body?: BodyInit;
  /** What a problem's title and detail say, and the fields that it names. */
  readonly says?: string;
  readonly fields?: readonly string[];
  readonly answers?: Readonly<Record<string, string>>;
}];

const [json, problem, html] = ["application/json", "application/problem+json", "text/html; charset=utf-8"];
const isJson = { "content-type": json };
const isForm = { "content-type": "application/x-www-form-urlencoded" };
/** What a browser asks before another site's page may send an order (CORS): nothing lets it. */
const foreign = { headers: { origin: "https://evil.example", "access-control-request-method": "POST" } };
const order = JSON.stringify(ORDER);
const badBody = (body: BodyInit, says: string, fields?: string[]): Case => {
  return ["POST /orders", 400, problem, { headers: isJson, body, says, ...(fields ? { fields } : {}) }];
};
const badFields = (body: string, ...fields: string[]) =>
  badBody(body, "The body of the request is not valid", fields);

const CASES: readonly Case[] = [
  badFields('{"userId": "x", "amount": 49.9}', "#/userId", "#/courseId", "#/amount"),
  ...["null", "[]", '"x"'].map((body) => badFields(body, "#")),
  badBody("{", "not JSON"),
  badBody("", "not JSON"),
  badBody(new Uint8Array([0x22, 0xff, 0x22]), "not UTF-8"),
  ["POST /orders", 415, problem, { headers: isForm, body: "userId=1", says: "application/json" }],
  ["POST /orders", 415, problem, {
    headers: { ...isJson, "content-encoding": "gzip" },
    body: order,
    says: "without the content-encoding gzip",
    answers: { "accept-encoding": "identity" },
  }],
  ["POST /orders", 413, problem, {
    headers: isJson,
    body: "x".repeat(20_000),
    says: "Content Too Large: The body may",
  }],
  ["POST /orders", 400, problem, {
    headers: { ...isJson, "x-correlation-id": "a b" },
    body: order,
    says: "x-correlation-id",
  }],
  ["DELETE /orders", 405, problem, { says: "takes GET, POST, not DELETE", answers: { allow: "GET, POST" } }],
  ["GET /orders?limit=0", 400, problem, { says: "query", fields: ["limit"] }],
  ["GET /orders/nope", 400, problem, { says: "path", fields: ["id"] }],
  [`GET /orders/${crypto.randomUUID()}`, 404, problem, { says: "There is no order" }],
  ["GET /nope", 404, problem, { says: "There is nothing at /nope" }],
  ["GET /healthz", 200, json],
  ["HEAD /healthz", 200, json],
  ["GET /readyz", 503, json],
  ["GET /orders", 200, json],
  ["GET /orders", 200, json, foreign],
  ["OPTIONS /orders", 405, problem, foreign],
  ["OPTIONS /ops/outbox/tick", 403, problem, foreign],
  ["GET /ops/debug", 200, json],
  ["GET /ops/debug", 403, problem, { headers: { "sec-fetch-site": "cross-site" } }],
  ["GET /ops/audit", 500, problem],
  ["GET /ops/live", 200, "text/event-stream; charset=utf-8"],
  ["GET /metrics", 200, "text/plain; version=0.0.4; charset=utf-8"],
  ["GET /", 200, html, { answers: { "content-security-policy": PAGE } }],
  ["POST /login", 303, null],
  ["GET /assets/island-XOCXUP7F.js", 200, "text/javascript; charset=utf-8", {
    answers: { "cache-control": FOR_EVER },
  }],
  ["GET /assets/plain.css", 200, "text/css; charset=utf-8", { answers: { "cache-control": "no-cache" } }],
  ["GET /assets/none.js", 404, problem],
];

async function check({ url }: ServedApp, [line, status, type, more = {}]: Case): Promise<void> {
  const [method = "", path] = line.split(" ");
  const { headers: sent = {}, body = null, says = "", fields, answers } = more;
  const response = await fetch(`${url}${path}`, { method, redirect: "manual", headers: sent, body });
  const { headers } = response;
  const about = `${line} ${response.status}`;
  assertEquals([response.status, headers.get("content-type")], [status, type], about);
  const defaults = { "content-security-policy": NOTHING, "cache-control": "no-store" };
  for (const [name, value] of Object.entries({ ...OF_EVERY_ANSWER, ...defaults, ...answers })) {
    assertEquals(headers.get(name), value, `${about}: ${name}`);
  }
  for (const name of ["server", "x-powered-by", "access-control-allow-origin", "strict-transport-security"]) {
    assertEquals(headers.get(name), null, `${about}: ${name}`);
  }
  if (type !== problem) return await response.body?.cancel();
  const told = problemSchema.parse(await response.json());
  assertEquals(told.status, status, about);
  assertStringIncludes(`${told.title}: ${told.detail}`, says);
  assertEquals(told.errors?.map(({ field, pointer }) => pointer ?? field), fields, about);
}

Deno.test("every kind of answer has the headers that it should have, and a refusal says what is wrong, each field by name", async () => {
  await using db = await testSchema();
  await using files = await testBundle();
  const broken = () => Promise.reject(new Error("on purpose"));
  await using api = serve(testApp(db, { bundle: files.folder, audit: broken }));
  for (const each of CASES) await check(api, each);
  assertEquals((await db.sql`select from orders`).count, 0);
});

Deno.test("what asks for the token, and what cannot be answered because the database is away, have them too", async () => {
  await using db = await testSchema();
  await using files = await testBundle();
  const token = "a-token-of-sixteen";
  const access = { token, remoteAddress: () => null };
  const answers = { "content-security-policy": PAGE };
  await using asking = serve(testApp(db, { bundle: files.folder, access }));
  await check(asking, ["GET /", 401, html, { answers }]);
  await check(asking, ["GET /ops/debug", 401, problem]);
  await check(asking, ["POST /login", 401, html, { headers: isForm, body: "token=wrong", answers }]);
  await check(asking, ["POST /login", 303, null, { headers: isForm, body: `token=${token}` }]);
  await using away = serve(testApp(db, { isSchemaReady: () => false }));
  for (const path of ["/orders", "/ops/outbox"]) {
    await check(away, [`GET ${path}`, 503, problem, { answers: { "retry-after": "1" } }]);
  }
  await check(away, ["GET /healthz", 200, json]);
  await check(away, ["GET /", 503, html, { answers }]); // and the bundle is missing
});

Deno.test("every answer has the correlation id, and every event that and the trace context: the caller's, or new ones", async () => {
  await using db = await testSchema();
  const { ask } = testApp(db);
  const given = await ask("POST /orders", ORDER, { "x-correlation-id": "mine-1" });
  assertEquals(given.headers.get("x-correlation-id"), "mine-1");
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  await ask("POST /orders", ORDER, { traceparent });
  const [event, traced] = await db.sql`select correlation_id, traceparent from outbox_events order by id`;
  assertEquals([event?.correlation_id, traced?.traceparent], ["mine-1", traceparent]);
  assertMatch(event?.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  assertMatch((await ask("GET /nope")).headers.get("x-correlation-id") ?? "", /^[0-9a-f-]{36}$/);
});

Deno.test("GET /ops/outbox filters, one event can be seen and published again; /ops/debug and the timelines show what happened", async () => {
  await using db = await testSchema();
  const { ask, call } = testApp(db);
  const { id } = await call("POST /orders", ORDER);
  const list = async (query: string) => outboxPageSchema.parse(await call(`GET /ops/outbox?${query}`)).events;
  const [event] = await list("type=order.created&published=false");
  assertEquals(await list("published=true"), []);
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
  await db.sql`update outbox_events set published_at = now()`;
  assertEquals((await list("published=true")).length, 1);
  const again = await ask(`POST /ops/outbox/${event?.id}/republish`);
  assertEquals([again.status, again.body.alreadyProcessedBy], [202, ["payments.order-created.v1"]]);
  assertEquals(await list("published=false"), [], "its first publication stays known");
  const [set] = await db.sql`select action, state, total from replays`;
  assertEquals(set, { action: "REPUBLISH", state: "RUNNING", total: 1 });
  assertEquals((await call(`GET /ops/outbox/${event?.id}`)).id, event?.id);
  assertEquals((await ask(`GET /ops/outbox/${crypto.randomUUID()}`)).status, 404);
});

Deno.test("GET /ops/audit says what breaks the promises, once it is older than the grace, and runs one at a time", async () => {
  await using db = await testSchema();
  const { ask, call } = testApp(db);
  const { id } = await call("POST /orders", ORDER);
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

Deno.test("what the page reads is compressed for who takes that, an order's answer is not", async () => {
  await using db = await testSchema();
  const { app } = testApp(db);
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
