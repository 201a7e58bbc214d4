import { assertEquals, assertMatch } from "@std/assert";
import { setTimeout as delay } from "node:timers/promises";
import type { Publisher } from "../../shared/broker/publish.ts";
import { parseEvent } from "../../shared/events.ts";
import type { Sql } from "../../shared/sql/connect.ts";
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
import { schemaAt, shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { nextPauseMs, relayBatch, type RelayOptions, startRelay } from "./relay.ts";

shareTestSchema();

/** A database, and a broker with a wire to it. */
async function stage() {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(await testSchema());
  const broker = resources.use(await testBroker());
  const wired = resources.use(await openWire(broker));
  const published: number[] = [];

  /** Starts a relay, which disposing of it stops; what each of its batches has published is in `published`. */
  function start(more: Partial<RelayOptions> = {}) {
    const stop = new AbortController();
    const relay = startRelay({
      sql: db.as("orderflow_relay"),
      openSession: () => db.session("orderflow_relay"),
      publisher: () => wired.publisher,
      route: wired.route,
      batchSize: 500,
      pollIntervalMs: 1000,
      enabled: true,
      onBatch: (batch) => published.push(batch.published),
      log: testLog,
      ...more,
    }, stop.signal);
    return {
      ...relay,
      async [Symbol.asyncDispose]() {
        stop.abort();
        await relay.running;
      },
    };
  }

  const owned = resources.move();
  return {
    db,
    broker,
    wired,
    published,
    start,
    /** Has wake-ups of the database reach the relay. */
    async wakes(relay: Pick<ReturnType<typeof startRelay>, "wake">): Promise<void> {
      const listener = db.as("orderflow_relay");
      owned.defer(await listenForWakeUps(listener, (why) => relay.wake(why === "tick")));
    },
    append: (...events: Parameters<typeof appendEvents>[1]) => appendEvents(db.sql, events),
    batch: (limit = 1000, wire = wired) =>
      relayBatch(db.session("orderflow_relay"), wire.publisher, wire.route, limit),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function unpublished(db: TestSchema): Promise<number> {
  const [row] = await db.sql`select count(*)::int as count from outbox_events where published_at is null`;
  return row?.count;
}

Deno.test("relayBatch() publishes with the event's ids as properties and marks what was confirmed", async () => {
  await using it = await stage();
  const { event, traceparent } = orderCreated();
  await it.append({ event, traceparent });
  const { lastId, published, refused } = await it.batch(10);
  assertEquals([lastId, published, refused], [event.eventId, 1, []]);
  assertEquals(await unpublished(it.db), 0);
  const queue = it.broker.topology.queues.paymentsOrderCreated.name;
  const message = await eventually("the message", () => it.wired.channel.get(queue, { noAck: true }));
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
  await using it = await stage();
  const { name } = it.broker.topology.queues.paymentsOrderCreated;
  await it.wired.channel.unbindQueue(name, it.broker.topology.exchange, "order.created");
  const unroutable = orderCreated();
  const id = crypto.randomUUID();
  const routable = received("payment.failed", { orderId: id, paymentId: id, reason: "card declined" });
  // Nobody listens to this one, by design: it is not mandatory.
  const notice = { orderId: id, notificationId: id, notificationType: "PAYMENT_FAILED" } as const;
  await it.append(unroutable, routable, received("notification.sent", notice));
  const batch = await it.batch(10);
  assertEquals([batch.claimed, batch.published, batch.refused.length], [3, 2, 1]);
  const rows = await it.db.sql`
    select id, retry_count, last_error from outbox_events where published_at is null`.values();
  assertEquals([...rows], [[unroutable.event.eventId, 1, "returned by the broker: NO_ROUTE"]]);
});

Deno.test("relayBatch() spends no row when the connection goes away under it, and loses none", async () => {
  await using it = await stage();
  const wired = await openWire(it.broker);
  await it.append(...Array.from({ length: 200 }, () => orderCreated()));
  const relayed = it.batch(1000, wired);
  await wired.model.close();
  const batch = await relayed;
  assertEquals([batch.refused, batch.published + batch.unanswered], [[], 200]);
  const [row] = await it.db.sql`select max(retry_count) as retries from outbox_events`;
  assertEquals(row?.retries, 0);
  await it.batch();
  assertEquals(await unpublished(it.db), 0);
});

Deno.test("startRelay() is woken by a commit, far ahead of its poll, and then looks again by itself", async () => {
  await using it = await stage();
  await using relay = it.start({ pollIntervalMs: 3_600_000 });
  await it.wakes(relay);
  const producer = it.db.as("orderflow_orders");
  for (let events = 1; events <= 6; events += 2) {
    await appendAndWake(producer);
    await eventually("the first one", () => it.published.length === events);
    await it.append(orderCreated()); // without a word: a producer wakes it once in 10 ms at most
    await eventually("the second one", () => it.published.length === events + 1);
  }
});

Deno.test("nextPauseMs() is short after activity, and grows until the poll is due", () => {
  const pauses = [nextPauseMs(1000, true, 1000)];
  for (let look = 0; look < 5; look++) pauses.push(nextPauseMs(pauses.at(-1) ?? 0, false, 1000));
  assertEquals(pauses, [20, 320, 1000, 1000, 1000, 1000]);
  assertEquals(nextPauseMs(5, true, 5), 5);
});

Deno.test("startRelay() begins no transaction while nobody wakes it and nothing is due, and takes two round trips for each", async () => {
  await using it = await stage();
  await using looks = startCutProxy(it.db.url, 5432);
  await using batches = startCutProxy(it.db.url, 5432);
  await using asked = schemaAt(looks.url);
  await using claimed = schemaAt(batches.url);
  const sql = asked.as("orderflow_relay");
  const openSession = () => claimed.session("orderflow_relay");
  await using _relay = it.start({ sql, openSession, pollIntervalMs: 5 });
  await eventually("some looks", () => looks.roundTrips() > 20);
  const before = [batches.roundTrips(), looks.roundTrips()] as const;
  await eventually("more of them", () => looks.roundTrips() > before[1] + 20);
  assertEquals(batches.roundTrips(), before[0]);
  const trips: number[] = [];
  for (let batch = 1; batch <= 4; batch++) { // some connect, or prepare their statements
    const before = batches.roundTrips();
    await it.append(orderCreated());
    await eventually("the event to be published", () => it.published.length === batch);
    trips.push(batches.roundTrips() - before);
  }
  assertEquals(Math.min(...trips), 2);
});

Deno.test("startRelay() finds by its poll what was committed long after its id was made", async () => {
  await using it = await stage();
  await using _relay = it.start({ pollIntervalMs: 20 });
  await it.append(orderCreated());
  await eventually("the first one", () => it.published.length === 1);
  await it.append(madeLongAgo());
  await eventually("the late one", () => it.published.length === 2);
});

Deno.test("startRelay() switched off publishes only when ticked, and keeps a tick that comes in the middle of another one's pass", async () => {
  await using it = await stage();
  const [begun, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let [looks, asked] = [0, 0];
  const publisher: Publisher = {
    async publish(...args) {
      asked++;
      begun.resolve();
      await held.promise;
      return await it.wired.publisher.publish(...args);
    },
  };
  await using relay = it.start({
    publisher: () => {
      looks++;
      return publisher;
    },
    pollIntervalMs: 5,
    enabled: false,
  });
  await it.wakes(relay);
  const ops = it.db.as("orderflow_ops");
  await appendAndWake(it.db.as("orderflow_orders"));
  await it.append(madeLongAgo());
  const before = looks;
  await eventually("some looks", () => looks > before + 5);
  assertEquals(asked, 0);
  await tickRelay(ops);
  await begun.promise;
  await it.append(orderCreated());
  await tickRelay(ops);
  held.resolve();
  await eventually("all to be published", async () => await unpublished(it.db) === 0);
});

Deno.test("startRelay() in several copies publishes a backlog once, whole", async () => {
  await using it = await stage();
  await using two = await openWire(it.broker);
  await it.append(...Array.from({ length: 1500 }, () => orderCreated()));
  await using _first = it.start({ batchSize: 100 });
  await using _second = it.start({ publisher: () => two.publisher, batchSize: 100 });
  await eventually("the backlog to be gone", async () => await unpublished(it.db) === 0);
  const { name } = it.broker.topology.queues.paymentsOrderCreated;
  assertEquals((await it.wired.channel.checkQueue(name)).messageCount, 1500);
});

Deno.test("startRelay() finds the event for which the broker closes the channel, alone and with nothing beside it; all others go out", async () => {
  await using it = await stage();
  const sent = Array.from({ length: 300 }, () => orderCreated());
  const badId = sent[123]?.event.eventId ?? "";
  await it.append(...sent);
  let wired = await offendingWire(it.broker, badId);
  let usable = true;
  const renew = async () => {
    if (!usable) return; // both lanes had events in flight, and each has no answer
    usable = false;
    const next = await offendingWire(it.broker, badId);
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
  await using relay = it.start({ publisher: () => usable ? publisher : null, batchSize: 100 });
  const rows = await eventually("all but one to be published, and the reason", async () => {
    const left = await it.db.sql`select id, last_error from outbox_events where published_at is null`;
    return left.length === 1 && left[0]?.last_error && left;
  }, 30_000);
  assertEquals([rows[0]?.id, beside], [badId, 0]);
  assertMatch(rows[0]?.last_error, /^the broker closed the channel: .*PRECONDITION_FAILED/);
  const tried = await it.db.sql`select from outbox_events where retry_count > 0`;
  assertEquals(tried.count, 1);
  await eventually("the new wire", () => usable);
  await relay[Symbol.asyncDispose]();
  await wired[Symbol.asyncDispose]();
});

/** An event that is committed a minute after its id was made. */
function madeLongAgo() {
  const { event, ...rest } = orderCreated();
  return { ...rest, event: { ...event, eventId: firstIdOf(new Date(Date.now() - 60_000)) } };
}

/** Appends an event with a statement that wakes the relay. */
async function appendAndWake(sql: Sql): Promise<void> {
  const event = { ...orderCreated(), aggregateId: crypto.randomUUID() };
  await sql`with told as (${insertingEvents(sql, [event])}) select ${wakingRelay(sql, true)}`;
}

/** A wire on which one event is a message that the broker closes the channel for: its expiration is no number. */
async function offendingWire(broker: TestBroker, badId: string): Promise<Wire> {
  const wired = await openWire(broker);
  wired.channel.on("error", () => {});
  const publish = wired.channel.publish.bind(wired.channel);
  wired.channel.publish = (exchange, key, body, properties, settle) => {
    const isBad = properties?.messageId === badId;
    return publish(exchange, key, body, isBad ? { ...properties, expiration: "never" } : properties, settle);
  };
  return wired;
}
