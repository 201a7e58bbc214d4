import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { connect } from "amqplib";
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { declareTopology, type Topology } from "../shared/broker/connection.ts";
import { startConsumer } from "../shared/broker/consume.ts";
import { inEnvelope, type ParseEvent, type Tell } from "../shared/broker/message.ts";
import { createPublisher, toExchange } from "../shared/broker/publish.ts";
import { type Caused, type Queryable, rowset, type Statement } from "../shared/sql/connect.ts";
import { insertingEvents } from "../shared/sql/outbox.ts";
import { createSetAside } from "../shared/sql/set_aside.ts";
import { recordEach } from "../workers/consumer.ts";
import { startRelay } from "../workers/relay/relay.ts";
import { eventually } from "./support/eventually.ts";
import { deleteTopology, testBroker } from "./support/test_broker.ts";
import { testLog } from "./support/test_log.ts";
import { shareTestSchema, testInbox, testSchema } from "./support/test_schema.ts";

shareTestSchema();

// A help desk: another catalogue, another topology and another table than those of orders.

const envelope = {
  eventId: z.uuid(),
  version: z.literal(1),
  occurredAt: z.iso.datetime(),
  correlationId: z.string(),
};
const opened = z.object({
  ...envelope,
  type: z.literal("ticket.opened"),
  data: z.object({ ticketId: z.uuid(), question: z.string() }),
});
const answered = z.object({
  ...envelope,
  type: z.literal("ticket.answered"),
  data: z.object({ ticketId: z.uuid(), answer: z.string() }),
});
const catalogue = z.discriminatedUnion("type", [opened, answered]);
type HelpDeskEvent = z.infer<typeof catalogue>;

const parse: ParseEvent<HelpDeskEvent> = (body) => {
  const { data: event, error } = catalogue.safeParse(JSON.parse(new TextDecoder().decode(body)));
  if (event) return { ok: true, event, aggregateId: event.data.ticketId };
  const about = { eventId: null, type: null, aggregateId: null, correlationId: null };
  return { ok: false, reason: "invalid payload", detail: error?.message ?? "", about };
};

const topologyNamed = (prefix: string): Topology => ({
  exchange: `${prefix}.desk`,
  queues: {
    answers: { name: `${prefix}.answers`, bindings: ["ticket.opened"] },
    archive: { name: `${prefix}.archive`, bindings: ["ticket.opened", "ticket.answered"] },
  },
});

interface Answer {
  readonly id: string;
  readonly ticketId: string;
  readonly answer: string;
}

function insertingAnswers(
  sql: Queryable,
  answers: readonly Caused<Answer>[],
  _now: Date,
  where: Statement,
): Statement<{ id: string }> {
  return sql`
    insert into answers (id, ticket_id, answer) select "id", "ticketId", "answer"
    from jsonb_to_recordset(${
    rowset(answers)
  }::text::jsonb) as new (cause uuid, id uuid, "ticketId" uuid, answer text)
    where ${where} on conflict (ticket_id) do nothing returning id`;
}

const answer = recordEach(
  insertingAnswers,
  ({ data: { ticketId, question } }: z.infer<typeof opened>) => {
    const row = { id: uuidv7(), ticketId, answer: question.toUpperCase() };
    const tells: Tell = {
      type: "ticket.answered",
      data: { ticketId, answer: row.answer },
      aggregateId: ticketId,
    };
    return { row, tells, note: "answered" };
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
  const topology = topologyNamed(broker.topology.exchange);
  resources.defer(() => deleteTopology(broker.url, topology));
  const model = await connect(broker.url);
  resources.defer(() => model.close());
  const channel = await model.createConfirmChannel();
  await declareTopology(channel, topology);
  const queues = Object.values(topology.queues);
  const heard = new Set(queues.flatMap(({ bindings }) => bindings));
  const publisher = createPublisher(channel);
  const stopping = new AbortController();
  const relay = startRelay({
    sql: db.as("orderflow_relay"),
    openSession: () => db.session("orderflow_relay"),
    publisher: () => publisher,
    route: toExchange(topology.exchange, heard),
    batchSize: 30,
    pollIntervalMs: 20,
    enabled: true,
    log: testLog,
  }, stopping.signal);
  resources.defer(async () => {
    stopping.abort();
    await relay.running;
  });
  const queue = topology.queues.answers?.name ?? "";
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
    const ticketId = uuidv7();
    const tell = { type: "ticket.opened", data: { ticketId, question: `how ${n}?` }, aggregateId: ticketId };
    return inEnvelope(tell, { correlationId: `desk-${n}`, traceparent: null }, new Date());
  });
  await insertingEvents(sql, tickets);
  channel.sendToQueue(queue, Buffer.from(JSON.stringify({ type: "ticket.torn" })));
  const counts = async () => {
    const [row] = await sql<
      { answers: number; told: number; waiting: number; letters: number; repeats: number }[]
    >`
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
  const archive = await channel.checkQueue(topology.queues.archive?.name ?? "");
  assertEquals(archive.messageCount, 3 * TICKETS);
});
