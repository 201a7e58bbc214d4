import { assertEquals, assertRejects } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { orderCreated } from "../../specs/support/test_events.ts";
import { shareTestSchema, testInbox, testSchema } from "../../specs/support/test_schema.ts";
import { type ReceivedEvent, tell } from "../events.ts";
import { listProcessed } from "../ops/lists.ts";
import { rowset, type Sql, transaction } from "./connect.ts";
import { type Effect, type Inbox, once } from "./inbox.ts";
import { insertingNotifications } from "../../workers/notifications_final_events.ts";
import { listenForWakeUps, tickRelay, type WakeUp, type WakeUps } from "./outbox.ts";
import { eventually } from "../../specs/support/eventually.ts";

shareTestSchema();

type Row = Omit<Parameters<typeof insertingNotifications>[1][number], "cause">;

function effectOf(cause: ReceivedEvent, orderId = cause.event.data.orderId): Effect<Row> {
  const row: Row = { id: uuidv7(), orderId, type: "ORDER_COMPLETED" };
  const data = { orderId, notificationId: row.id, notificationType: row.type };
  return { cause, row, tells: tell("notification.sent", data) };
}

const notify = (sql: Sql, consumer: string, effects: readonly Effect<Row>[], now = new Date()) =>
  once(testInbox(sql, consumer), effects, insertingNotifications, now);

/** How many rows there are in the inbox, the consumer's table and the outbox. */
async function counts(sql: Sql): Promise<number[]> {
  const tables = ["processed_events", "notifications", "outbox_events"];
  return await Promise.all(tables.map(async (table) => (await sql`select from ${sql(table)}`).count));
}

Deno.test("once() gives each event to one of many concurrent copies", async () => {
  await using db = await testSchema();
  const events = Array.from({ length: 50 }, () => orderCreated());
  const copies = Array.from({ length: 4 }, (_, i) => {
    const mine = i % 2 ? events : events.toReversed();
    return notify(db.as("orderflow_notifications"), "notifications", mine.map((event) => effectOf(event)));
  });
  const recorded = (await Promise.all(copies)).flatMap((ids) => [...ids]);
  assertEquals(recorded.toSorted(), events.map(({ event }) => event.eventId).toSorted());
  assertEquals(await counts(db.sql), [50, 50, 50]);
});

Deno.test("once() keeps one consumer's inbox apart from another's, and the table's own key the row", async () => {
  await using db = await testSchema();
  const event = orderCreated();
  assertEquals((await notify(db.sql, "first", [effectOf(event)])).size, 1);
  assertEquals((await notify(db.sql, "second", [effectOf(event)])).size, 0, "the order has its notification");
  assertEquals(await counts(db.sql), [2, 1, 1]);
  const newest = await listProcessed(db.sql, { limit: 1 });
  const others = await listProcessed(db.sql, { limit: 10, before: newest[0] });
  assertEquals([...newest, ...others].map(({ consumer }) => consumer), ["second", "first"]);
});

Deno.test("once() writes nothing for an event that the inbox has, even where no key of the table stops it", async () => {
  await using db = await testSchema();
  const written: number[] = [];
  const inbox: Inbox = {
    ...testInbox(db.sql, "effects"),
    atomically: (work) =>
      transaction(db.sql, async (tx) => {
        await tx`create temporary table effects (id uuid) on commit drop`;
        const result = await work(tx);
        written.push((await tx`select from effects`).count);
        return result;
      }),
  };
  const effects = [effectOf(orderCreated())];
  for (let times = 0; times < 2; times++) {
    await once(inbox, effects, (sql, rows, _now, where) =>
      sql`insert into effects select "id"
          from jsonb_to_recordset(${rowset(rows)}::text::jsonb) as new ("cause" uuid, "id" uuid)
          where ${where} returning id`, new Date());
  }
  assertEquals(written, [1, 0]);
});

Deno.test("once() commits effects, inbox and outgoing events together, or none of them", async () => {
  await using db = await testSchema();
  const [good, bad] = [orderCreated(), orderCreated()];
  const refused = { ...effectOf(bad), tells: { type: "a.b", data: {}, aggregateId: "no uuid" } };
  await assertRejects(() => notify(db.sql, "notifications", [effectOf(good), refused]));
  assertEquals(await counts(db.sql), [0, 0, 0]);
  await notify(db.sql, "notifications", [effectOf(good)]);
  assertEquals(await counts(db.sql), [1, 1, 1]);
});

Deno.test("once() counts what came again on its row, and when it last did; repeats are counted alone", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_notifications");
  const [first, second, third] = [orderCreated(), orderCreated(), orderCreated()];
  await notify(sql, "notifications", [effectOf(first), effectOf(second)], new Date(1_000));
  assertEquals((await notify(sql, "notifications", [effectOf(first)], new Date(2_000))).size, 0);
  const repeats = [first, third].map(({ event }) => event.eventId);
  await once(testInbox(sql, "notifications"), [], insertingNotifications, new Date(3_000), repeats);
  const rows = await listProcessed(db.as("orderflow_ops"), { limit: 10 });
  assertEquals(rows.toReversed().map(({ duplicates, lastDuplicateAt }) => [duplicates, lastDuplicateAt]), [
    [2, new Date(3_000)],
    [0, null],
    [0, null],
  ]);
  assertEquals(await counts(db.sql), [3, 2, 2]);
});

Deno.test("once() wakes the relay with its commit when that is due and it has told something, and only then", async () => {
  await using db = await testSchema();
  const woken: WakeUp[] = [];
  const unlisten = await listenForWakeUps(db.sql, (wakeUp) => woken.push(wakeUp));
  woken.length = 0; // whoever begins to listen looks once
  const record = (isDue: boolean, cause: ReceivedEvent) => {
    const inbox = testInbox(db.as("orderflow_notifications"), "notifications");
    const wakeUps: WakeUps = { carry: (run) => run(isDue) };
    return once({ ...inbox, wakeUps }, [effectOf(cause)], insertingNotifications, new Date());
  };
  const event = orderCreated();
  await record(true, event);
  await record(true, event);
  await record(false, orderCreated());
  await tickRelay(db.sql); // behind all of them
  await eventually("the tick", () => woken.includes("tick"));
  await unlisten();
  assertEquals(woken, ["events", "tick"]);
});
