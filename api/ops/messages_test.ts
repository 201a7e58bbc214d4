import { assertEquals } from "@std/assert";
import type { z } from "zod/mini";
import { messagesPageSchema, type MessageState } from "../../shared/ops/answers.ts";
import { insertDeadLetters, insertRetries } from "../../shared/sql/set_aside.ts";
import { testApp } from "../../specs/support/test_app.ts";
import { appendEvents, newLetter, newRetry, orderCreated } from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";

shareTestSchema();

const CONSUMER = "payments.order-created.v1";

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
  await insertRetries(sql, [newRetry(CONSUMER, { eventId: idOf.retrying, error: "provider away" })]);
  const noEvent = newLetter(CONSUMER, { eventId: null, body: new Uint8Array([1]), detail: "no text" });
  await insertDeadLetters(sql, [newLetter(CONSUMER, { eventId: idOf.dead }), noEvent]);
  for (const id of [idOf.absorbed, idOf.done]) {
    await sql`insert into processed_events values (${id}, ${CONSUMER}, now())`;
  }
  await sql`update processed_events set duplicates = 2, last_duplicate_at = now() where event_id = ${idOf.absorbed}`;
  return { idOf, orderId: events[0]?.[1].event.data.orderId ?? "" };
}

Deno.test("GET /messages has each message once, with where it is, why, and what can be done", async () => {
  await using db = await testSchema();
  const { call } = testApp(db);
  const { idOf, orderId } = await oneOfEach(db);
  const list = async (query: Record<string, string>): Promise<z.infer<typeof messagesPageSchema>> =>
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
    [{ consumer: CONSUMER, type: "order.created", state: "queued" }, ["queued"]],
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
    select ('ffffffff-ffff-7fff-bfff-' || lpad(n::text, 12, '0'))::uuid, ${CONSUMER}, n::text::bytea, 'r', 'd', 1, now(), now()
    from generate_series(1, 10000) as n`;
  const list = async (query: string): Promise<z.infer<typeof messagesPageSchema>> =>
    messagesPageSchema.parse(await call(`GET /ops/messages?state=dead&${query}`));
  const page = await list("consumer=first");
  assertEquals(page.messages, []);
  const { messages: [letter], nextCursor } = await list(`consumer=first&cursor=${page.nextCursor}`);
  assertEquals([letter?.consumer, nextCursor], ["first", null]);
  assertEquals((await list(`search=${letter?.deadLetterId}`)).messages, [letter]);
});
