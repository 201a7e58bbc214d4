import { assertEquals, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { startConsumer } from "../shared/broker/consume.ts";
import { inEnvelope, type ParseEvent } from "../shared/broker/message.ts";
import { toExchange } from "../shared/broker/publish.ts";
import { ConfigError } from "../shared/process/config.ts";
import { rowset } from "../shared/sql/connect.ts";
import type { WritingRows } from "../shared/sql/inbox.ts";
import { insertingEvents } from "../shared/sql/outbox.ts";
import { createSetAside } from "../shared/sql/set_aside.ts";
import { recordEach, takeName } from "../workers/consumer.ts";
import { startRelay } from "../workers/relay/relay.ts";
import { eventually } from "./support/eventually.ts";
import { deleteTopology, openWire, testBroker } from "./support/test_broker.ts";
import { testLog } from "./support/test_log.ts";
import { shareTestSchema, testInbox, testSchema } from "./support/test_schema.ts";

shareTestSchema();

// A help desk: another catalogue, another topology and another table than those of orders.

const eventOf = <T extends string, D extends z.ZodRawShape>(type: T, data: D) =>
  z.object({
    eventId: z.uuid(),
    type: z.literal(type),
    version: z.literal(1),
    occurredAt: z.iso.datetime(),
    correlationId: z.string(),
    data: z.object({ ticketId: z.uuid(), ...data }),
  });
const opened = eventOf("ticket.opened", { question: z.string() });
const answered = eventOf("ticket.answered", { answer: z.string() });
const catalogue = z.discriminatedUnion("type", [opened, answered]);
type HelpDeskEvent = z.infer<typeof catalogue>;

const parse: ParseEvent<HelpDeskEvent> = (body) => {
  const { data: event, error } = catalogue.safeParse(JSON.parse(new TextDecoder().decode(body)));
  if (event) return { ok: true, event, aggregateId: event.data.ticketId };
  const about = { eventId: null, type: null, aggregateId: null, correlationId: null };
  return { ok: false, reason: "invalid payload", detail: error?.message ?? "", about };
};

/** What is told of a ticket. */
const tell = (type: string, ticketId: string, more: object) => {
  return { type, data: { ticketId, ...more }, aggregateId: ticketId };
};

const insertingAnswers: WritingRows<{ readonly id: string }> = (sql, answers, _now, where) =>
  sql`
    insert into answers (id, ticket_id, answer) select "id", "ticketId", "answer"
    from jsonb_to_recordset(${rowset(answers)}::text::jsonb)
      as new (cause uuid, id uuid, "ticketId" uuid, answer text)
    where ${where} on conflict (ticket_id) do nothing returning id`;

const answer = recordEach(
  insertingAnswers,
  ({ data: { ticketId, question } }: z.infer<typeof opened>) => {
    const row = { id: uuidv7(), ticketId, answer: question.toUpperCase() };
    return { row, tells: tell("ticket.answered", ticketId, { answer: row.answer }), note: "answered" };
  },
);

const TICKETS = 100;

Deno.test("outbox, relay and consumer serve a help desk: the engine knows no order", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using resources = new AsyncDisposableStack();
  const { sql } = db;
  await sql`create table answers (id uuid primary key, ticket_id uuid not null unique, answer text not null)`;
  resources.defer(async () => void await sql`drop table answers`);
  const [prefix, queue] = [broker.topology.exchange, `${broker.topology.exchange}.answers`];
  const queues = {
    answers: { name: queue, bindings: ["ticket.opened"] },
    archive: { name: `${prefix}.archive`, bindings: ["ticket.opened", "ticket.answered"] },
  };
  const topology = { exchange: `${prefix}.desk`, queues };
  resources.defer(() => deleteTopology(broker.url, topology));
  const { channel, publisher } = resources.use(await openWire({ url: broker.url, topology }));
  const stopping = new AbortController();
  const relay = startRelay({
    sql: db.as("orderflow_relay"),
    openSession: () => db.session("orderflow_relay"),
    publisher: () => publisher,
    route: toExchange(topology.exchange, new Set(queues.archive.bindings)),
    batchSize: 30,
    pollIntervalMs: 20,
    enabled: true,
    log: testLog,
  }, stopping.signal);
  resources.defer(async () => {
    stopping.abort();
    await relay.running;
  });
  const consumer = startConsumer({
    url: broker.url,
    topology,
    queue,
    maxMessageBytes: 65_536,
    batchSize: 30,
    retryPolicy: { maxRetries: 3, earlyMs: 1000 },
    parse,
    types: ["ticket.opened"],
    handle: answer({ inbox: testInbox(sql, queue) }),
    setAside: createSetAside(sql, queue),
    observers: [],
    log: testLog,
  });
  resources.defer(() => consumer.stop());

  const tickets = Array.from({ length: TICKETS }, (_, n) => {
    const opening = tell("ticket.opened", uuidv7(), { question: `how ${n}?` });
    return inEnvelope(opening, { correlationId: `desk-${n}`, traceparent: null }, new Date());
  });
  await insertingEvents(sql, tickets);
  channel.sendToQueue(queue, Buffer.from(JSON.stringify({ type: "ticket.torn" })));
  const counts = async () => {
    const [row] = await sql`
      select (select count(*) from answers)::int as answers,
             (select count(*) from outbox_events where type = 'ticket.answered')::int as told,
             (select count(*) from outbox_events where published_at is null)::int as waiting,
             (select count(*) from dead_letters)::int as letters,
             (select sum(duplicates) from processed_events)::int as repeats`;
    return { ...row };
  };
  const all = { answers: TICKETS, told: TICKETS, waiting: 0, letters: 1, repeats: 0 };
  await eventually("every ticket to be answered", async () => (await counts()).told === TICKETS);
  await eventually("every event to be published", async () => (await counts()).waiting === 0);
  assertEquals(await counts(), all);

  await sql`update outbox_events set published_at = null where type = 'ticket.opened'`; // all of it once more
  await eventually("every repeat to be absorbed", async () => (await counts()).repeats === TICKETS);
  await eventually("every event to be published", async () => (await counts()).waiting === 0);
  assertEquals(await counts(), { ...all, repeats: TICKETS });
  assertEquals((await channel.checkQueue(queues.archive.name)).messageCount, 3 * TICKETS);
});

Deno.test("takeName() lets a module's copies begin, and refuses another module that has the same queue by mistake", async () => {
  await using db = await testSchema();
  for (let copy = 0; copy < 2; copy++) {
    await takeName(db.as("orderflow_enrollments"), "seats.v1", "orderflow_enrollments");
  }
  const mistaken = () => takeName(db.as("orderflow_payments"), "seats.v1", "orderflow_payments");
  await assertRejects(mistaken, ConfigError, "orderflow_enrollments consumes from the queue seats.v1");
});
