// What all lists have in common: pages, and what their queries may not say; and how orders are searched for.

import { assertEquals } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { testApp } from "../../specs/support/test_app.ts";
import { newLetter, ORDER } from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { idRange, searchOrders } from "../../shared/ops/lists.ts";
import { insertingOrders } from "../../shared/sql/orders.ts";
import { insertDeadLetters } from "../../shared/sql/set_aside.ts";

shareTestSchema();

const CONSUMER = "payments.order-created.v1";
const REPLAY = "/ops/replays/:id/events";

/** Each list, with the name of its rows, what tells them apart, and queries that it refuses. */
const LISTS: [path: string, rows: string, key: string, wrong: string[]][] = [
  ["/orders", "orders", "id", []],
  ["/ops/orders", "orders", "id", ["status=LOST", "search=%00", "search=a%00b", "search=%1b[2J"]],
  ["/ops/outbox", "events", "id", ["type=x"]],
  ["/ops/processed-events", "processedEvents", "eventId", [
    "consumer=%00",
    "eventId=1",
    `cursor=${"-".repeat(36)}~x`,
  ]],
  ["/ops/dead-letters", "deadLetters", "id", ["state=lost"]],
  ["/ops/messages", "messages", "eventId", ["state=lost"]],
  ["/ops/replays", "replays", "id", []],
  [REPLAY, "events", "eventId", []],
  ["/ops/operations", "operations", "id", []],
];

Deno.test("every list gives each row once, newest first, however small the pages, and refuses what is no query", async () => {
  await using db = await testSchema();
  const { ask, call } = testApp(db);
  for (let n = 0; n < 5; n++) {
    await call("POST /orders", ORDER);
    await call("PUT /ops/holds/relay");
    await insertDeadLetters(db.sql, [newLetter(CONSUMER)]);
  }
  await db.sql`update outbox_events set published_at = now()`;
  await db.sql`insert into processed_events select id, ${CONSUMER}, now() from outbox_events`;
  let replay = "";
  for (let n = 0; n < 5; n++) replay = (await call("POST /ops/replays", { type: "order.created" })).id;
  for (const [template, rows, key, wrong] of LISTS) {
    const path = template.replace(":id", replay);
    const keysOf = (page: Record<string, Record<string, string>[]>) =>
      page[rows]?.map((row) => row[key]) ?? [];
    const whole = keysOf(await call(`GET ${path}`));
    const sorted = template === REPLAY ? whole.toSorted() : whole.toSorted().toReversed(); // a set has its own order
    assertEquals([whole.length >= 5, whole], [true, sorted], path);
    const seen: unknown[] = [];
    for (let cursor: string | null = ""; cursor !== null && seen.length < whole.length + 5;) {
      const page: Awaited<ReturnType<typeof call>> = await call(
        `GET ${path}?limit=2${cursor && `&cursor=${cursor}`}`,
      );
      seen.push(...keysOf(page));
      cursor = page.nextCursor;
    }
    assertEquals(seen, whole, path);
    for (const query of ["limit=0", "cursor=x", ...wrong]) {
      assertEquals((await ask(`GET ${path}?${query}`)).status, 400, `${path}?${query}`);
    }
  }
  for (const query of ["graceSeconds=-1", "graceSeconds=x", "graceSeconds=1.5"]) {
    assertEquals((await ask(`GET /ops/audit?${query}`)).status, 400, query);
  }
  assertEquals((await ask(`GET /ops/replays/${crypto.randomUUID()}/events`)).status, 404);
});

Deno.test("idRange() is every id that begins like this", () => {
  assertEquals(idRange("01A2"), [
    "01a20000-0000-0000-0000-000000000000",
    "01a2ffff-ffff-ffff-ffff-ffffffffffff",
  ]);
  assertEquals(idRange("01a20441-ae")?.[1], "01a20441-aeff-ffff-ffff-ffffffffffff");
  const id = "01a20441-ae89-7222-9369-984124b51d7d";
  assertEquals(idRange(id), [id, id]);
  for (const text of ["01a20441ae", "xyz", `${id}0`, "01a2-"]) assertEquals(idRange(text), null, text);
});

/** Puts an order in, with an id or a correlation id that matters; answers with its id. */
async function insert(db: TestSchema, { id = uuidv7(), correlationId = "c" } = {}): Promise<string> {
  await insertingOrders(db.sql, [{ ...ORDER, id, correlationId, createdAt: new Date() }]);
  return id;
}

Deno.test("GET /ops/orders finds an order by its id, the beginning of it, its correlation id and its status", async () => {
  await using db = await testSchema();
  const { call } = testApp(db);
  const other = "0fffffff-0000-7000-8000-000000000000";
  const mine = "01a20441-ae89-7222-9369-984124b51d7d";
  const correlationId = crypto.randomUUID();
  for (const one of [{ id: other }, { id: mine, correlationId }, { correlationId: "abc" }]) {
    await insert(db, one);
  }
  const find = async (search: string) => {
    const { orders } = await call(`GET /ops/orders?search=${encodeURIComponent(search)}`);
    return orders.map(({ id }: { id: string }) => id);
  };
  for (const search of [mine, mine.toUpperCase(), mine.slice(0, 10), ` ${mine} `, correlationId]) {
    assertEquals(await find(search), [mine], search);
  }
  assertEquals((await find("abc")).length, 1, "an id could begin so, none does, a correlation id is so");
  assertEquals(await find("nothing"), []);
  assertEquals((await find("")).length, 3);
  await db.sql`update orders set status = 'PAID' where id = ${mine}`;
  const { orders } = await call("GET /ops/orders?status=PAID");
  assertEquals(orders.map(({ id }: { id: string }) => id), [mine]);
});

Deno.test("searchOrders() gives up after 10,000 orders, and says where to go on", async () => {
  await using db = await testSchema();
  await db.sql`
    insert into orders (id, user_id, course_id, amount, correlation_id, created_at, updated_at)
    select ('01a20441-ae89-7222-9369-' || lpad(to_hex(i), 12, '0'))::uuid, gen_random_uuid(), gen_random_uuid(), 1, 'c',
           now(), now()
    from generate_series(1, 10500) as i`;
  await db.sql`update orders set status = 'PAID' where id = '01a20441-ae89-7222-9369-000000000001'`;
  const first = await searchOrders(db.sql, { limit: 20, status: "PAID" });
  assertEquals([first.orders.length, first.nextBefore], [0, "01a20441-ae89-7222-9369-0000000001f5"]);
  const second = await searchOrders(db.sql, { limit: 20, status: "PAID", before: first.nextBefore ?? "" });
  assertEquals([second.orders.length, second.nextBefore], [1, null]);
});
