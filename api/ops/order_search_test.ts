import { assertEquals } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { insertingOrders } from "../../shared/sql/orders.ts";
import { idRange, searchOrders } from "../../shared/ops/lists.ts";
import { ORDER } from "../../specs/support/test_events.ts";
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
