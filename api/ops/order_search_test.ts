import { assertEquals } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { insertingOrders } from "../../shared/sql/orders.ts";
import { idRange, searchOrders } from "../../shared/ops/lists.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";

shareTestSchema();

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

async function insert(
  db: TestSchema,
  orders: readonly { id?: string; correlationId?: string }[],
): Promise<string[]> {
  const rows = orders.map(({ id = uuidv7(), correlationId = "c" }) => ({
    id,
    userId: crypto.randomUUID(),
    courseId: crypto.randomUUID(),
    amount: "1.00",
    correlationId,
    createdAt: new Date(),
  }));
  await insertingOrders(db.sql, rows);
  return rows.map(({ id }) => id);
}

Deno.test("GET /ops/orders refuses what no id has", async () => {
  await using db = await testSchema();
  const { app } = testApp(db);
  for (const search of ["%00", "a%00b", "%1b[2J"]) {
    assertEquals((await app.request(`/ops/orders?search=${search}`)).status, 400, search);
  }
});

Deno.test("GET /ops/orders filters by status, and pages from newest to oldest", async () => {
  await using db = await testSchema();
  const { app } = testApp(db);
  const ids = (await insert(db, Array.from({ length: 5 }, () => ({})))).toSorted().toReversed();
  await db.sql`update orders set status = 'PAID' where id in ${
    db.sql([ids[1] ?? "", ids[3] ?? "", ids[4] ?? ""])
  }`;
  const page = async (query: string) => await (await app.request(`/ops/orders?${query}`)).json();
  const idsOf = ({ orders }: { orders: { id: string }[] }) => orders.map(({ id }) => id);
  assertEquals(idsOf(await page("")), ids);
  const first = await page("status=PAID&limit=2");
  assertEquals([idsOf(first), first.nextCursor], [[ids[1], ids[3]], ids[3]]);
  const second = await page(`status=PAID&limit=2&cursor=${first.nextCursor}`);
  assertEquals([idsOf(second), second.nextCursor], [[ids[4]], null]);
  assertEquals(Object.keys(first.orders[0]).toSorted(), [
    "amount",
    "correlationId",
    "courseId",
    "createdAt",
    "id",
    "status",
    "updatedAt",
    "userId",
  ]);
  for (const query of ["status=LOST", "limit=0", "cursor=x"]) {
    assertEquals((await app.request(`/ops/orders?${query}`)).status, 400, query);
  }
});

Deno.test("GET /ops/orders finds an order by its id, the beginning of it, and its correlation id", async () => {
  await using db = await testSchema();
  const { app } = testApp(db);
  const other = "0fffffff-0000-7000-8000-000000000000";
  const mine = "01a20441-ae89-7222-9369-984124b51d7d";
  const correlationId = crypto.randomUUID();
  await insert(db, [{ id: other }, { id: mine, correlationId }, { correlationId: "abc" }]);
  const find = async (search: string) => {
    const { orders } = await (await app.request(`/ops/orders?search=${encodeURIComponent(search)}`)).json();
    return orders.map(({ id }: { id: string }) => id);
  };
  for (const search of [mine, mine.toUpperCase(), mine.slice(0, 10), ` ${mine} `, correlationId]) {
    assertEquals(await find(search), [mine], search);
  }
  assertEquals((await find("abc")).length, 1, "an id could begin so, none does, a correlation id is so");
  assertEquals(await find("nothing"), []);
  assertEquals((await find("")).length, 3);
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
