import { assert, assertEquals, assertMatch } from "@std/assert";
import { type ChannelModel, type ConfirmChannel, connect, type Options } from "amqplib";
import type { Buffer } from "node:buffer";
import fc from "fast-check";
import { declareTopology } from "../../shared/broker/connection.ts";
import { createPublisher, type Publisher, type Route, toExchange } from "../../shared/broker/publish.ts";
import { CONSUMED_TYPES } from "../../shared/topology.ts";
import { parseEvent } from "../../shared/events.ts";
import { firstIdOf, listenForWakeUps, tickRelay } from "../../shared/sql/outbox.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { type TestBroker, testBroker } from "../../specs/support/test_broker.ts";
import { appendEvents, orderCreated, received } from "../../specs/support/test_events.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { atEase, nextCaution, relayBatch, startRelay } from "./relay.ts";

shareTestSchema();

interface Wire extends AsyncDisposable {
  readonly model: ChannelModel;
  readonly channel: ConfirmChannel;
  readonly publisher: Publisher;
  readonly route: Route;
}

async function wire(broker: TestBroker): Promise<Wire> {
  const model = await connect(broker.url);
  const channel = await model.createConfirmChannel();
  await declareTopology(channel, broker.topology);
  const publisher = createPublisher(channel);
  return {
    model,
    channel,
    publisher,
    route: toExchange(broker.topology.exchange, CONSUMED_TYPES),
    [Symbol.asyncDispose]: () => model.close().catch(() => {}),
  };
}

const depth = async (channel: ConfirmChannel, broker: TestBroker) =>
  (await channel.checkQueue(broker.topology.queues.paymentsOrderCreated.name)).messageCount;

async function unpublished(db: TestSchema): Promise<number> {
  const [row] = await db.sql`select count(*)::int as count from outbox_events where published_at is null`;
  return row?.count;
}

Deno.test("relayBatch() publishes with the event's ids as properties and marks what was confirmed", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const { event, traceparent } = orderCreated();
  await appendEvents(db.sql, [{ event, traceparent }]);
  const batch = await relayBatch(db.as("orderflow_relay"), wired.publisher, wired.route, 10);
  assertEquals(batch, {
    claimed: 1,
    lastId: event.eventId,
    published: 1,
    refused: [],
    unanswered: 0,
    offence: null,
  });
  assertEquals(await unpublished(db), 0);
  const queue = broker.topology.queues.paymentsOrderCreated.name;
  const message = await eventually("the message", () => wired.channel.get(queue, { noAck: true }));
  const { messageId, type, correlationId, deliveryMode, contentType, headers, timestamp } =
    message.properties;
  assertEquals({ messageId, type, correlationId, deliveryMode, contentType }, {
    messageId: event.eventId,
    type: "order.created",
    correlationId: event.correlationId,
    deliveryMode: 2,
    contentType: "application/json",
  });
  assertEquals(headers?.traceparent, traceparent);
  assertEquals(timestamp, Math.floor(Date.parse(event.occurredAt) / 1000));
  assertEquals(parseEvent(message.content), { ok: true, event, aggregateId: event.data.orderId });
});

Deno.test("relayBatch() sets an unroutable event aside with its reason; the others go on", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const { name } = broker.topology.queues.paymentsOrderCreated;
  await wired.channel.unbindQueue(name, broker.topology.exchange, "order.created");
  const unroutable = orderCreated();
  const id = crypto.randomUUID();
  const routable = received("payment.failed", { orderId: id, paymentId: id, reason: "card declined" });
  // Nobody listens to this one, by design: it is not mandatory.
  const unheard = received("notification.sent", {
    orderId: id,
    notificationId: id,
    notificationType: "PAYMENT_FAILED",
  });
  await appendEvents(db.sql, [unroutable, routable, unheard]);
  const batch = await relayBatch(db.as("orderflow_relay"), wired.publisher, wired.route, 10);
  assertEquals([batch.claimed, batch.published, batch.refused.length], [3, 2, 1]);
  const rows = await db.sql`select id, retry_count, last_error from outbox_events where published_at is null`;
  assertEquals(rows.map((row) => ({ ...row })), [
    { id: unroutable.event.eventId, retry_count: 1, last_error: "returned by the broker: NO_ROUTE" },
  ]);
});

Deno.test("relayBatch() spends no row when the connection goes away under it, and loses none", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  const wired = await wire(broker);
  await appendEvents(db.sql, Array.from({ length: 200 }, () => orderCreated()));
  const relayed = relayBatch(db.as("orderflow_relay"), wired.publisher, wired.route, 1000);
  await wired.model.close();
  const batch = await relayed;
  assertEquals(batch.refused, []);
  assertEquals(batch.published + batch.unanswered, 200);
  const [row] = await db.sql`select max(retry_count) as retries from outbox_events`;
  assertEquals(row?.retries, 0);
  await using again = await wire(broker);
  await relayBatch(db.as("orderflow_relay"), again.publisher, again.route, 1000);
  assertEquals(await unpublished(db), 0);
});

Deno.test("startRelay() is woken by a commit, far ahead of its poll", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const sql = db.as("orderflow_relay");
  const relay = startRelay({ ...options(sql, wired), pollIntervalMs: 3_600_000 });
  const unlisten = await listenForWakeUps(sql, (why) => relay.wake(why === "tick"));
  const producer = db.as("orderflow_orders");
  const waker = db.waker();
  for (let round = 0; round < 3; round++) {
    await appendEvents(producer, [orderCreated()]);
    waker.wake();
    await eventually("the outbox to be empty", async () => await unpublished(db) === 0);
  }
  await relay.stop();
  await unlisten();
});

Deno.test("startRelay() finds by its poll what nobody woke it for", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const relay = startRelay({
    ...options(db.as("orderflow_relay"), wired),
    pollIntervalMs: 20,
  });
  await appendEvents(db.sql, [orderCreated()]);
  await eventually("the outbox to be empty", async () => await unpublished(db) === 0);
  await relay.stop();
});

Deno.test("startRelay() finds by its poll what was committed long after its id was made", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const published: number[] = [];
  const relay = startRelay({
    ...options(db.as("orderflow_relay"), wired),
    pollIntervalMs: 20,
    onBatch: ({ published: events }) => published.push(events),
  });
  await appendEvents(db.sql, [orderCreated()]);
  await eventually("the first one", () => published.length === 1);
  const late = orderCreated();
  const eventId = firstIdOf(new Date(Date.now() - 60_000));
  await appendEvents(db.sql, [{ ...late, event: { ...late.event, eventId } }]);
  await eventually("the late one", () => published.length === 2);
  await relay.stop();
});

Deno.test("startRelay() switched off publishes only when ticked", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using wired = await wire(broker);
  const sql = db.as("orderflow_relay");
  const relay = startRelay({ ...options(sql, wired), pollIntervalMs: 5, enabled: false });
  const unlisten = await listenForWakeUps(sql, (why) => relay.wake(why === "tick"));
  const waker = db.waker();
  await appendEvents(db.sql, [orderCreated()]);
  waker.wake();
  await waker.close();
  assertEquals(await unpublished(db), 1);
  await tickRelay(db.as("orderflow_ops"));
  await eventually("the tick", async () => await unpublished(db) === 0);
  await relay.stop();
  await unlisten();
});

Deno.test("startRelay() in several copies publishes a backlog once, whole", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using one = await wire(broker);
  await using two = await wire(broker);
  await appendEvents(db.sql, Array.from({ length: 1500 }, () => orderCreated()));
  const relays = [one, two].map((wired) =>
    startRelay({ ...options(db.as("orderflow_relay"), wired), batchSize: 100 })
  );
  await eventually("the backlog to be gone", async () => await unpublished(db) === 0);
  await Promise.all(relays.map((relay) => relay.stop()));
  assertEquals(await depth(one.channel, broker), 1500);
});

Deno.test("startRelay() isolates the event for which the broker closes the channel; all others go out", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  const sent = Array.from({ length: 300 }, () => orderCreated());
  const bad = sent[123];
  assert(bad);
  await appendEvents(db.sql, sent);
  let wired = await offendingWire(broker, bad.event.eventId);
  let usable = true;
  const relay = startRelay({
    ...options(db.as("orderflow_relay"), wired),
    publisher: () => usable ? wired.publisher : null,
    batchSize: 100,
    onStuck: () => {
      if (!usable) return; // both lanes had events in flight, and each says so
      usable = false;
      offendingWire(broker, bad.event.eventId).then(async (next) => {
        await wired[Symbol.asyncDispose]();
        wired = next;
        usable = true;
        relay.wake(false);
      });
    },
  });
  await eventually("all but one to be published", async () => await unpublished(db) === 1, 30_000);
  await eventually("the reason to be written down", async () => {
    const [row] = await db.sql`select last_error from outbox_events where retry_count > 0`;
    return row?.last_error;
  });
  const rows = await db
    .sql`select id, retry_count > 0 as tried, last_error from outbox_events where last_error is not null`;
  assertEquals(rows.map(({ id, tried }) => ({ id, tried })), [{ id: bad.event.eventId, tried: true }]);
  assertMatch(rows[0]?.last_error, /^the broker closed the channel: .*PRECONDITION_FAILED/);
  await relay.stop();
  await eventually("the new wire", () => usable);
  await wired[Symbol.asyncDispose]();
});

/** A wire on which one event is a message that the broker closes the channel for: its expiration is no number. */
async function offendingWire(broker: TestBroker, badId: string): Promise<Wire> {
  const wired = await wire(broker);
  wired.channel.on("error", () => {});
  const offending = new Proxy(wired.channel, {
    get(channel, name) {
      if (name !== "publish") {
        const value: unknown = Reflect.get(channel, name);
        return typeof value === "function" ? value.bind(channel) : value;
      }
      return (
        exchange: string,
        key: string,
        body: Buffer,
        properties: Options.Publish,
        settle: () => void,
      ) => {
        const isBad = properties.messageId === badId;
        return wired.channel.publish(
          exchange,
          key,
          body,
          isBad ? { ...properties, expiration: "never" } : properties,
          settle,
        );
      };
    },
  });
  return { ...wired, publisher: createPublisher(offending) };
}

function options(sql: Parameters<typeof relayBatch>[0], { publisher, route }: Wire) {
  return {
    sql,
    publisher: () => publisher,
    route,
    onStuck: () => {},
    batchSize: 500,
    pollIntervalMs: 1000,
    enabled: true,
    log: testLog,
  };
}

Deno.test("nextCaution() stays at ease while the broker takes everything", () => {
  assertEquals(nextCaution(atEase(500), { claimed: 500, offended: false }, 500), atEase(500));
  assertEquals(nextCaution(atEase(500), { claimed: 3, offended: false }, 500), atEase(500));
});

Deno.test("nextCaution() finds the event at fault, wherever it is, in about 2 log2(n) batches, and is at ease again", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 2000 }), fc.nat(), (waiting, nth) => {
    const size = 500;
    const events = Array.from({ length: waiting }, (_, i) => i);
    const bad = nth % waiting;
    let caution = atEase(size);
    let batches = 0;
    for (let refused = false; events.length > 0; batches++) {
      const batch = events.slice(0, caution.limit);
      const offended = batch.includes(bad);
      if (!offended || batch.length === 1) {
        events.splice(0, batch.length);
        refused ||= offended;
      }
      caution = nextCaution(caution, { claimed: batch.length, offended }, size);
      if (refused && offended) assertEquals(caution, atEase(size));
    }
    assert(batches <= waiting / size + 2 * Math.ceil(Math.log2(size)) + 2, `${batches} batches`);
  }));
});

Deno.test("nextCaution() is at ease again once all that were with an offender are through", () => {
  // Another relay may have taken the offender meanwhile.
  let caution = nextCaution(atEase(100), { claimed: 100, offended: true }, 100);
  assertEquals(caution, { limit: 50, left: 100 });
  caution = nextCaution(caution, { claimed: 50, offended: false }, 100);
  assertEquals(caution, { limit: 50, left: 50 });
  assertEquals(nextCaution(caution, { claimed: 50, offended: false }, 100), atEase(100));
});
