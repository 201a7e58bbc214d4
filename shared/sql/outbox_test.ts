import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { appendEvents, orderCreated } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import type { Sql } from "./connect.ts";
import {
  claimingEvents,
  createWakeUps,
  firstIdOf,
  markingPublished,
  markingRefused,
  RELAY_SETTINGS,
  timeOfId,
} from "./outbox.ts";
import { poolOf } from "./testdata/probe.ts";
import { findEvent, hurryEvent } from "../ops/lists.ts";

shareTestSchema();

async function append(sql: Sql, count: number): Promise<string[]> {
  const events = Array.from({ length: count }, () => orderCreated());
  await appendEvents(sql, events);
  return events.map(({ event }) => event.eventId);
}

Deno.test("claimingEvents() gives what was appended, in order, and skips what another relay has claimed until that ends", async () => {
  await using db = await testSchema();
  const { event, traceparent } = orderCreated();
  await appendEvents(db.as("orderflow_orders"), [{ event, traceparent }]);
  const ids = [event.eventId, ...await append(db.sql, 3)];
  const [one, two] = [db.as("orderflow_relay"), db.as("orderflow_relay")];
  await one.begin(async (tx) => {
    const [first, ...others] = await claimingEvents(tx, 2);
    assertEquals([JSON.parse(first?.body ?? ""), first?.traceparent], [event, traceparent]);
    assertEquals(others.map(({ id }) => id), ids.slice(1, 2));
    assertEquals((await claimingEvents(two, 10)).map(({ id }) => id), ids.slice(2));
  });
  assertEquals((await claimingEvents(two, 10)).map(({ id }) => id), ids);
});

Deno.test("markingRefused() keeps an event back until its time or until it is hurried, says why, and lets the rows behind it go on; what is published is claimed no more", async () => {
  await using db = await testSchema();
  const [bad = "", ...good] = await append(db.sql, 3);
  const relay = db.as("orderflow_relay");
  const claim = async () => (await claimingEvents(relay, 10)).map(({ id, retryCount }) => [id, retryCount]);
  const fresh = good.map((id) => [id, 0]);
  await markingRefused(relay, [{ id: bad, error: "returned by the broker: NO_ROUTE", retryInMs: 60_000 }]);
  assertEquals(await claim(), fresh);
  const row = await findEvent(db.sql, bad);
  const known = [row?.publishedAt, row?.retryCount, row?.lastError];
  assertEquals(known, [null, 1, "returned by the broker: NO_ROUTE"]);
  await markingRefused(relay, [{ id: bad, error: "a\0\ud800", retryInMs: -1 }]); // as a broker may word it
  assertEquals((await findEvent(db.sql, bad))?.lastError, "a\u{FFFD}\u{FFFD}");
  assertEquals(await claim(), [...fresh, [bad, 2]], "due again: behind those that were never tried");
  await markingRefused(relay, [{ id: bad, error: "no", retryInMs: 60_000 }]);
  await markingPublished(relay, good);
  assertEquals(await claim(), []);
  for (const id of [bad, good[0] ?? ""]) await hurryEvent(db.as("orderflow_ops"), id);
  assertEquals(await claim(), [[bad, 3]]);
});

Deno.test("claimingEvents() reads as many rows as it takes, with 20,000 published, waiting and backing off", async () => {
  await using db = await testSchema();
  await db.sql`
    insert into outbox_events (id, type, order_id, correlation_id, payload, occurred_at, published_at, retry_count,
                               next_attempt_at)
    select gen_random_uuid(), 'order.created', gen_random_uuid(), 'c', '{}', now(),
           case when n % 3 = 0 then now() end, n % 3,
           case when n % 3 = 2 then now() + interval '1 hour' else '-infinity' end
    from generate_series(1, 20000) as n`;
  // Without statistics: they may have been taken while the outbox was empty, and must not matter.
  await using relay = poolOf(db.url, { role: "orderflow_relay", settings: RELAY_SETTINGS });
  const [row] = await relay.sql`
    explain (analyze, costs off, timing off, summary off, format json) ${claimingEvents(relay.sql, 100)}`;
  const plan = JSON.stringify(row);
  assertStringIncludes(plan, '"Index Name":"outbox_events_unpublished"');
  assertEquals(plan.includes('"Node Type":"Sort"'), false, plan);
  assertStringIncludes(plan, '"Node Type":"Index Scan"');
});

Deno.test("claimingEvents() behind an id does not step over what was published since somebody began a transaction", async () => {
  await using db = await testSchema();
  await using relay = poolOf(db.url, { role: "orderflow_relay", settings: RELAY_SETTINGS });
  await db.as("orderflow_ops").begin("isolation level repeatable read", async (tx) => {
    await tx`select from outbox_events`; // takes the snapshot
    const old = await append(db.sql, 2000);
    await markingPublished(relay.sql, old);
    const [next = ""] = await append(db.sql, 1);
    for (const [after, atLeast, atMost] of [[null, 2000, Infinity], [old.at(-1) ?? "", 1, 10]] as const) {
      const before = await entriesRead(relay.sql);
      assertEquals((await claimingEvents(relay.sql, 10, after)).map(({ id }) => id), [next]);
      const read = await entriesRead(relay.sql) - before;
      assert(read >= atLeast && read <= atMost, `${read} entries were read behind ${after}`);
    }
  });
});

/** Entries of the claim's index that were read so far. */
async function entriesRead(sql: Sql): Promise<number> {
  await sql`select pg_stat_force_next_flush()`;
  const [row] = await sql<{ read: number }[]>`
    select idx_tup_read::int as read from pg_stat_user_indexes where indexrelname = 'outbox_events_unpublished'`;
  return row?.read ?? 0;
}

Deno.test("firstIdOf() lies between the ids of before and after its instant, and timeOfId() reads it back", () => {
  const instant = new Date("2026-01-02T03:04:05.678Z");
  const [before, after] = [-1, 0].map((ms) => uuidv7({ msecs: instant.getTime() + ms }));
  assert(before && after && before < firstIdOf(instant) && firstIdOf(instant) <= after);
  assertEquals([after, firstIdOf(instant)].map(timeOfId), [instant, instant]);
});

Deno.test("createWakeUps() wakes at once, then at most once in 10 ms, and anew after a statement that failed", async () => {
  let nowMs = 0;
  const wakeUps = createWakeUps(() => nowMs);
  const isDue = async (rows: readonly unknown[] = ["a row"]) => {
    let answer = false;
    await wakeUps.carry((isDue) => {
      answer = isDue;
      return Promise.resolve(rows);
    });
    return answer;
  };
  const due: boolean[] = [];
  for (const ms of [0, 1, 9, 10, 19, 500, 501]) {
    nowMs = ms;
    due.push(await isDue());
  }
  assertEquals(due, [true, false, false, true, false, true, false]);
  const failing = () => wakeUps.carry(() => Promise.reject(new Error("rolled back")));
  await assertRejects(failing, Error, "rolled back");
  assertEquals(await isDue(), false, "it had not carried any");
  nowMs = 600;
  await assertRejects(failing, Error, "rolled back");
  assertEquals(await isDue([]), true);
  assertEquals([await isDue(), await isDue()], [true, false], "a statement without a row has woken nobody");
});
