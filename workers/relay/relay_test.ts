import { assertEquals, assertMatch } from "@std/assert";
import type { ConfirmChannel, Options } from "amqplib";
import type { Buffer } from "node:buffer";
import { setTimeout as delay } from "node:timers/promises";
import { createPublisher, type Publisher } from "../../shared/broker/publish.ts";
import { parseEvent } from "../../shared/events.ts";
import { connect, type Sql } from "../../shared/sql/connect.ts";
import { openSession } from "../../shared/sql/session.ts";
import {
  firstIdOf,
  insertingEvents,
  listenForWakeUps,
  tickRelay,
  wakingRelay,
} from "../../shared/sql/outbox.ts";
import { startCutProxy } from "../../specs/support/cut_proxy.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { openWire, type TestBroker, testBroker, type Wire } from "../../specs/support/test_broker.ts";
import { appendEvents, orderCreated, received } from "../../specs/support/test_events.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { nextPauseMs, relayBatch, type RelayOptions, startRelay } from "./relay.ts";

shareTestSchema();

/** A database, and a broker with a wire to it. */
async function stage() {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(await testSchema());
  const broker = resources.use(await testBroker());
  const wired = resources.use(await openWire(broker));
  const owned = resources.move();
  return { db, broker, wired, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const depth = async (channel: ConfirmChannel, broker: TestBroker) =>
  (await channel.checkQueue(broker.topology.queues.paymentsOrderCreated.name)).messageCount;

async function unpublished(db: TestSchema): Promise<number> {
  const [row] = await db.sql`select count(*)::int as count from outbox_events where published_at is null`;
  return row?.count;
}

Deno.test("relayBatch() publishes with the event's ids as properties and marks what was confirmed", async () => {
  await using it = await stage();
  const { db, broker, wired } = it;
  const { event, traceparent } = orderCreated();
  await appendEvents(db.sql, [{ event, traceparent }]);
  const batch = await relayBatch(db.session("orderflow_relay"), wired.publisher, wired.route, 10);
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

Deno.test("relayBatch() takes two round trips to the database", async () => {
  await using it = await stage();
  const { db, wired } = it;
  await using proxy = startCutProxy(db.url, 5432);
  const session = openSession(proxy.url, { name: "test", role: "orderflow_relay" });
  const trips: number[] = [];
  for (let batch = 0; batch < 3; batch++) { // the first ones connect and prepare
    await appendEvents(db.sql, [orderCreated()]);
    const before = proxy.roundTrips();
    assertEquals((await relayBatch(session, wired.publisher, wired.route, 10)).published, 1);
    trips.push(proxy.roundTrips() - before);
  }
  await session.end();
  assertEquals(trips.slice(1), [2, 2]);
});

Deno.test("relayBatch() sets an unroutable event aside with its reason; the others go on", async () => {
  await using it = await stage();
  const { db, broker, wired } = it;
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
  const batch = await relayBatch(db.session("orderflow_relay"), wired.publisher, wired.route, 10);
  assertEquals([batch.claimed, batch.published, batch.refused.length], [3, 2, 1]);
  const rows = await db.sql`select id, retry_count, last_error from outbox_events where published_at is null`;
  assertEquals(rows.map((row) => ({ ...row })), [
    { id: unroutable.event.eventId, retry_count: 1, last_error: "returned by the broker: NO_ROUTE" },
  ]);
});

Deno.test("relayBatch() spends no row when the connection goes away under it, and loses none", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  const wired = await openWire(broker);
  await appendEvents(db.sql, Array.from({ length: 200 }, () => orderCreated()));
  const relayed = relayBatch(db.session("orderflow_relay"), wired.publisher, wired.route, 1000);
  await wired.model.close();
  const batch = await relayed;
  assertEquals(batch.refused, []);
  assertEquals(batch.published + batch.unanswered, 200);
  const [row] = await db.sql`select max(retry_count) as retries from outbox_events`;
  assertEquals(row?.retries, 0);
  await using again = await openWire(broker);
  await relayBatch(db.session("orderflow_relay"), again.publisher, again.route, 1000);
  assertEquals(await unpublished(db), 0);
});

Deno.test("startRelay() is woken by a commit, far ahead of its poll, and then looks again by itself", async () => {
  await using it = await stage();
  const { db, wired } = it;
  const published: number[] = [];
  const relay = start(db, wired, {
    pollIntervalMs: 3_600_000,
    onBatch: (batch) => published.push(batch.published),
  });
  const unlisten = await listenForWakeUps(db.as("orderflow_relay"), (why) => relay.wake(why === "tick"));
  const producer = db.as("orderflow_orders");
  for (let events = 1; events <= 6; events += 2) {
    await appendAndWake(producer);
    await eventually("the first one", () => published.length === events);
    await appendEvents(db.sql, [orderCreated()]); // without a word: a producer wakes it once in 10 ms at most
    await eventually("the second one", () => published.length === events + 1);
  }
  await relay.stop();
  await unlisten();
});

Deno.test("nextPauseMs() is short after activity, and grows until the poll is due", () => {
  const pauses = [nextPauseMs(1000, true, 1000)];
  for (let look = 0; look < 5; look++) pauses.push(nextPauseMs(pauses.at(-1) ?? 0, false, 1000));
  assertEquals(pauses, [20, 320, 1000, 1000, 1000, 1000]);
  assertEquals(nextPauseMs(5, true, 5), 5);
});

Deno.test("startRelay() begins no transaction while nobody wakes it and nothing is due", async () => {
  await using it = await stage();
  const { db, wired } = it;
  await using looks = startCutProxy(db.url, 5432);
  await using batches = startCutProxy(db.url, 5432);
  const sql = connect(looks.url, { name: "test", role: "orderflow_relay", max: 1 });
  const openBatches = () => openSession(batches.url, { name: "test", role: "orderflow_relay" });
  const relay = start(db, wired, { sql, openSession: openBatches, pollIntervalMs: 5 });
  await eventually("some looks", () => looks.roundTrips() > 20);
  const before = [batches.roundTrips(), looks.roundTrips()] as const;
  await eventually("more of them", () => looks.roundTrips() > before[1] + 20);
  assertEquals(batches.roundTrips(), before[0]);
  await relay.stop();
  await sql.end({ timeout: 1 });
});

Deno.test("startRelay() finds by its poll what was committed long after its id was made", async () => {
  await using it = await stage();
  const { db, wired } = it;
  const published: number[] = [];
  const relay = start(db, wired, {
    pollIntervalMs: 20,
    onBatch: ({ published: events }) => published.push(events),
  });
  await appendEvents(db.sql, [orderCreated()]);
  await eventually("the first one", () => published.length === 1);
  await appendEvents(db.sql, [madeLongAgo()]);
  await eventually("the late one", () => published.length === 2);
  await relay.stop();
});

Deno.test("startRelay() switched off publishes only when ticked, and keeps a tick that comes in the middle of another one's pass", async () => {
  await using it = await stage();
  const { db, wired } = it;
  const [begun, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let [looks, asked] = [0, 0];
  const publisher: Publisher = {
    async publish(...args) {
      asked++;
      begun.resolve();
      await held.promise;
      return await wired.publisher.publish(...args);
    },
  };
  const relay = start(db, wired, {
    publisher: () => {
      looks++;
      return publisher;
    },
    pollIntervalMs: 5,
    enabled: false,
  });
  const unlisten = await listenForWakeUps(db.as("orderflow_relay"), (why) => relay.wake(why === "tick"));
  const ops = db.as("orderflow_ops");
  await appendAndWake(db.as("orderflow_orders"));
  await appendEvents(db.sql, [madeLongAgo()]);
  const before = looks;
  await eventually("some looks", () => looks > before + 5);
  assertEquals(asked, 0);
  await tickRelay(ops);
  await begun.promise;
  await appendEvents(db.sql, [orderCreated()]);
  await tickRelay(ops);
  held.resolve();
  await eventually("all to be published", async () => await unpublished(db) === 0);
  await relay.stop();
  await unlisten();
});

Deno.test("startRelay() in several copies publishes a backlog once, whole", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  await using one = await openWire(broker);
  await using two = await openWire(broker);
  await appendEvents(db.sql, Array.from({ length: 1500 }, () => orderCreated()));
  const relays = [one, two].map((wired) => start(db, wired, { batchSize: 100 }));
  await eventually("the backlog to be gone", async () => await unpublished(db) === 0);
  await Promise.all(relays.map((relay) => relay.stop()));
  assertEquals(await depth(one.channel, broker), 1500);
});

Deno.test("startRelay() finds the event for which the broker closes the channel, alone and with nothing beside it; all others go out", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  const sent = Array.from({ length: 300 }, () => orderCreated());
  const badId = sent[123]?.event.eventId ?? "";
  await appendEvents(db.sql, sent);
  let wired = await offendingWire(broker, badId);
  let usable = true;
  const renew = async () => {
    if (!usable) return; // both lanes had events in flight, and each has no answer
    usable = false;
    const next = await offendingWire(broker, badId);
    await wired[Symbol.asyncDispose]();
    wired = next;
    usable = true;
    relay.wake(false);
  };
  let [underWay, beside] = [0, 0];
  let isFound = false;
  const publisher: Publisher = {
    async publish(events, ...args) {
      const isSuspect = events.length === 1 && !isFound;
      if (isSuspect && underWay > 0) beside++;
      isFound ||= isSuspect && events[0]?.id === badId;
      underWay++;
      if (isSuspect) await delay(5); // long enough for another lane's claim
      const outcome = await wired.publisher.publish(events, ...args);
      underWay--;
      if (outcome.unknown.length === 0) return outcome;
      void renew();
      return { ...outcome, confirmed: [], unknown: events.map(({ id }) => id) }; // it may not come to its confirms
    },
  };
  const relay = start(db, wired, {
    publisher: () => usable ? publisher : null,
    batchSize: 100,
  });
  const rows = await eventually("all but one to be published, and the reason", async () => {
    const left = await db.sql`select id, last_error from outbox_events where published_at is null`;
    return left.length === 1 && left[0]?.last_error && left;
  }, 30_000);
  assertEquals([rows[0]?.id, beside], [badId, 0]);
  assertMatch(rows[0]?.last_error, /^the broker closed the channel: .*PRECONDITION_FAILED/);
  const tried = await db.sql`select from outbox_events where retry_count > 0`;
  assertEquals(tried.count, 1);
  await relay.stop();
  await eventually("the new wire", () => usable);
  await wired[Symbol.asyncDispose]();
});

/** An event that is committed a minute after its id was made. */
function madeLongAgo() {
  const { event, ...rest } = orderCreated();
  return { ...rest, event: { ...event, eventId: firstIdOf(new Date(Date.now() - 60_000)) } };
}

/** Appends an event with a statement that wakes the relay. */
async function appendAndWake(sql: Sql): Promise<void> {
  await sql`
    with told as (${
    insertingEvents(sql, [{ ...orderCreated(), aggregateId: orderCreated().event.eventId }])
  }) select ${wakingRelay(sql, true)}`;
}

/** A wire on which one event is a message that the broker closes the channel for: its expiration is no number. */
async function offendingWire(broker: TestBroker, badId: string): Promise<Wire> {
  const wired = await openWire(broker);
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

function start(
  db: TestSchema,
  { publisher, route }: Pick<Wire, "publisher" | "route">,
  more: Partial<RelayOptions>,
) {
  const stopping = new AbortController();
  const { running, wake } = startRelay({
    sql: db.as("orderflow_relay"),
    openSession: () => db.session("orderflow_relay"),
    publisher: () => publisher,
    route,
    batchSize: 500,
    pollIntervalMs: 1000,
    enabled: true,
    log: testLog,
    ...more,
  }, stopping.signal);
  return {
    wake,
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
