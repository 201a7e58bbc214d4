import { assertEquals, assertRejects } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { SCENARIO_USER } from "../../shared/scenarios.ts";
import { insertingOrders } from "../../shared/sql/orders.ts";
import { shareTestSchema, testSchema } from "../support/test_schema.ts";
import { pauseAfter, watchEnds } from "./load_ends.ts";

shareTestSchema();

const order = () => ({
  id: uuidv7(),
  userId: SCENARIO_USER,
  courseId: SCENARIO_USER,
  amount: "49.90",
  correlationId: "load-ends-test",
  createdAt: new Date(),
});

Deno.test("the pause grows with the orders asked for, and is none for a watch that is behind", () => {
  assertEquals([pauseAfter(1, 0), pauseAfter(30, 10), pauseAfter(500, 0)], [3, 3, 50]);
  assertEquals([pauseAfter(1000, 999), pauseAfter(1000, 1000)], [100, 0]);
});

Deno.test("every order is seen to end once, with its own time, however many there are", async () => {
  await using db = await testSchema();
  const orders = Array.from({ length: 2500 }, order);
  await insertingOrders(db.sql, orders);
  const watch = watchEnds(db.sql);
  const [first, ...others] = orders;
  watch.add(first?.id ?? "", performance.now() - 5000);
  const done = db.sql`update orders set status = 'COMPLETED' where id <> ${first?.id ?? ""}`;
  await done;
  const sinceMs = performance.now();
  for (const { id } of others) watch.add(id, sinceMs);
  await db.sql`update orders set status = 'REFUNDED' where id = ${first?.id ?? ""}`;
  const told: number[] = [];
  const ends = await watch.allEnded(15_000, (ended) => told.push(ended));
  assertEquals(ends.length, 2500);
  assertEquals(told.at(-1), 2500);
  assertEquals(ends.filter(({ status }) => status === "REFUNDED").map((end) => end.latencyMs >= 5000), [
    true,
  ]);
  assertEquals(ends.filter(({ status }) => status === "COMPLETED").length, 2499);
});

Deno.test("a watch that has come to its end goes on with the next order", async () => {
  await using db = await testSchema();
  const orders = Array.from({ length: 3 }, order);
  await insertingOrders(db.sql, orders);
  await db.sql`update orders set status = 'PAYMENT_FAILED'`;
  const watch = watchEnds(db.sql);
  for (const [i, { id }] of orders.entries()) {
    watch.add(id, performance.now());
    assertEquals((await watch.allEnded(15_000)).length, i + 1);
  }
});

Deno.test("an order that does not end in time is named, with what became of it", async () => {
  await using db = await testSchema();
  const [stored, unknown] = [order(), order()];
  await insertingOrders(db.sql, [stored]);
  await db.sql`update orders set status = 'PAID'`;
  const here = watchEnds(db.sql);
  here.add(stored.id, performance.now());
  await assertRejects(
    () => here.allEnded(20),
    Error,
    `1 of 1 orders have not ended in time; the oldest, ${stored.id}, is PAID`,
  );
  const elsewhere = watchEnds(db.sql);
  elsewhere.add(unknown.id, performance.now());
  await assertRejects(() => elsewhere.allEnded(20), Error, "is not in the table orders of --database");
});
