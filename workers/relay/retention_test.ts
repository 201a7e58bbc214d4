import { assert, assertEquals } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import type postgres from "postgres";
import type { Sql } from "../../shared/sql/connect.ts";
import { insertDeadLetters, insertRetries } from "../../shared/sql/set_aside.ts";
import { newLetter, newRetry } from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { prune } from "./retention.ts";

shareTestSchema();

const old = new Date("2026-01-01T00:00:00Z");
const before = new Date("2026-02-01T00:00:00Z");

const bindings = [{ consumer: "a", type: "order.created" }, { consumer: "b", type: "order.created" }];
const both = ["a", "b"];
const all = { before, bindings, limit: 100 };

/** Events of the outbox, published when they happened, or not, that some consumers have processed. */
async function insertEvents(
  { sql }: TestSchema,
  count: number,
  { at = old, published = true, processedBy = both }: {
    readonly at?: Date;
    readonly published?: boolean;
    readonly processedBy?: readonly string[];
  } = {},
): Promise<string[]> {
  const ids = Array.from({ length: count }, () => uuidv7({ msecs: at.getTime() }));
  for (const id of ids) {
    await sql`
      insert into outbox_events (id, type, order_id, correlation_id, payload, occurred_at, published_at)
      values (${id}, 'order.created', ${id}, 'c', '{}', ${at}, ${published ? at : null})`;
    for (const consumer of processedBy) {
      await sql`insert into processed_events values (${id}, ${consumer}, ${at})`;
    }
  }
  return ids;
}

/** Prunes two rows of each table at a time until nothing is left; answers with how many rows went each time. */
async function pruneToEnd(sql: Sql): Promise<number[]> {
  const rows: number[] = [];
  for (let at: Parameters<typeof prune>[2] | null = undefined; at !== null;) {
    assert(rows.length < 20, "it does not come to an end");
    const pruned = await prune(sql, { ...all, limit: 2 }, at);
    rows.push(pruned.rows);
    at = pruned.next;
  }
  return rows;
}

const idsOf = (rows: readonly postgres.Row[]) => rows.map(({ id }) => String(id));
const readEvents = async ({ sql }: TestSchema) => idsOf(await sql`select id from outbox_events order by id`);

Deno.test("prune() deletes what is old, in small batches, and nothing that is young or unpublished", async () => {
  await using db = await testSchema();
  await insertEvents(db, 3);
  const [stuck = ""] = await insertEvents(db, 1, { published: false });
  const [young = ""] = await insertEvents(db, 1, { at: before });
  const [late = ""] = await insertEvents(db, 1);
  await db.sql`update outbox_events set published_at = ${before} where id = ${late}`;
  const id = crypto.randomUUID();
  await db.sql`
    insert into idempotency_keys (key, fingerprint, order_id, created_at)
    values ('old', sha256('a'), ${id}, ${old}), ('young', sha256('b'), ${id}, ${before})`;
  await db.sql`
    insert into event_history (event_id, consumer, kind, at) select id, 'a', 'redelivered', ${old} from outbox_events`;
  const rows = await pruneToEnd(db.as("orderflow_retention"));
  assertEquals(rows.reduce((sum, some) => sum + some), 3 + 6 + 3 + 1); // events, what is known of them, the key
  assert(Math.max(...rows) <= 2 + 2 + 2 + 1, `${rows}`);
  const left = [stuck, late, young].toSorted();
  assertEquals(await readEvents(db), left);
  for (const table of ["processed_events", "event_history"]) {
    const known = idsOf(await db.sql`select distinct event_id as id from ${db.sql(table)} order by 1`);
    assertEquals(known, left, table);
  }
  assertEquals((await db.sql`select key from idempotency_keys`).map(({ key }) => key), ["young"]);
});

Deno.test("prune() keeps a published event, however old, that a bound consumer has not processed, unless its letter was discarded", async () => {
  await using db = await testSchema();
  const ids = await insertEvents(db, 6, { processedBy: ["a"] });
  const [missed = "", letter = "", discarded = "", redriven = "", waits = "", retried = ""] = ids;
  const letters = [letter, discarded, redriven].map((eventId) => newLetter("b", { eventId }));
  await insertDeadLetters(db.sql, letters);
  const close = (eventId: string, state: string) =>
    db.sql`update dead_letters set state = ${state}, resolved_at = ${old}, resolution = 'r' where event_id = ${eventId}`;
  await close(discarded, "DISCARDED");
  await close(redriven, "REDRIVEN");
  await insertRetries(db.sql, [waits, retried].map((eventId) => newRetry("b", { eventId })));
  await db.sql`update delayed_retries set due_at = null, sent_at = ${old} where event_id = ${retried}`;

  const sql = db.as("orderflow_retention");
  await prune(sql, all);
  assertEquals(await readEvents(db), [missed, letter, redriven, waits, retried].toSorted());
  await db.sql`insert into processed_events values (${redriven}, 'b', ${old}), (${retried}, 'b', ${old})`;
  await prune(sql, all);
  assertEquals(await readEvents(db), [missed, letter, waits].toSorted());
  await prune(sql, { ...all, bindings: bindings.filter(({ consumer }) => consumer === "a") });
  assertEquals(await readEvents(db), [], "nobody else is bound any more");
});

Deno.test("prune() forgets old retries that were sent and old suspects, and keeps a retry, however old, that is still to be sent", async () => {
  await using db = await testSchema();
  const [waits, sent, young] = [newRetry("a"), newRetry("a"), newRetry("a")];
  await insertRetries(db.sql, [waits, sent, young]);
  await db.sql`update delayed_retries set first_seen_at = ${old} where event_id <> ${young.eventId}`;
  await db.sql`update delayed_retries set due_at = null, sent_at = ${old} where event_id <> ${waits.eventId}`;
  await db.sql`
    insert into suspect_deliveries values ('a', sha256('old'), 1, ${old}), ('a', sha256('young'), 1, ${before})`;
  await prune(db.as("orderflow_retention"), all);
  const retries = idsOf(await db.sql`select event_id as id from delayed_retries order by 1`);
  assertEquals(retries, [waits.eventId, young.eventId].toSorted());
  assertEquals((await db.sql`select last_at from suspect_deliveries`).map(({ last_at }) => last_at), [
    before,
  ]);
});

Deno.test("prune() keeps what was sent again lately, and what its consumers remember of it", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_retention");
  const [sent = "", skipped = "", longAgo = ""] = await insertEvents(db, 3);
  const set = uuidv7();
  const last = new Date(before.getTime() - 1);
  await db.sql`
    insert into replays (id, filter, action, state, total, already_processed, sent, rate, created_at, started_at, finished_at)
    values (${set}, '{}', 'REPUBLISH', 'DONE', 3, 3, 3, 5, ${old}, ${old}, ${before})`;
  await db.sql`
    insert into replay_events (replay_id, position, event_id, consumer, settled_at, result)
    values (${set}, 1, ${sent}, 'a', ${before}, 'SENT'), (${set}, 2, ${skipped}, 'a', ${before}, 'SKIPPED'),
           (${set}, 3, ${longAgo}, 'a', ${last}, 'SENT')`;
  await pruneToEnd(sql);
  assertEquals(await readEvents(db), [sent]);
  assertEquals((await db.sql`select from processed_events where event_id = ${sent}`).count, 2);
  assertEquals((await db.sql`select from replay_events`).count, 3);
  await prune(sql, { ...all, before: new Date(before.getTime() + 1) });
  assertEquals(await readEvents(db), [], "its copy is old by now, too");
  assertEquals((await db.sql`select from replay_events`).count, 0);
});

Deno.test("prune() deletes what was published before a consumer was bound to it, and goes on behind what has to stay", async () => {
  await using db = await testSchema();
  const since = new Date(old.getTime() + 1);
  const processedBy = ["a"];
  await insertEvents(db, 1, { processedBy });
  await db.sql`insert into reconciliation_cursors values ('b', 'order.created', ${since}, ${since})`;
  const owed = await insertEvents(db, 5, { at: since, processedBy });
  await insertEvents(db, 1, { at: new Date(old.getTime() + 10) });
  await pruneToEnd(db.as("orderflow_retention"));
  assertEquals(await readEvents(db), owed.toSorted());
});

Deno.test("prune() deletes old replays with their sets, a part at a time, and none that is running", async () => {
  await using db = await testSchema();
  const insertReplay = async (at: Date, isRunning: boolean) => {
    const id = uuidv7({ msecs: old.getTime() }); // by a clock that may be wrong
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
  for (let i = 0; i < 3; i++) pruned.push((await prune(sql, { ...all, limit: 2 })).rows);
  assertEquals(pruned, [2, 1 + 1, 0]);
  const left = await db.sql`
    select r.id, count(*)::int as set from replays r join replay_events e on e.replay_id = r.id group by 1 order by 1`;
  assertEquals(new Map(left.map(({ id, set }) => [id, set])), new Map([[running, 3], [young, 3]]));
});
