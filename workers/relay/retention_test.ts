import { assertEquals } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { prune } from "./retention.ts";

shareTestSchema();

const old = new Date("2026-01-01T00:00:00Z");
const before = new Date("2026-02-01T00:00:00Z");

/** An event of the outbox, `published` or not, that two consumers have processed. */
async function insertEvent({ sql }: TestSchema, at: Date, published: boolean): Promise<string> {
  const id = uuidv7({ msecs: at.getTime() });
  await sql`
    insert into outbox_events (id, type, order_id, correlation_id, payload, occurred_at, published_at)
    values (${id}, 'order.created', ${id}, 'c', '{}', ${at}, ${published ? at : null})`;
  await sql`insert into processed_events values (${id}, 'a', ${at}), (${id}, 'b', ${at})`;
  return id;
}

Deno.test("prune() deletes what is old, in small batches, and nothing that is young or unpublished", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_retention");
  for (let i = 0; i < 3; i++) await insertEvent(db, old, true);
  const stuck = await insertEvent(db, old, false);
  const young = await insertEvent(db, before, true);
  const id = crypto.randomUUID();
  await db.sql`
    insert into idempotency_keys (key, fingerprint, order_id, created_at)
    values ('old', sha256('a'), ${id}, ${old}), ('young', sha256('b'), ${id}, ${before})`;

  const first = await prune(sql, before, 2);
  assertEquals(first, {
    outboxEvents: 2,
    processedEvents: 2,
    idempotencyKeys: 1,
    delayedRetries: 0,
    suspectDeliveries: 0,
    replays: 0,
  });
  await prune(sql, before, 2);
  await prune(sql, before, 2);
  assertEquals(await prune(sql, before, 2), {
    outboxEvents: 0,
    processedEvents: 0,
    idempotencyKeys: 0,
    delayedRetries: 0,
    suspectDeliveries: 0,
    replays: 0,
  });
  const events = await db.sql`select id from outbox_events order by id`;
  assertEquals(events.map((row) => row.id), [stuck, young]);
  const inbox = await db.sql`select distinct event_id as id from processed_events order by 1`;
  assertEquals(inbox.map((row) => row.id), [stuck, young]);
  assertEquals((await db.sql`select key from idempotency_keys`).map(({ key }) => key), ["young"]);
});

Deno.test("prune() keeps the inbox's memory of an event for as long as that can be published again", async () => {
  await using db = await testSchema();
  const id = await insertEvent(db, old, true);
  // Somebody has it published again just now.
  await db.sql`update outbox_events set published_at = null`;
  await prune(db.as("orderflow_retention"), before, 100);
  assertEquals((await db.sql`select from processed_events where event_id = ${id}`).count, 2);
});

Deno.test("prune() deletes old replays with their sets, a part at a time, and none that is running", async () => {
  await using db = await testSchema();
  const insertReplay = async (at: Date, isRunning: boolean) => {
    const id = uuidv7({ msecs: at.getTime() });
    await db.sql`
      insert into replays (id, filter, state, total, already_processed, rate, created_at, started_at, due_at)
      values (${id}, '{}', ${isRunning ? "RUNNING" : "PREPARED"}, 3, 0, ${isRunning ? 5 : null}, ${at},
              ${isRunning ? at : null}, ${isRunning ? at : null})`;
    await db.sql`
      insert into replay_events select ${id}, position, ${id}, 'a' from generate_series(1, 3) as position`;
    return id;
  };
  await insertReplay(old, false);
  const running = await insertReplay(old, true);
  const young = await insertReplay(before, false);
  const sql = db.as("orderflow_retention");
  const pruned: number[] = [];
  for (let i = 0; i < 3; i++) pruned.push((await prune(sql, before, 2)).replays);
  assertEquals(pruned, [2, 1 + 1, 0]);
  const left = await db.sql`
    select r.id, count(*)::int as set from replays r join replay_events e on e.replay_id = r.id group by 1 order by 1`;
  assertEquals(left.map(({ id, set }) => [id, set]), [[running, 3], [young, 3]]);
});
