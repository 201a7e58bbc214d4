import type { ReceivedEvent } from "../../shared/events.ts";
import { assertEquals } from "@std/assert";
import { type ConfirmChannel, connect } from "amqplib";
import { v7 as uuidv7 } from "uuid";
import {
  type Binding,
  bindingsOf,
  declareTopology,
  type QueueDepth,
  readQueueDepths,
} from "../../shared/broker/connection.ts";
import { createPublisher, type Publisher } from "../../shared/broker/publish.ts";
import { claimOpenLetters, closeLetters } from "../../shared/ops/dead_letters.ts";
import {
  claimDueRetries,
  insertDeadLetters,
  insertRetries,
  markRetriesSent,
} from "../../shared/sql/set_aside.ts";
import { type TestBroker, testBroker } from "../../specs/support/test_broker.ts";
import {
  appendEvents,
  newLetter,
  newRetry,
  orderCreated,
  paymentSucceeded,
} from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { createReconciler, lostByConsumer } from "./reconcile.ts";

shareTestSchema();

interface Wire extends AsyncDisposable {
  readonly channel: ConfirmChannel;
  readonly publisher: Publisher;
  readonly bindings: readonly Binding[];
  /** All queues as they stand, each with a consumer. */
  queues(): Promise<QueueDepth[]>;
}

async function wire({ url, topology }: TestBroker): Promise<Wire> {
  const model = await connect(url);
  const channel = await model.createConfirmChannel();
  await declareTopology(channel, topology);
  return {
    channel,
    publisher: createPublisher(channel),
    bindings: bindingsOf(topology),
    queues: async () =>
      (await readQueueDepths(channel, topology)).map((queue) => ({ ...queue, consumers: 1 })),
    [Symbol.asyncDispose]: () => model.close(),
  };
}

/** Events that were published and that nobody has processed. */
async function published(db: TestSchema, events: readonly ReceivedEvent[]): Promise<void> {
  await appendEvents(db.sql, events);
  await db.sql`update outbox_events set published_at = now()`;
}

function anHourOld(): ReceivedEvent {
  const { event, ...rest } = orderCreated();
  return { ...rest, event: { ...event, eventId: uuidv7({ msecs: Date.now() - 3_600_000 }) } };
}

const later = () => new Date(Date.now() + 1000);

Deno.test("createReconciler() re-sends what a consumer lacks, to that consumer alone, until it has it", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const { enrollmentsPaymentSucceeded, ordersPaymentEvents } = broker.topology.queues;
  const event = paymentSucceeded();
  await published(db, [event]);
  // One of its two consumers has it, the other's message was lost.
  await db
    .sql`insert into processed_events values (${event.event.eventId}, ${ordersPaymentEvents.name}, now())`;
  const reconciler = createReconciler({
    sql: db.as("orderflow_relay"),
    bindings: wired.bindings,
    afterMs: 0,
  });

  const first = await reconciler.pass(wired.publisher, await wired.queues(), later());
  assertEquals(first, { resent: { [enrollmentsPaymentSucceeded.name]: 1 }, watched: 1 });
  const waiting = await reconciler.pass(wired.publisher, await wired.queues(), later());
  assertEquals(waiting, { resent: {}, watched: 1 }, "what waits in the queue must not be added to");

  const message = await wired.channel.get(enrollmentsPaymentSucceeded.name, { noAck: true });
  assertEquals(message && message.properties.messageId, event.event.eventId);
  await db.sql`
    insert into processed_events values (${event.event.eventId}, ${enrollmentsPaymentSucceeded.name}, now())`;
  assertEquals(await reconciler.pass(wired.publisher, await wired.queues(), later()), {
    resent: {},
    watched: 0,
  });
});

Deno.test("createReconciler() leaves alone what is young, put aside, not yet published, or nobody's", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const consumer = broker.topology.queues.paymentsOrderCreated.name;
  const [aside, unpublished] = [orderCreated(), orderCreated()];
  await published(db, [aside]);
  await appendEvents(db.sql, [unpublished]);
  await insertDeadLetters(db.sql, [newLetter(consumer, { eventId: aside.event.eventId })], new Date());
  const sql = db.as("orderflow_relay");
  const young = createReconciler({ sql, bindings: wired.bindings, afterMs: 3_600_000 });
  assertEquals(await young.pass(wired.publisher, await wired.queues(), later()), { resent: {}, watched: 0 });
  const reconciler = createReconciler({ sql, bindings: wired.bindings, afterMs: 0 });
  assertEquals(await reconciler.pass(wired.publisher, await wired.queues(), later()), {
    resent: {},
    watched: 1,
  });
  // Redriven, and lost again: now it is missing.
  await db.sql`update dead_letters set state = 'REDRIVEN', resolved_at = now(), resolution = 'redriven'`;
  await reconciler.pass(wired.publisher, [], later()); // the sweep is at its end, and starts over
  const pass = await reconciler.pass(wired.publisher, await wired.queues(), later());
  assertEquals(pass.resent, { [consumer]: 1 });
});

Deno.test("createReconciler() leaves alone what is on its way, however old it is: published, retried or redriven a moment ago", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const consumer = broker.topology.queues.paymentsOrderCreated.name;
  const [late, retried, redriven] = [anHourOld(), anHourOld(), anHourOld()];
  await published(db, [late, retried, redriven]);
  await db.sql`
    update outbox_events set published_at = now() - interval '1 hour' where id <> ${late.event.eventId}`;
  const relay = db.as("orderflow_relay");
  await insertRetries(db.sql, [newRetry(consumer, { eventId: retried.event.eventId })], new Date());
  await markRetriesSent(relay, await claimDueRetries(relay, 1));
  await insertDeadLetters(db.sql, [newLetter(consumer, { eventId: redriven.event.eventId })], new Date());
  const letters = await claimOpenLetters(db.as("orderflow_ops"), {}, 1);
  await closeLetters(db.as("orderflow_ops"), letters.map(({ id }) => id), "REDRIVEN", "redriven");

  const reconciler = createReconciler({ sql: relay, bindings: wired.bindings, afterMs: 60_000 });
  const passAt = async (ms: number) =>
    await reconciler.pass(wired.publisher, await wired.queues(), new Date(Date.now() + ms));
  assertEquals(await passAt(0), { resent: {}, watched: 3 });
  assertEquals(
    await passAt(61_000),
    { resent: { [consumer]: 3 }, watched: 3 },
    "a minute later they are lost",
  );
});

Deno.test("createReconciler() brings everything back after the broker lost all of it, a bounded part per pass", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const consumer = broker.topology.queues.paymentsOrderCreated.name;
  const events = Array.from({ length: 1200 }, () => orderCreated());
  await published(db, events);
  const reconciler = createReconciler({
    sql: db.as("orderflow_relay"),
    bindings: wired.bindings,
    afterMs: 0,
  });
  const sizes: number[] = [];
  for (let round = 0; round < 4; round++) {
    const { resent } = await reconciler.pass(wired.publisher, await wired.queues(), later());
    sizes.push(resent[consumer] ?? 0);
    for (let message; (message = await wired.channel.get(consumer, { noAck: true }));) {
      await db.sql`insert into processed_events values (${message.properties.messageId}, ${consumer}, now())`;
    }
  }
  assertEquals(sizes, [500, 500, 200, 0]);
  assertEquals((await db.sql`select from processed_events`).count, 1200);
});

Deno.test("lostByConsumer() sends nothing to a queue that has messages or no consumer", () => {
  const pair = (consumer: string, overdue = true) => ({ eventId: "e", consumer, overdue });
  const queues = [
    { queue: "idle", messages: 0, consumers: 1 },
    { queue: "busy", messages: 3, consumers: 1 },
    { queue: "away", messages: 0, consumers: 0 },
  ];
  const lost = lostByConsumer([pair("idle"), pair("busy"), pair("away"), pair("unknown")], queues);
  assertEquals([...lost], [["idle", ["e"]]]);
  assertEquals(lostByConsumer([pair("idle", false)], queues).size, 0);
});
