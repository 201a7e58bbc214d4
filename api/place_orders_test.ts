import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import { createWakeUps, listenForWakeUps } from "../shared/sql/outbox.ts";
import { eventually } from "../specs/support/eventually.ts";
import { serve, type TestApp, testApp } from "../specs/support/test_app.ts";
import { countEvents, ORDER } from "../specs/support/test_events.ts";
import { testLog } from "../specs/support/test_log.ts";
import { schemaAt, shareTestSchema, type TestSchema, testSchema } from "../specs/support/test_schema.ts";
import { createOrderPlacer } from "./place_orders.ts";

shareTestSchema();

const cause = { correlationId: "c", traceparent: null };

/** Places an order under a key, or without one; `order` is what of the answer belongs to the order. */
async function post({ ask }: TestApp, key: string | null, body: unknown = ORDER) {
  const { status, headers, body: order } = await ask(
    "POST /orders",
    body,
    key === null ? {} : { "idempotency-key": key },
  );
  return {
    status,
    order: { status, location: headers.get("location"), ...order },
    isReplay: headers.get("idempotency-replayed") === "true",
    retryAfter: headers.get("retry-after"),
  };
}

const countOrders = async (db: TestSchema) => (await db.sql`select from orders`).count;

Deno.test("concurrent orders share transactions, and each request gets its own", async () => {
  await using db = await testSchema();
  const api = testApp(db);
  const amounts = Array.from({ length: 60 }, (_, i) => `${i + 1}.00`);
  const created = await Promise.all(amounts.map((amount) => post(api, null, { ...ORDER, amount })));
  assertEquals(created.map(({ order }) => order.amount), amounts);
  assertEquals(new Set(created.map(({ order }) => order.id)).size, 60);
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

Deno.test("the first request that creates an order has its key: it has the first answer again, another one a 422", async () => {
  await using db = await testSchema();
  const app = testApp(db);
  const refused = await post(app, "k", { ...ORDER, amount: "0" }); // it has created none: the key is free
  const first = await post(app, "k");
  assertEquals([refused.status, first.status, first.isReplay], [400, 201, false]);
  await db.sql`update orders set status = 'COMPLETED', updated_at = now() + interval '1 minute'`;
  const { userId, courseId } = ORDER; // a request is the same however its JSON is written
  const same =
    ` { "amount": "49.9",\n "more": 1, "courseId": "${courseId}", "userId": "${userId.toUpperCase()}" } `;
  for (const body of [ORDER, same]) {
    const again = await post(app, "k", body);
    assertEquals([again.isReplay, again.order], [true, first.order]);
  }
  const others = [{ amount: "50.00" }, { userId: RESERVED_COURSES.success }, { courseId: SCENARIO_USER }];
  for (const other of others) {
    const { order: problem } = await post(app, "k", { ...ORDER, ...other });
    assertEquals([problem.status, problem.title], [422, "Unprocessable Content"]);
    assertStringIncludes(problem.detail, "new key");
  }
  assertEquals([await countOrders(db), await countEvents(db.sql)], [1, { "order.created": 1 }]);
  assertEquals((await post(app, "another-key", { ...ORDER, amount: "50.00" })).status, 201);
});

/**
 * Holds up whatever inserts an order for 49.90, in the middle of its statement: it has its key, and has not committed. So
 * is held up whatever inserts the key `held`: it has the keys that it inserts before, and none of the others.
 */
async function holdInserts(db: TestSchema) {
  await db.sql`
    create or replace function wait_for_test() returns trigger language plpgsql as $$
    begin perform pg_advisory_xact_lock_shared(1); return new; end $$`;
  await db.sql`
    create trigger wait_for_test before insert on orders for each row when (new.amount = 49.90)
    execute function wait_for_test()`;
  await db.sql`
    create trigger wait_for_test before insert on idempotency_keys for each row when (new.key = 'held')
    execute function wait_for_test()`;
  const session = await db.sql.reserve();
  await session`select pg_advisory_lock(1)`;
  const untilWaiting = (what: string, locktype: string, wanted: number) =>
    eventually(`${what} to wait`, async () => {
      const waits = await db.sql`select from pg_locks where not granted and locktype = ${locktype}`;
      return waits.count === wanted;
    });
  return {
    untilHeld: () => untilWaiting("the first", "advisory", 1),
    untilTwinsWait: (twins: number) => untilWaiting("its twins", "transactionid", twins),
    release: async () => void await session`select pg_advisory_unlock(1)`,
    async [Symbol.asyncDispose]() {
      await session`select pg_advisory_unlock_all()`;
      session.release();
      await db.sql`drop function wait_for_test cascade`;
    },
  };
}

Deno.test("a repeat while the first request is under way in another process waits for it, and has its answer", async () => {
  await using db = await testSchema();
  await using held = await holdInserts(db);
  const first = post(testApp(db), "k");
  await held.untilHeld();
  const twin = post(testApp(db), "k");
  const other = post(testApp(db), "k", { ...ORDER, amount: "50.00" });
  await held.untilTwinsWait(2);
  await held.release();
  const { status, order } = await first;
  assertEquals(status, 201);
  const replayed = await twin;
  assertEquals([replayed.isReplay, replayed.order], [true, order]);
  assertEquals((await other).status, 422);
  assertEquals(await countOrders(db), 1);
  assertEquals(await countEvents(db.sql), { "order.created": 1 });
});

Deno.test("a repeat goes on with the order where the first request is rolled back", async () => {
  await using db = await testSchema();
  await using held = await holdInserts(db);
  const first = post(testApp(db), "k");
  await held.untilHeld();
  const twin = post(testApp(db), "k");
  await held.untilTwinsWait(1);
  await db.sql`
    select pg_terminate_backend(pid) from pg_locks where not granted and locktype = 'advisory'`;
  assertEquals((await first).status, 503);
  await held.untilHeld();
  await held.release();
  assertEquals([(await twin).status, (await twin).isReplay], [201, false]);
  assertEquals(await countOrders(db), 1);
});

Deno.test("a repeat that would wait for longer than a statement may take is told to come again, with its group", async () => {
  await using db = await testSchema();
  await using held = await holdInserts(db);
  const first = post(testApp(db), "k");
  await held.untilHeld();
  await using impatient = schemaAt(db.url, { statementTimeoutMs: 100 });
  const app = testApp(impatient);
  const cheap = { ...ORDER, amount: "1.00" };
  const group = await Promise.all([post(app, null, cheap), post(app, "k"), post(app, "another-key", cheap)]);
  for (const twin of group) assertEquals([twin.status, twin.retryAfter], [503, "1"]);
  await held.release();
  assertEquals((await first).status, 201);
  assertEquals(await countOrders(db), 1);
});

Deno.test("groups that share keys, in whatever order they came, do not lock each other out", async () => {
  await using db = await testSchema();
  await using held = await holdInserts(db);
  const placeAll = async (...keys: string[]) => {
    const app = testApp(db);
    const answers = await Promise.all(keys.map((key) => post(app, key, { ...ORDER, amount: "1.00" })));
    return answers.map(({ status, isReplay }) => [status, isReplay]);
  };
  const first = placeAll("a", "held", "b");
  await held.untilHeld();
  const second = placeAll("b", "held", "a");
  await held.untilTwinsWait(1); // for a key that the first has: with one of its own, the first would wait for it
  await held.release();
  assertEquals(await first, [[201, false], [201, false], [201, false]]);
  assertEquals(await second, [[201, true], [201, true], [201, true]]);
});

Deno.test("a key takes no statement more, and a repeat one; without a key nothing is asked of the keys", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_orders");
  const statements: string[] = [];
  sql.options.debug = (_, text) => void statements.push(text);
  const place = createOrderPlacer(sql, createWakeUps(), testLog);
  const askedFor = async (...keys: (string | undefined)[]) => {
    statements.length = 0;
    await Promise.all(keys.map((key) => place(ORDER, cause, key)));
    return statements.map((text) => text.includes("idempotency_keys"));
  };
  assertEquals(await askedFor(undefined, undefined), [false]);
  assertEquals(await askedFor("k"), [true]);
  assertEquals(await askedFor("k"), [true, true]);
  assertEquals(await askedFor("k2"), [true]);
});

Deno.test("a key may be bare or a quoted string, and means the same; a header that is none is a 400 that names it", async () => {
  await using db = await testSchema();
  const app = testApp(db);
  const pairs = [
    ["8e03978e-40d5-43e8-bc93-6894a57f9324", '"8e03978e-40d5-43e8-bc93-6894a57f9324"'],
    ['a"b', '"a\\"b"'],
    ["a\\b{,}'", `"a\\\\b{,}'"`],
    ["x".repeat(255), `"${"x".repeat(255)}"`],
  ];
  for (const [bare = "", quoted = ""] of pairs) {
    const [first, again] = [await post(app, bare), await post(app, quoted)];
    assertEquals([first.status, first.isReplay, again.isReplay], [201, false, true], bare);
  }
  const quoted = ['""', '"', '"a', '"a"b"', '"a\\b"', '"a";p=1', '"a b"'];
  for (const key of ["", "a b", "a, b", "é", "x".repeat(256), ...quoted]) {
    const { status, order: problem } = await post(app, key);
    assertEquals(status, 400, key);
    assertStringIncludes(problem.detail, "idempotency-key", key);
  }
  assertEquals(await countOrders(db), pairs.length);
});

Deno.test("whatever two processes are sent at once and again, a key creates one order", async () => {
  await using db = await testSchema();
  const apps = [testApp(db), testApp(db)];
  const request = fc.record({ app: fc.nat(1), key: fc.nat(2), amount: fc.constantFrom("1.00", "2.00") });
  const rounds = fc.array(fc.array(request, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(rounds, async (rounds) => {
      await db.sql`truncate orders, outbox_events, idempotency_keys`;
      const made = new Map<number, { id: string; amount: string }>();
      for (const round of rounds) {
        const answers = await Promise.all(round.map(async ({ app, key, amount }) => {
          const target = apps[app];
          assert(target);
          const { status, order: { id } } = await post(target, `k${key}`, { ...ORDER, amount });
          if (status === 201) {
            made.set(key, made.get(key) ?? { id, amount });
            assertEquals(made.get(key), { id, amount });
          }
          return { key, amount, status };
        }));
        for (const { key, amount, status } of answers) {
          assert(made.has(key), `no request with key ${key} was served`);
          assertEquals(status, made.get(key)?.amount === amount ? 201 : 422);
        }
      }
      assertEquals(await countOrders(db), made.size);
      assertEquals((await db.sql`select from outbox_events`).count, made.size);
    }),
    { numRuns: 40 },
  );
});
