import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { eventually } from "../../specs/support/eventually.ts";
import { type TestApp, testApp } from "../../specs/support/test_app.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import {
  appendEvents,
  insertHistory,
  newHeartbeat,
  newLetter,
  newRetry,
  ORDER,
  orderCreated,
} from "../../specs/support/test_events.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { messagesPageSchema, type MessageState, whySchema } from "../../shared/ops/answers.ts";
import { armFaults } from "../../shared/ops/faults.ts";
import { type SystemStatus, systemStatusSchema } from "../../shared/ops/live.ts";
import { beat } from "../../shared/process/heartbeat.ts";
import { VERSION } from "../../shared/process/metrics.ts";
import { connect, transaction } from "../../shared/sql/connect.ts";
import { insertDeadLetters, insertRetries } from "../../shared/sql/set_aside.ts";
import { AT, figures } from "../../workers/tools/testdata/statuses.ts";
import { createLiveFeed } from "./live.ts";

shareTestSchema();

const PAYMENTS = "payments.order-created.v1";

async function statusOf({ call }: TestApp): Promise<SystemStatus> {
  return systemStatusSchema.parse(await call("GET /ops/status"));
}

Deno.test("/ops/status tells of orders, processes, replays under way and faults, and of nothing that has ended", async () => {
  await using db = await testSchema();
  const subject = testApp(db, { faults: usualTopology(), isBrokerUp: () => true });
  await insertHistory(db.sql, "COMPLETED");
  await insertHistory(db.sql, "REFUNDED");
  await beat(db.sql, newHeartbeat({ counts: { published: 3 } }));
  await db.sql`update outbox_events set published_at = now(), occurred_at = now()`;
  for (let i = 0; i < 3; i++) await subject.call("POST /ops/replays", { type: "order.created" });
  const [running, cancelled] = await db.sql<{ id: string }[]>`select id from replays order by id`;
  await subject.call(`POST /ops/replays/${running?.id}/start`);
  await subject.call(`POST /ops/replays/${cancelled?.id}/cancel`);
  const fault = { consumer: null, correlationId: null, delayMs: null };
  await armFaults(db.sql, [{ point: "provider.failing", times: 2, ...fault }], new Date());

  const { version, database, broker, figures } = await statusOf(subject);
  assertEquals([version, database, broker], [VERSION, "up", "up"]);
  assertEquals(figures?.orders, { COMPLETED: 1, REFUNDED: 1 });
  assertEquals(figures?.replays.map(({ id, total, sent }) => [id, total, sent]), [[running?.id, 2, 0]]);
  assertEquals(figures?.faults, [{ point: "provider.failing", consumer: null, times: 2 }]);
  assertEquals(figures?.processes.map(({ name, version, counts }) => [name, version, counts]), [
    ["outbox-relay", "1.2.3", { published: 3 }],
  ]);
  const without = await statusOf(testApp(db));
  assertEquals([without.broker, without.figures?.faults], ["down", null]);
});

Deno.test("/ops/status answers while the database is away, without figures", async () => {
  await using db = await testSchema();
  const away = connect("postgres://127.0.0.1:1/none", { name: "test", role: null, max: 1 });
  const live = createLiveFeed({ sql: away, readQueues: () => Promise.resolve(null), log: testLog });
  const never = await statusOf(testApp(db, { ordersSql: away, opsSql: away, isSchemaReady: () => false }));
  assertEquals([never.database, never.figures], ["down", null]);
  const since = await statusOf(testApp(db, { ordersSql: away, opsSql: away, live }));
  assertEquals([since.database, since.figures], ["down", null]);
  const between = await statusOf(testApp(db, { live })); // it answered the first question only
  assertEquals([between.database, between.figures], ["up", null]);
  await live.close();
  await away.end({ timeout: 1 });
});

Deno.test("what keeps the ops routes waiting leaves the API ready, and /ops/status answers without figures", async () => {
  await using db = await testSchema();
  const opsSql = connect(db.url, { name: "test", role: null, max: 1 });
  const [begun, hold] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const held = transaction(opsSql, async () => {
    begun.resolve();
    await hold.promise;
  });
  await begun.promise;
  const subject = testApp(db, { opsSql, isBrokerUp: () => true });
  assertEquals((await subject.call("GET /readyz")).database, "up");
  const { database, figures } = await statusOf(subject);
  assertEquals([database, figures], ["up", null]);
  hold.resolve();
  await held;
  await eventually("figures", async () => (await statusOf(subject)).figures !== null);
  await opsSql.end({ timeout: 1 });
});

Deno.test("GET /ops/orders/:id/why follows an order by what the tables say of its event, and advises what there is", async () => {
  await using db = await testSchema();
  const { sql } = db;
  const live = {
    ...testApp(db).deps.live,
    read: () => Promise.resolve({ ...figures(), at: AT, orders: [] }),
  };
  const { ask, call } = testApp(db, { live });
  const { id } = await call("POST /orders", ORDER);
  const [{ eventId } = { eventId: "" }] = await sql<{ eventId: string }[]>`
    select id as "eventId" from outbox_events`;
  const set = (to: string) => () => sql.unsafe(`update outbox_events set ${to}`);
  const republish = `POST /ops/outbox/${eventId}/republish`;
  const settle = (state: string, ago: string) =>
    sql`update dead_letters set state = ${state}, resolution = 'r', resolved_at = now() - ${ago}::interval`;
  const refused = "retry_count = 1, last_error = 'no route', next_attempt_at = now() + interval '1 hour'";
  const steps: [does: () => PromiseLike<unknown>, cause: string, says: string, helps?: string][] = [
    [set("occurred_at = now()"), "outbox", "has waited in the outbox for"],
    [set(refused), "refused", "refuses its order.created: no route", `GET /ops/outbox/${eventId}`],
    [set("published_at = now()"), "processing", "and is being processed"],
    [set("published_at = now() - interval '1 hour'"), "lost", "seems lost", republish],
    [() => sql`insert into lost_events values (${eventId}, ${PAYMENTS})`, "lost", "is lost", republish],
    [
      () => insertRetries(sql, [newRetry(PAYMENTS, { eventId, error: "away", delayMs: 60_000 })]),
      "retry",
      `${PAYMENTS} could not process its order.created: away`,
    ],
    [
      () => insertDeadLetters(sql, [newLetter(PAYMENTS, { eventId })]),
      "dead-letter",
      '"retries exhausted": it is dead letter',
      "POST /ops/dead-letters/",
    ],
    [
      async () => {
        await sql`delete from delayed_retries`;
        await sql`delete from lost_events`;
        await settle("REDRIVEN", "0 s");
      },
      "processing",
      " ms ago, and is being processed",
    ],
    [() => settle("DISCARDED", "1 minute"), "discarded", "was discarded"],
    [ // what was sent again is on its way since then: no letter that was discarded before holds it up
      async () => {
        await call("POST /ops/replays", { type: "order.created" });
        await sql`update replay_events set result = 'SENT', settled_at = now()`;
      },
      "processing",
      "and is being processed",
    ],
    [() => sql`update orders set status = 'COMPLETED'`, "final", "Nothing: COMPLETED is final."],
  ];
  for (const [does, cause, says, helps] of steps) {
    await does();
    const why = whySchema.parse(await call(`GET /ops/orders/${id}/why`));
    assertEquals(why.cause, cause, why.sentence);
    assertStringIncludes(why.sentence, says);
    if (!helps) continue;
    const [advice = ""] = /(GET|POST) \/ops[\w/-]+/.exec(why.action ?? "") ?? [];
    assertStringIncludes(advice, helps);
    assert((await ask(advice)).status !== 404, advice);
  }
  assertEquals((await ask(`GET /ops/orders/${crypto.randomUUID()}/why`)).status, 404);
});

/** One message in each state, oldest first, and a letter that is no event. Answers with the events' ids by state. */
async function oneOfEach({ sql }: TestSchema) {
  const states = ["waiting", "queued", "retrying", "dead", "absorbed", "done"] as const;
  const events = states.map((state) => [state, orderCreated()] as const);
  await appendEvents(sql, events.map(([, event]) => event));
  const idOf = Object.fromEntries(events.map(([state, { event }]) => [state, event.eventId])) as Record<
    MessageState,
    string
  >;
  await sql`update outbox_events set published_at = now() where id <> ${idOf.waiting}`;
  await insertRetries(sql, [newRetry(PAYMENTS, { eventId: idOf.retrying, error: "provider away" })]);
  const noEvent = newLetter(PAYMENTS, { eventId: null, body: new Uint8Array([1]), detail: "no text" });
  await insertDeadLetters(sql, [newLetter(PAYMENTS, { eventId: idOf.dead }), noEvent]);
  for (const id of [idOf.absorbed, idOf.done]) {
    await sql`insert into processed_events values (${id}, ${PAYMENTS}, now())`;
  }
  await sql`update processed_events set duplicates = 2, last_duplicate_at = now() where event_id = ${idOf.absorbed}`;
  return { idOf, orderId: events[0]?.[1].event.data.orderId ?? "" };
}

Deno.test("GET /messages has each message once, with where it is, why, and what can be done", async () => {
  await using db = await testSchema();
  const { call } = testApp(db);
  const { idOf, orderId } = await oneOfEach(db);
  const list = async (query: Record<string, string>) =>
    messagesPageSchema.parse(await call(`GET /ops/messages?${new URLSearchParams(query)}`));
  const statesOf = async (query: Record<string, string>) =>
    (await list(query)).messages.map(({ state }) => state);

  const all = await list({});
  assertEquals(all.messages.map(({ state, eventId }) => [state, eventId]), Object.entries(idOf).toReversed());
  assertEquals(all.counts, { waiting: 1, queued: 1, retrying: 1, dead: 2, absorbed: 1, done: 1 });
  for (const state of ["waiting", "queued", "retrying", "absorbed", "done"] as const) {
    const { messages, nextCursor } = await list({ state });
    assertEquals([messages.map(({ eventId }) => eventId), nextCursor], [[idOf[state]], null], state);
  }
  const [retrying] = (await list({ state: "retrying" })).messages;
  assertEquals([retrying?.detail, retrying?.dueAt !== null], ["provider away", true]);
  const dead = (await list({ state: "dead" })).messages;
  assertEquals(dead.map(({ eventId, detail }) => [eventId, detail]), [
    [null, "retries exhausted: no text"],
    [idOf.dead, "retries exhausted: timed out"],
  ]);

  const cases: [query: Record<string, string>, found: MessageState[]][] = [
    [{ search: idOf.done }, ["done"]],
    [{ search: orderId }, ["waiting"]],
    [{ search: dead[0]?.deadLetterId ?? "", state: "dead" }, ["dead"]],
    [{ search: "test-correlation", state: "done" }, ["done"]],
    [{ search: "another" }, []],
    [{ type: "payment.failed" }, []],
    [{ consumer: "orders.payment-events.v1" }, []],
    [{ consumer: PAYMENTS, type: "order.created", state: "queued" }, ["queued"]],
  ];
  for (const [query, found] of cases) assertEquals(await statesOf(query), found, JSON.stringify(query));
  assertEquals((await list({ search: idOf.done })).counts?.dead, 0);
});

Deno.test("GET /messages goes on behind the 10,000 dead letters that one request looks at, and finds one by its id at once", async () => {
  await using db = await testSchema();
  const { call } = testApp(db);
  await insertDeadLetters(db.sql, [newLetter("first")]);
  await db.sql`
    insert into dead_letters (id, consumer, body, reason, detail, attempts, first_failed_at, last_failed_at)
    select ('ffffffff-ffff-7fff-bfff-' || lpad(n::text, 12, '0'))::uuid, ${PAYMENTS}, n::text::bytea, 'r', 'd', 1, now(), now()
    from generate_series(1, 10000) as n`;
  const list = async (query: string) =>
    messagesPageSchema.parse(await call(`GET /ops/messages?state=dead&${query}`));
  const page = await list("consumer=first");
  assertEquals(page.messages, []);
  const { messages: [letter], nextCursor } = await list(`consumer=first&cursor=${page.nextCursor}`);
  assertEquals([letter?.consumer, nextCursor], ["first", null]);
  assertEquals((await list(`search=${letter?.deadLetterId}`)).messages, [letter]);
});
