import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import {
  MAX_REPLAY_MESSAGES,
  readOutcome,
  type ReplayEventRow,
  type ReplayRow,
  startReplay,
} from "../../shared/ops/replays.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import { connect, transaction } from "../../shared/sql/connect.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { insertPublished, type PublishedEventOptions } from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import type { App } from "../http.ts";

shareTestSchema();

const PAYMENTS = "payments.order-created.v1";
const ORDERS = "orders.payment-events.v1";
const ENROLLMENTS = "enrollments.payment-succeeded.v1";
const DAYS = 14;
const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000);

const appOn = (db: TestSchema): App => testApp(db, { retentionDays: DAYS }).app;

const post = (body: unknown): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

type Page = { readonly events: readonly ReplayEventRow[]; readonly nextCursor: string | null };

/** Prepares a replay, which must be possible. */
async function prepare(app: App, filter: object): Promise<ReplayRow & Page> {
  const response = await app.request("/ops/replays", post(filter));
  const answer = await response.json();
  assertEquals(response.status, 201, JSON.stringify(answer));
  return answer;
}

async function problemOf(response: Response): Promise<{ status: number; detail: string }> {
  assertEquals(response.headers.get("content-type"), "application/problem+json");
  return await response.json();
}

function created(db: TestSchema, options?: PublishedEventOptions, orderId = uuidv7()): Promise<string> {
  const data = { orderId, userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" };
  return insertPublished(db.sql, "order.created", data, options);
}

function paid(db: TestSchema, options?: PublishedEventOptions, orderId = uuidv7()): Promise<string> {
  const data = { orderId, paymentId: uuidv7(), courseId: RESERVED_COURSES.success, amount: "49.90" };
  return insertPublished(db.sql, "payment.succeeded", data, options);
}

const idsOf = ({ events }: Page) => events.map(({ eventId }) => eventId);

Deno.test("POST /replays writes down the exact set, and what is published later is not in it", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const first = await created(db, { at: daysAgo(2) });
  const second = await paid(db, { at: daysAgo(1) });
  await created(db, { published: false });
  await db.sql`insert into processed_events values (${second}, ${ORDERS}, now())`;
  const replay = await prepare(app, { from: daysAgo(3).toISOString() });
  const { state, total, alreadyProcessed, sent, skipped, ratePerSecond } = replay;
  assertEquals({ state, total, alreadyProcessed, sent, skipped, ratePerSecond }, {
    state: "PREPARED",
    total: 3,
    alreadyProcessed: 1,
    sent: 0,
    skipped: 0,
    ratePerSecond: null,
  });
  const wanted = [[1, first, PAYMENTS, false], [2, second, ENROLLMENTS, false], [3, second, ORDERS, true]];
  const rowsOf = ({ events }: Page) => events.map((e) => [e.position, e.eventId, e.consumer, e.processed]);
  assertEquals(rowsOf(replay), wanted);
  await created(db, { at: daysAgo(2) });
  await db.sql`update outbox_events set published_at = now()`;
  const later = await app.request(`/ops/replays/${replay.id}/events`);
  assertEquals(rowsOf(await later.json()), wanted);
  assertEquals((await (await app.request(`/ops/replays/${replay.id}`)).json()).total, 3);
});

Deno.test("POST /replays filters by type, time, order, correlation id and consumer, each alone and together", async () => {
  await using db = await testSchema();
  const app = appOn(db);
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
    const replay = await prepare(app, filter);
    assertEquals([idsOf(replay), replay.total], [wanted, wanted.length], JSON.stringify(filter));
    if ("consumer" in filter) assert(replay.events.every(({ consumer }) => consumer === filter.consumer));
  }
});

Deno.test("POST /replays refuses what is no filter, and names the field at fault", async () => {
  await using db = await testSchema();
  const app = appOn(db);
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
    const response = await app.request("/ops/replays", post(filter));
    assertEquals(response.status, 400, JSON.stringify(filter));
    assertStringIncludes(JSON.stringify(await response.json()), wanted);
  }
  assertEquals((await db.sql`select from replays`).count, 0);
});

Deno.test("POST /replays refuses what is older than the inbox remembers, and says why and what to do", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const from = daysAgo(DAYS + 1).toISOString();
  const byFrom = await problemOf(await app.request("/ops/replays", post({ from })));
  assertEquals(byFrom.status, 422);
  assertStringIncludes(byFrom.detail, `from is ${from}`);
  assertStringIncludes(byFrom.detail, "RETENTION_DAYS");
  assertStringIncludes(byFrom.detail, "Narrow the replay: a from of ");
  await created(db, { at: daysAgo(DAYS + 2) });
  const young = await created(db);
  const byEvent = await problemOf(await app.request("/ops/replays", post({ type: "order.created" })));
  assertEquals(byEvent.status, 422);
  assertStringIncludes(byEvent.detail, "the oldest event that matches is of ");
  assertEquals((await db.sql`select from replays`).count, 0);
  // What the answer advises works.
  const since = byEvent.detail.match(/a from of (\S+) or later/)?.[1];
  assertEquals(idsOf(await prepare(app, { type: "order.created", from: since })), [young]);
});

Deno.test("POST /replays tells what is too old by the database's clock, whatever the API's says", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await created(db);
  const { now } = Date;
  Date.now = () => now() + 20 * 86_400_000;
  try {
    const { id } = await prepare(app, { type: "order.created" });
    assertEquals((await app.request(`/ops/replays/${id}/start`, post({}))).status, 202);
  } finally {
    Date.now = now;
  }
});

Deno.test("POST /replays refuses a set that is too large, and writes nothing down", async () => {
  await using db = await testSchema();
  // Ids far in the future, which are on this side of the horizon.
  await db.sql`
    insert into outbox_events (id, type, order_id, correlation_id, payload, occurred_at, published_at)
    select overlay(gen_random_uuid()::text placing 'f' from 1)::uuid, 'order.created', gen_random_uuid(), 'c', '{}',
           now(), now()
    from generate_series(1, ${MAX_REPLAY_MESSAGES})`;
  const app = appOn(db);
  assertEquals((await prepare(app, { type: "order.created" })).total, MAX_REPLAY_MESSAGES);
  await created(db);
  const problem = await problemOf(await app.request("/ops/replays", post({ type: "order.created" })));
  assertEquals(problem.status, 422);
  assertStringIncludes(problem.detail, `More than ${MAX_REPLAY_MESSAGES} messages match`);
  assertEquals((await db.sql`select from replays`).count, 1);
});

Deno.test("POST /replays/:id/start starts a prepared replay once, at a rate within bounds", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await created(db);
  const { id } = await prepare(app, { type: "order.created" });
  for (const ratePerSecond of [0, 5001, 1.5, "fast"]) {
    assertEquals((await app.request(`/ops/replays/${id}/start`, post({ ratePerSecond }))).status, 400);
  }
  assertEquals((await app.request(`/ops/replays/${id}/start`, post({ rate: 5 }))).status, 400);
  const started = await app.request(`/ops/replays/${id}/start`, post({ ratePerSecond: 50 }));
  assertEquals(started.status, 202);
  const { state, ratePerSecond, startedAt } = await started.json();
  assertEquals([state, ratePerSecond, startedAt !== null], ["RUNNING", 50, true]);
  const again = await problemOf(await app.request(`/ops/replays/${id}/start`, post({})));
  assertEquals(again.status, 409);
  assertStringIncludes(again.detail, "The replay is RUNNING.");
  assertEquals((await app.request(`/ops/replays/${uuidv7()}/start`, post({}))).status, 404);
  const other = await prepare(app, { type: "order.created" });
  const last = await prepare(app, { type: "order.created" });
  const both = await Promise.all([10, 20].map((rate) => startReplay(db.sql, last.id, rate)));
  assertEquals(both.filter((replay) => replay?.state === "RUNNING").length, 1, "started twice");
  const bare = await app.request(`/ops/replays/${other.id}/start`, { method: "POST" });
  assertEquals([bare.status, (await bare.json()).ratePerSecond], [202, 200]);
});

Deno.test("POST /replays/:id/start refuses a set that has expired", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await created(db);
  const { id } = await prepare(app, { type: "order.created" });
  await db.sql`update replays set created_at = ${daysAgo(1)}`;
  const byAge = await problemOf(await app.request(`/ops/replays/${id}/start`, post({})));
  assertEquals(byAge.status, 422);
  assertStringIncludes(byAge.detail, "The set has expired at ");
  assertEquals((await (await app.request(`/ops/replays/${id}`)).json()).state, "PREPARED");
});

Deno.test("POST /replays/:id/cancel ends what is prepared or running, and says 409 for what has ended", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  await created(db);
  for (const isStarted of [false, true]) {
    const { id } = await prepare(app, { type: "order.created" });
    if (isStarted) await app.request(`/ops/replays/${id}/start`, post({}));
    const response = await app.request(`/ops/replays/${id}/cancel`, { method: "POST" });
    const { state, reason, finishedAt } = await response.json();
    assertEquals([response.status, state, reason], [200, "CANCELLED", "cancelled by an operator"]);
    assert(finishedAt);
    const again = await problemOf(await app.request(`/ops/replays/${id}/cancel`, { method: "POST" }));
    assertEquals(again.status, 409);
    assertStringIncludes(again.detail, "The replay is CANCELLED (cancelled by an operator).");
    assertEquals((await app.request(`/ops/replays/${id}/start`, post({}))).status, 409);
  }
  assertEquals((await app.request(`/ops/replays/${uuidv7()}/cancel`, { method: "POST" })).status, 404);
});

Deno.test("GET /replays lists them newest first, and both lists page", async () => {
  await using db = await testSchema();
  const app = appOn(db);
  const events = [];
  for (let i = 0; i < 5; i++) events.push(await created(db));
  const ids = [];
  for (let i = 0; i < 3; i++) ids.unshift((await prepare(app, { type: "order.created" })).id);
  const list = async (query: string) => await (await app.request(`/ops/replays?${query}`)).json();
  const first = await list("limit=2");
  assertEquals(first.replays.map(({ id }: ReplayRow) => id), ids.slice(0, 2));
  const rest = await list(`limit=2&cursor=${first.nextCursor}`);
  assertEquals([rest.replays.map(({ id }: ReplayRow) => id), rest.nextCursor], [ids.slice(2), null]);
  const seen: string[] = [];
  for (let cursor: string | null = "0"; cursor !== null;) {
    const page: Page = await (await app.request(`/ops/replays/${ids[0]}/events?limit=2&cursor=${cursor}`))
      .json();
    seen.push(...page.events.map(({ eventId }) => eventId ?? ""));
    cursor = page.nextCursor;
  }
  assertEquals(seen, events);
  assertEquals((await app.request(`/ops/replays/${ids[0]}/events?cursor=x`)).status, 400);
  assertEquals((await app.request(`/ops/replays/${uuidv7()}/events`)).status, 404);
});

Deno.test("what became of a set is looked up by event, however many letters its consumer has open by then", async () => {
  await using db = await testSchema();
  const id = uuidv7();
  await db.sql`
    insert into replays (id, filter, state, total, already_processed, sent, rate, created_at, started_at, finished_at)
    values (${id}, '{}', 'DONE', 1000, 0, 1000, 5, now(), now(), now())`;
  await db.sql`
    with sent as (
      insert into replay_events (replay_id, position, event_id, consumer, settled_at, result)
      select ${id}, n, gen_random_uuid(), ${PAYMENTS}, now(), 'SENT' from generate_series(1, 1000) as n
      returning event_id
    )
    insert into dead_letters (id, consumer, event_id, body, reason, detail, attempts, first_failed_at, last_failed_at)
    select gen_random_uuid(), ${PAYMENTS}, event_id, event_id::text::bytea, 'r', 'd', 1, now(), now() from sent`;
  const sql = connect(db.url, { name: "test", role: "orderflow_ops", max: 1 });
  try {
    const { consumers: [consumer] } = await readOutcome(sql, id);
    assertEquals(consumer?.became, { "failed again": 1000 });
    await sql`select pg_stat_force_next_flush()`;
    const [row] =
      await sql`select idx_tup_fetch::int as read from pg_stat_user_tables where relname = 'dead_letters'`;
    assert(row?.read < 5000, `${row?.read} letters were read`);
  } finally {
    await sql.end();
  }
});

Deno.test("a cancel waits for a sending that is under way for longer than a statement waits for a lock", async () => {
  await using db = await testSchema();
  await created(db);
  const app = appOn(db);
  const { id } = await prepare(app, { type: "order.created" });
  let cancelling: Response | Promise<Response> | undefined;
  await transaction(db.sql, async (tx) => {
    await tx`select from replays for update`; // as who sends does
    cancelling = app.request(`/ops/replays/${id}/cancel`, { method: "POST" });
    await eventually("the cancel to have waited for 2 s", async () => {
      const [waiting] = await db.sql`
        select from pg_stat_activity where wait_event_type = 'Lock' and query like '%update replays%'
          and query_start < clock_timestamp() - interval '2 seconds' and datname = current_database()`;
      return waiting !== undefined;
    });
  });
  const response = await cancelling;
  assertEquals([response?.status, (await response?.json()).state], [200, "CANCELLED"]);
});
