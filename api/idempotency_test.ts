import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { Hono } from "hono";
import { z } from "zod";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import { eventually } from "../specs/support/eventually.ts";
import { countEvents } from "../specs/support/test_events.ts";
import { testLog } from "../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../specs/support/test_schema.ts";
import { type App, correlation, type CorrelationEnv } from "./correlation.ts";
import { HttpProblem, problemResponse } from "./http_errors.ts";
import { ordersRoutes } from "./orders.ts";
import { createOrderPlacer } from "./place_orders.ts";

shareTestSchema();

/** The orders' routes of an API process of its own, as far as the database can tell: with its own pools and groups. */
function appOn(db: TestSchema): App {
  const placeOrder = createOrderPlacer(db.as("orderflow_orders"), db.waker(), testLog);
  const readTimelines = () => Promise.resolve(new Map());
  const app = new Hono<CorrelationEnv>();
  app.use(correlation);
  app.route("/orders", ordersRoutes({ placeOrder, opsSql: db.as("orderflow_ops"), readTimelines }));
  app.onError((error, c) => {
    if (error instanceof HttpProblem) return problemResponse(c, error);
    throw error;
  });
  return app;
}

const order = { userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" };
const idSchema = z.object({ id: z.string() });
const problemSchema = z.object({ title: z.string(), status: z.number(), detail: z.string() });

async function post(
  app: App,
  key: string | null,
  body: unknown = order,
): Promise<Response> {
  return await app.request("/orders", {
    method: "POST",
    headers: { "content-type": "application/json", ...(key === null ? {} : { "idempotency-key": key }) },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
}

/** All of an answer that belongs to the order. */
async function answerOf(response: Response) {
  return { status: response.status, location: response.headers.get("location"), body: await response.json() };
}

const isReplay = (response: Response) => response.headers.get("idempotency-replayed") === "true";
const countOrders = async (db: TestSchema) => (await db.sql`select from orders`).count;

Deno.test("a repeated key with the same request has the first answer again, and creates nothing", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const first = await post(app, "k");
  const again = await post(app, "k");
  assertEquals([isReplay(first), isReplay(again)], [false, true]);
  const answer = await answerOf(first);
  assertEquals(answer.status, 201);
  assertEquals(await answerOf(again), answer);
  assertEquals(await countOrders(db), 1);
  assertEquals(await countEvents(db.sql), { "order.created": 1 });
});

Deno.test("the first answer stays the same after the order has moved on", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const answer = await answerOf(await post(app, "k"));
  await db.sql`update orders set status = 'COMPLETED', updated_at = now() + interval '1 minute'`;
  assertEquals(await answerOf(await post(app, "k")), answer);
});

Deno.test("a request is the same however its JSON is written", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const answer = await answerOf(await post(app, "k"));
  const { userId, courseId } = order;
  const other =
    ` { "amount": "49.9",\n "more": 1, "courseId": "${courseId}", "userId": "${userId.toUpperCase()}" } `;
  assertEquals(await answerOf(await post(app, "k", other)), answer);
});

Deno.test("a repeated key with another request is a 422, and creates nothing", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await post(app, "k");
  for (
    const other of [{ amount: "50.00" }, { userId: RESERVED_COURSES.success }, { courseId: SCENARIO_USER }]
  ) {
    const response = await post(app, "k", { ...order, ...other });
    const problem = problemSchema.parse(await response.json());
    assertEquals([problem.status, problem.title], [422, "Unprocessable Content"]);
    assertStringIncludes(problem.detail, "new key");
  }
  assertEquals(await countOrders(db), 1);
  assertEquals((await post(app, "another-key", { ...order, amount: "50.00" })).status, 201);
});

Deno.test("a key whose request created nothing is still free", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  assertEquals((await post(app, "k", { ...order, amount: "0" })).status, 400);
  assertEquals((await post(app, "k")).status, 201);
});

Deno.test("a repeat while the first request is under way in another process is a 409, and later its answer", async () => {
  await using db = await testSchema();
  const [one, two] = [appOn(db), appOn(db)];
  let first: Promise<Response> | undefined;
  await db.sql.begin(async (tx) => {
    await tx`lock table orders in share mode`; // the first request gets as far as its insert
    first = post(one, "k");
    await eventually("the insert to wait for the table", async () => {
      const waits = await db.sql`select from pg_locks where not granted and relation = 'orders'::regclass`;
      return waits.count === 1;
    });
    const response = await post(two, "k");
    assertEquals([response.status, response.headers.get("retry-after")], [409, "1"]);
    assertStringIncludes(problemSchema.parse(await response.json()).detail, "again");
    assertEquals((await tx`select from orders`).count, 0);
  });
  assert(first);
  const answer = await answerOf(await first);
  assertEquals(answer.status, 201);
  assertEquals(await answerOf(await post(two, "k")), answer);
  assertEquals(await countOrders(db), 1);
});

Deno.test("requests with one key at once, in one group: one creates the order, the others are told to wait", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const answers = await Promise.all(Array.from({ length: 5 }, () => post(app, "k")));
  assertEquals(answers.map(({ status }) => status), [201, 409, 409, 409, 409]);
  assertEquals(await countOrders(db), 1);
});

Deno.test("a repeat at the very moment of the commit is told to wait or has the answer", async () => {
  await using db = await testSchema();
  const [one, two] = [appOn(db), appOn(db)];
  for (let i = 0; i < 50; i++) {
    const untilServed = async (app: App) => {
      for (let tries = 0; tries < 1_000; tries++) {
        const response = await post(app, `k${i}`);
        if (response.status !== 409) return await answerOf(response);
      }
      throw new Error("The key was still taken after 1,000 tries");
    };
    const [first, second] = await Promise.all([untilServed(one), untilServed(two)]);
    assertEquals([first.status, second], [201, first]);
  }
  assertEquals(await countOrders(db), 50);
});

Deno.test("an answer lost between commit and client is given by another process", async () => {
  await using db = await testSchema();
  const place = createOrderPlacer(db.as("orderflow_orders"), db.waker(), testLog);
  const lost = place(order, { correlationId: "c", traceparent: null }, "k"); // nobody reads it
  await eventually("the commit", async () => await countOrders(db) === 1);
  const response = await post(appOn(db), "k");
  assertEquals([response.status, isReplay(response)], [201, true]);
  const [row] = await db.sql`select id from orders`;
  assertEquals(idSchema.parse(await response.json()).id, row?.id);
  assertEquals(await countEvents(db.sql), { "order.created": 1 });
  await lost;
});

Deno.test("a key is written with its order or not at all", async () => {
  await using db = await testSchema();
  const place = createOrderPlacer(db.as("orderflow_orders"), db.waker(), testLog);
  const cause = { correlationId: "c", traceparent: null };
  const results = await Promise.allSettled(
    Array.from(
      { length: 20 },
      (_, i) => place({ ...order, amount: i === 7 ? "0.00" : "1.00" }, cause, `k${i}`),
    ),
  );
  assertEquals(
    results.map(({ status }) => status),
    results.map((_, i) => i === 7 ? "rejected" : "fulfilled"),
  );
  const rows = await db.sql`select k.key from idempotency_keys k join orders o on o.id = k.order_id`;
  assertEquals(
    rows.map(({ key }) => key).toSorted(),
    results.flatMap((_, i) => i === 7 ? [] : [`k${i}`]).toSorted(),
  );
});

Deno.test("orders without a key do not touch the keys' table, and get an order each", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await db.sql.begin(async (tx) => {
    await tx`lock table idempotency_keys in access exclusive mode`; // any statement on it would wait
    const answers = await Promise.all([post(app, null), post(app, null)]);
    assertEquals(answers.map(({ status }) => status), [201, 201]);
    assertEquals(answers.map(isReplay), [false, false]);
  });
  assertEquals(await countOrders(db), 2);
});

Deno.test("a key may be bare or a quoted string, and means the same", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const pairs = [
    ["8e03978e-40d5-43e8-bc93-6894a57f9324", '"8e03978e-40d5-43e8-bc93-6894a57f9324"'],
    ['a"b', '"a\\"b"'],
    ["a\\b{,}'", `"a\\\\b{,}'"`],
    ["x".repeat(255), `"${"x".repeat(255)}"`],
  ];
  for (const [bare = "", quoted = ""] of pairs) {
    const first = await post(app, bare);
    const again = await post(app, quoted);
    assertEquals([first.status, isReplay(first), isReplay(again)], [201, false, true], bare);
  }
  assertEquals(await countOrders(db), pairs.length);
});

Deno.test("a header that is no key is a 400 that names it", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const bad = [
    "",
    '""',
    '"',
    '"a',
    '"a"b"',
    '"a\\b"',
    '"a";p=1',
    "a b",
    '"a b"',
    "a, b",
    "é",
    "x".repeat(256),
  ];
  for (const key of bad) {
    const response = await post(app, key);
    assertEquals(response.status, 400, key);
    assertStringIncludes(problemSchema.parse(await response.json()).detail, "idempotency-key", key);
  }
  assertEquals(await countOrders(db), 0);
});

Deno.test("whatever two processes are sent at once and again, a key creates one order", async () => {
  await using db = await testSchema();
  const apps = [appOn(db), appOn(db)];
  const request = fc.record({ app: fc.nat(1), key: fc.nat(2), amount: fc.constantFrom("1.00", "2.00") });
  const rounds = fc.array(fc.array(request, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(rounds, async (rounds) => {
      await db.sql`truncate orders, outbox_events, idempotency_keys`;
      const made = new Map<number, { id: string; amount: string }>();
      for (const round of rounds) {
        const before = new Set(made.keys());
        const answers = await Promise.all(round.map(async ({ app, key, amount }) => {
          const target = apps[app];
          assert(target);
          const response = await post(target, `k${key}`, { ...order, amount });
          const body: unknown = await response.json();
          if (response.status === 201) {
            const { id } = idSchema.parse(body);
            made.set(key, made.get(key) ?? { id, amount });
            assertEquals(made.get(key), { id, amount });
          }
          return { key, amount, status: response.status };
        }));
        for (const { key, amount, status } of answers) {
          assert(made.has(key), `no request with key ${key} was served`);
          if (status === 422) assert(made.get(key)?.amount !== amount);
          else assert(status === 201 || (status === 409 && !before.has(key)), `${status}`);
        }
      }
      assertEquals(await countOrders(db), made.size);
      assertEquals((await db.sql`select from outbox_events`).count, made.size);
    }),
    { numRuns: 40 },
  );
});
