import { assert, assertEquals, assertObjectMatch, assertStringIncludes } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import {
  MAX_REPLAY_MESSAGES,
  readOutcome,
  type ReplayEventRow,
  type ReplayRow,
  startReplay,
} from "../../shared/ops/replays.ts";
import { connect, transaction } from "../../shared/sql/connect.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { testClock } from "../../specs/support/test_clock.ts";
import { insertPublished, ORDER, type PublishedEventOptions } from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";

shareTestSchema();

const PAYMENTS = "payments.order-created.v1";
const ORDERS = "orders.payment-events.v1";
const ENROLLMENTS = "enrollments.payment-succeeded.v1";
const DAYS = 14;
const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000);

/** The application, and what prepares a replay, which must be possible. */
function appOn(db: TestSchema) {
  const api = testApp(db, { retentionDays: DAYS });
  const prepare = (filter: object): Promise<ReplayRow & Page> => api.call("POST /ops/replays", filter);
  return { ...api, prepare };
}

type Page = { readonly events: readonly ReplayEventRow[]; readonly nextCursor: string | null };

function created(db: TestSchema, options?: PublishedEventOptions, orderId = uuidv7()): Promise<string> {
  return insertPublished(db.sql, "order.created", { ...ORDER, orderId }, options);
}

function paid(db: TestSchema, options?: PublishedEventOptions, orderId = uuidv7()): Promise<string> {
  const { userId: _, ...data } = { ...ORDER, orderId, paymentId: uuidv7() };
  return insertPublished(db.sql, "payment.succeeded", data, options);
}

const idsOf = ({ events }: Page) => events.map(({ eventId }) => eventId);

Deno.test("POST /replays writes down the exact set, and what is published later is not in it", async () => {
  await using db = await testSchema();
  const { call, prepare } = appOn(db);
  const first = await created(db, { at: daysAgo(2) });
  const second = await paid(db, { at: daysAgo(1) });
  await created(db, { published: false });
  await db.sql`insert into processed_events values (${second}, ${ORDERS}, now())`;
  const replay = await prepare({ from: daysAgo(3).toISOString() });
  const counts = { total: 3, alreadyProcessed: 1, sent: 0, skipped: 0 };
  assertObjectMatch(replay, { state: "PREPARED", ratePerSecond: null, ...counts });
  const wanted = [[1, first, PAYMENTS, false], [2, second, ENROLLMENTS, false], [3, second, ORDERS, true]];
  const rowsOf = ({ events }: Page) => events.map((e) => [e.position, e.eventId, e.consumer, e.processed]);
  assertEquals(rowsOf(replay), wanted);
  await created(db, { at: daysAgo(2) });
  await db.sql`update outbox_events set published_at = now()`;
  assertEquals(rowsOf(await call(`GET /ops/replays/${replay.id}/events`)), wanted);
  assertEquals((await call(`GET /ops/replays/${replay.id}`)).total, 3);
});

Deno.test("POST /replays filters by type, time, order, correlation id and consumer, each alone and together", async () => {
  await using db = await testSchema();
  const { prepare } = appOn(db);
  const order = uuidv7();
  const old = await created(db, { at: daysAgo(5), correlationId: "mine" }, order);
  const mine = await paid(db, { at: daysAgo(4), correlationId: "mine" }, order);
  const other = await created(db, { at: daysAgo(3) });
  const young = await paid(db, { at: daysAgo(2) });
  const [row] = await db.sql`select occurred_at as at from outbox_events where id = ${other}`;
  const at: string = row?.at.toISOString();
  const cases: [object, string[]][] = [
    [{ type: "order.created" }, [old, other]],
    [{ from: at }, [other, young, young]],
    [{ to: at }, [old, mine, mine]],
    [{ from: daysAgo(4.5).toISOString(), to: daysAgo(2.5).toISOString() }, [mine, mine, other]],
    [{ orderId: order.toUpperCase() }, [old, mine, mine]],
    [{ correlationId: "mine" }, [old, mine, mine]],
    [{ consumer: ENROLLMENTS }, [mine, young]],
    [{ consumer: ENROLLMENTS, correlationId: "mine" }, [mine]],
    [{ consumer: ENROLLMENTS, type: "order.created" }, []],
    [{ orderId: uuidv7() }, []],
  ];
  for (const [filter, wanted] of cases) {
    const replay = await prepare(filter);
    assertEquals([idsOf(replay), replay.total], [wanted, wanted.length], JSON.stringify(filter));
    if ("consumer" in filter) assert(replay.events.every(({ consumer }) => consumer === filter.consumer));
  }
});

Deno.test("POST /replays refuses what is no filter, and names the field at fault", async () => {
  await using db = await testSchema();
  const { ask } = appOn(db);
  const cases: [object, string][] = [
    [{}, "needs at least one of type, from, to, orderId, eventId, correlationId, consumer"],
    [{ kind: "order.created" }, "kind"],
    [{ type: "order.lost" }, "must be one of order.created"],
    [{ from: "yesterday" }, "must be a time such as"],
    [{ from: "2026-11-22T17:15:43" }, "must be a time such as"],
    [{ to: "0000-01-01T00:00:00Z" }, "must not be before 1970"],
    [{ from: daysAgo(1).toISOString(), to: daysAgo(2).toISOString() }, "must be later than from"],
    [{ orderId: "7" }, "must be a uuid"],
    [{ consumer: "payments" }, `must be one of ${PAYMENTS}, `],
  ];
  for (const [filter, wanted] of cases) {
    const { status, body } = await ask("POST /ops/replays", filter);
    assertEquals(status, 400, JSON.stringify(filter));
    assertStringIncludes(JSON.stringify(body), wanted);
  }
  assertEquals((await db.sql`select from replays`).count, 0);
});

Deno.test("POST /replays refuses what is older than the inbox remembers, by the database's clock, and says why and what to do", async () => {
  await using db = await testSchema();
  const { ask, call, prepare } = appOn(db);
  const refusal = async (filter: object): Promise<string> => {
    const { status, body } = await ask("POST /ops/replays", filter);
    assertEquals(status, 422);
    return body.detail;
  };
  const from = daysAgo(DAYS + 1).toISOString();
  const byFrom = await refusal({ from });
  for (const part of [`from is ${from}`, "RETENTION_DAYS", "Narrow the replay: a from of "]) {
    assertStringIncludes(byFrom, part);
  }
  await created(db, { at: daysAgo(DAYS + 2) });
  const young = await created(db);
  const byEvent = await refusal({ type: "order.created" });
  assertStringIncludes(byEvent, "the oldest event that matches is of ");
  assertEquals((await db.sql`select from replays`).count, 0);
  // What the answer advises works.
  const since = byEvent.match(/a from of (\S+) or later/)?.[1];
  using clock = testClock();
  clock.aheadMs = 20 * 86_400_000;
  const replay = await prepare({ type: "order.created", from: since });
  assertEquals(idsOf(replay), [young]);
  assertEquals((await call(`POST /ops/replays/${replay.id}/start`, {})).state, "RUNNING");
});

Deno.test("POST /replays refuses a set that is too large, and writes nothing down", async () => {
  await using db = await testSchema();
  // Ids far in the future, which are on this side of the horizon.
  await db.sql`
    insert into outbox_events (id, type, order_id, correlation_id, payload, occurred_at, published_at)
    select overlay(gen_random_uuid()::text placing 'f' from 1)::uuid, 'order.created', gen_random_uuid(), 'c', '{}',
           now(), now()
    from generate_series(1, ${MAX_REPLAY_MESSAGES})`;
  const { ask, prepare } = appOn(db);
  assertEquals((await prepare({ type: "order.created" })).total, MAX_REPLAY_MESSAGES);
  await created(db);
  const { status, body } = await ask("POST /ops/replays", { type: "order.created" });
  assertEquals(status, 422);
  assertStringIncludes(body.detail, `More than ${MAX_REPLAY_MESSAGES} messages match`);
  assertEquals((await db.sql`select from replays`).count, 1);
});

Deno.test("POST /replays/:id/start starts a prepared replay once, at a rate within bounds, before it expires", async () => {
  await using db = await testSchema();
  const { ask, prepare } = appOn(db);
  await created(db);
  const prepared = async () => (await prepare({ type: "order.created" })).id;
  const start = (id: string, ...body: object[]) => ask(`POST /ops/replays/${id}/start`, ...body);
  const [id, other, last, old] = [await prepared(), await prepared(), await prepared(), await prepared()];
  for (const wrong of [{ rate: 5 }, ...[0, 5001, 1.5, "fast"].map((ratePerSecond) => ({ ratePerSecond }))]) {
    assertEquals((await start(id, wrong)).status, 400, JSON.stringify(wrong));
  }
  const { status, body } = await start(id, { ratePerSecond: 50 });
  assertEquals([status, body.state, body.ratePerSecond, body.startedAt !== null], [202, "RUNNING", 50, true]);
  const bare = await start(other);
  assertEquals([bare.status, bare.body.ratePerSecond], [202, 200]);
  const both = await Promise.all([10, 20].map((rate) => startReplay(db.sql, last, rate)));
  assertEquals(both.filter((replay) => replay?.state === "RUNNING").length, 1, "started twice");
  await db.sql`update replays set created_at = ${daysAgo(1)}`;
  const refusals: [string, number, string][] = [
    [id, 409, "The replay is RUNNING."],
    [uuidv7(), 404, "There is no such replay."],
    [old, 422, "The set has expired at "],
  ];
  for (const [id, status, detail] of refusals) {
    const refused = await start(id, {});
    assertEquals(refused.status, status);
    assertStringIncludes(refused.body.detail, detail);
  }
});

Deno.test("POST /replays/:id/cancel ends what is prepared or running, and says 409 for what has ended", async () => {
  await using db = await testSchema();
  const { ask, call, prepare } = appOn(db);
  await created(db);
  for (const isStarted of [false, true]) {
    const { id } = await prepare({ type: "order.created" });
    if (isStarted) await call(`POST /ops/replays/${id}/start`, {});
    const { state, reason, finishedAt } = await call(`POST /ops/replays/${id}/cancel`);
    assertEquals([state, reason, finishedAt !== null], ["CANCELLED", "cancelled by an operator", true]);
    for (const action of ["cancel", "start"]) {
      const { status, body } = await ask(`POST /ops/replays/${id}/${action}`);
      assertEquals(status, 409);
      assertStringIncludes(body.detail, "The replay is CANCELLED (cancelled by an operator).");
    }
  }
  assertEquals((await ask(`POST /ops/replays/${uuidv7()}/cancel`)).status, 404);
});

Deno.test("what became of a set is looked up by event, however many letters its consumer has open by then", async () => {
  await using db = await testSchema();
  const id = uuidv7();
  await db.sql`
    with set as (
      insert into replays (id, filter, state, total, already_processed, sent, rate, created_at, started_at, finished_at)
      values (${id}, '{}', 'DONE', 1000, 0, 1000, 5, now(), now(), now()) returning id
    ), sent as (
      insert into replay_events (replay_id, position, event_id, consumer, settled_at, result)
      select id, n, gen_random_uuid(), ${PAYMENTS}, now(), 'SENT' from set, generate_series(1, 1000) as n
      returning event_id
    )
    insert into dead_letters (id, consumer, event_id, body, reason, detail, attempts, first_failed_at, last_failed_at)
    select gen_random_uuid(), ${PAYMENTS}, event_id, event_id::text::bytea, 'r', 'd', 1, now(), now() from sent`;
  const sql = connect(db.url, { name: "test", role: "orderflow_ops", max: 1 });
  await using _ = { [Symbol.asyncDispose]: () => sql.end() };
  const { consumers: [consumer] } = await readOutcome(sql, id);
  assertEquals(consumer?.became, { "failed again": 1000 });
  await sql`select pg_stat_force_next_flush()`;
  const [row] = await sql`
    select idx_tup_fetch::int as read from pg_stat_user_tables where relname = 'dead_letters'`;
  assert(row?.read < 5000, `${row?.read} letters were read`);
});

Deno.test("a cancel waits for a sending that is under way for longer than a statement waits for a lock", async () => {
  await using db = await testSchema();
  await created(db);
  const { ask, prepare } = appOn(db);
  const { id } = await prepare({ type: "order.created" });
  let cancelling: ReturnType<typeof ask> | undefined;
  await transaction(db.sql, async (tx) => {
    await tx`select from replays for update`; // as who sends does
    cancelling = ask(`POST /ops/replays/${id}/cancel`);
    const waiting = () =>
      db.sql`
        select from pg_stat_activity where wait_event_type = 'Lock' and query like '%update replays%'
          and query_start < clock_timestamp() - interval '2 seconds' and datname = current_database()`;
    await eventually("the cancel to have waited for 2 s", async () => (await waiting()).count);
  });
  const response = await cancelling;
  assertEquals([response?.status, response?.body.state], [200, "CANCELLED"]);
});
