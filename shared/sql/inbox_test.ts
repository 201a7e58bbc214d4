import { assertEquals, assertRejects } from "@std/assert";
import { orderCreated } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { type Effect, processOnce } from "./inbox.ts";
import { listProcessed } from "../ops/lists.ts";

shareTestSchema();

const effectsOf = (fresh: ReadonlySet<string>): Effect[] =>
  [...fresh].map((cause) => ({ cause, event: orderCreated() }));

Deno.test("processOnce() gives each event to one of many concurrent copies", async () => {
  await using db = await testSchema();
  const ids = Array.from({ length: 50 }, () => orderCreated().event.eventId);
  const now = new Date();
  const copies = Array.from({ length: 4 }, (_, i) => {
    const mine = i % 2 ? ids : ids.toReversed();
    return processOnce(
      db.as("orderflow_payments"),
      "payments",
      mine,
      now,
      (_, fresh) => Promise.resolve(effectsOf(fresh)),
    );
  });
  const recorded = (await Promise.all(copies)).flatMap((ids) => [...ids]);
  assertEquals(recorded.toSorted(), ids.toSorted());
  assertEquals((await db.sql`select from outbox_events`).count, ids.length);
});

Deno.test("processOnce() keeps one consumer's inbox apart from another's", async () => {
  await using db = await testSchema();
  const { event } = orderCreated();
  for (const consumer of ["payments", "orders"]) {
    const apply = (_: unknown, fresh: ReadonlySet<string>) => Promise.resolve(effectsOf(fresh));
    const recorded = await processOnce(db.sql, consumer, [event.eventId], new Date(), apply);
    assertEquals(recorded.size, 1);
  }
  const rows = await listProcessed(db.sql, { limit: 10 });
  assertEquals(rows.map(({ consumer }) => consumer), ["payments", "orders"]);
  const [first] = rows;
  assertEquals((await listProcessed(db.sql, { limit: 10, before: first })).map(({ consumer }) => consumer), [
    "orders",
  ]);
});

Deno.test("processOnce() commits effects, inbox and outgoing events together, or none of them", async () => {
  await using db = await testSchema();
  const { event } = orderCreated();
  const next: Effect = { cause: event.eventId, event: orderCreated() };
  await assertRejects(() =>
    processOnce(db.sql, "payments", [event.eventId], new Date(), () => Promise.resolve([next, next]))
  );
  assertEquals((await db.sql`select from processed_events`).count, 0);
  assertEquals((await db.sql`select from outbox_events`).count, 0);
  await processOnce(db.sql, "payments", [event.eventId], new Date(), () => Promise.resolve([next]));
  assertEquals((await db.sql`select from processed_events`).count, 1);
  assertEquals((await db.sql`select from outbox_events`).count, 1);
});

Deno.test("processOnce() counts what came again on its row, and when it last did", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_payments");
  const ids = [orderCreated(), orderCreated()].map(({ event }) => event.eventId);
  const nothing = () => Promise.resolve([]);
  await processOnce(sql, "payments", ids, new Date(1_000), nothing);
  await processOnce(sql, "payments", ids.slice(0, 1), new Date(2_000), nothing);
  await processOnce(sql, "payments", ids.slice(0, 1), new Date(3_000), nothing);
  const rows = await listProcessed(db.as("orderflow_ops"), { limit: 10 });
  assertEquals(rows.toReversed().map(({ duplicates, lastDuplicateAt }) => [duplicates, lastDuplicateAt]), [
    [2, new Date(3_000)],
    [0, null],
  ]);
});
