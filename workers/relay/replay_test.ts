import fc from "fast-check";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type ConfirmChannel, connect } from "amqplib";
import { v7 as uuidv7 } from "uuid";
import { bindingsOf, declareTopology } from "../../shared/broker/connection.ts";
import { REPUBLISHED_HEADER } from "../../shared/broker/message.ts";
import { createPublisher, type Publisher, toExchange } from "../../shared/broker/publish.ts";
import {
  cancelReplay,
  findReplay,
  MAX_REPLAY_RATE,
  prepareReplay,
  type ReplayFilter,
  republishEvent,
  startReplay,
} from "../../shared/ops/replays.ts";
import { type DueReplay, MAX_REPLAY_TRIES, paceOf, progressAfter } from "../../shared/ops/send_again.ts";
import { CONSUMED_TYPES, type Topology } from "../../shared/topology.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testBroker } from "../../specs/support/test_broker.ts";
import { insertPublished } from "../../specs/support/test_events.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { keepReplaying, sendDueMessages } from "./replay.ts";
import { prune } from "./retention.ts";

shareTestSchema();

const DAYS = 14;
const horizon = () => new Date(Date.now() - DAYS * 86_400_000);

/** A database and a broker with the topology on it. */
interface Stage extends AsyncDisposable {
  readonly db: TestSchema;
  readonly topology: Topology;
  readonly channel: ConfirmChannel;
  readonly publisher: Publisher;
  /** The event ids of the messages in a queue, which are taken out. */
  taken(queue: string): Promise<string[]>;
}

async function stage(): Promise<Stage> {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(await testSchema());
  const broker = resources.use(await testBroker());
  const model = await connect(broker.url);
  resources.defer(() => model.close());
  const channel = await model.createConfirmChannel();
  await declareTopology(channel, broker.topology);
  const owned = resources.move();
  return {
    db,
    topology: broker.topology,
    channel,
    publisher: createPublisher(channel),
    async taken(queue) {
      const ids: string[] = [];
      for (let message; (message = await channel.get(queue, { noAck: true }));) {
        ids.push(String(message.properties.messageId));
      }
      return ids;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** `count` payments that succeeded, in the order of their ids. Each has two consumers. */
async function payments({ db }: Stage, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    const data = { orderId: uuidv7(), paymentId: uuidv7(), courseId: uuidv7(), amount: "1.00" };
    ids.push(await insertPublished(db.sql, "payment.succeeded", data));
  }
  return ids;
}

/** A replay that has been started; answers with its id. */
async function started(
  { db, topology }: Stage,
  filter: ReplayFilter,
  rate = MAX_REPLAY_RATE,
): Promise<string> {
  const sql = db.as("orderflow_ops");
  const { replay } = await prepareReplay(sql, filter, bindingsOf(topology), horizon());
  assert(replay);
  await startReplay(sql, replay.id, rate);
  return replay.id;
}

/** What a relay sends with. */
function relayOf({ db, topology }: Stage) {
  const exchange = toExchange(topology.exchange, CONSUMED_TYPES);
  return { sql: db.as("orderflow_relay"), exchange, retentionDays: DAYS };
}

const payment: ReplayFilter = { type: "payment.succeeded" };

async function stateOf({ db }: Stage, id: string) {
  const replay = await findReplay(db.sql, id);
  return replay && { state: replay.state, sent: replay.sent, skipped: replay.skipped };
}

/** Runs the loop while `work` is done. */
async function replaying<T>(stage: Stage, work: () => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const { publisher } = stage;
  const loop = keepReplaying(
    { ...relayOf(stage), publisher: () => publisher, log: testLog },
    stop.signal,
  );
  try {
    return await work();
  } finally {
    stop.abort();
    await loop;
  }
}

Deno.test("keepReplaying() sends each consumer its own events, in order, to its queue alone", async () => {
  await using on = await stage();
  const ids = await payments(on, 30);
  const { enrollmentsPaymentSucceeded: enrollments, ordersPaymentEvents: orders } = on.topology.queues;
  const all = await started(on, payment, 300);
  const one = await started(on, { ...payment, consumer: orders.name });
  await replaying(on, async () => {
    await eventually("both to be done", async () => {
      const states = await Promise.all([all, one].map((id) => stateOf(on, id)));
      return states.every((s) => s?.state === "DONE");
    });
  });
  assertEquals(await stateOf(on, all), { state: "DONE", sent: 60, skipped: 0 });
  assertEquals(await stateOf(on, one), { state: "DONE", sent: 30, skipped: 0 });
  assertEquals(await on.taken(enrollments.name), ids);
  assertEquals((await on.taken(orders.name)).toSorted(), [...ids, ...ids].toSorted());
});

Deno.test("a relay killed before its commit leaves the replay where it was, and the next one goes on from there", async () => {
  await using on = await stage();
  const ids = await payments(on, 12);
  const { ordersPaymentEvents: { name: consumer } } = on.topology.queues;
  const id = await started(on, { ...payment, consumer }, 50); // five at a time
  await sendDueMessages(relayOf(on), on.publisher);
  assertEquals(await stateOf(on, id), { state: "RUNNING", sent: 5, skipped: 0 });
  const killed: Publisher = {
    async publish(...args) {
      await on.publisher.publish(...args);
      throw new Error("killed");
    },
  };
  await on.db.sql`update replays set due_at = now()`;
  await assertRejects(() => sendDueMessages(relayOf(on), killed), Error, "killed");
  assertEquals(await stateOf(on, id), { state: "RUNNING", sent: 5, skipped: 0 });
  await replaying(on, async () => {
    await eventually("the end", async () => (await stateOf(on, id))?.state === "DONE");
  });
  assertEquals(await on.taken(consumer), [...ids.slice(0, 10), ...ids.slice(5)]);
});

Deno.test("two relays never send from one replay at once, and none is sent from before it is due", async () => {
  await using on = await stage();
  await payments(on, 4);
  const id = await started(on, payment, 20);
  const held = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const slow: Publisher = {
    async publish(...args) {
      begun.resolve();
      await held.promise;
      return await on.publisher.publish(...args);
    },
  };
  const first = sendDueMessages(relayOf(on), slow);
  await begun.promise;
  assertEquals(await sendDueMessages(relayOf(on), on.publisher), null);
  held.resolve();
  assertEquals((await first)?.progress.sent, 2);
  await on.db.sql`update replays set due_at = now() + interval '1 hour'`;
  assertEquals(await sendDueMessages(relayOf(on), on.publisher), null);
  assertEquals(await stateOf(on, id), { state: "RUNNING", sent: 2, skipped: 0 });
});

Deno.test("events that were pruned or have become too old meanwhile are skipped and counted", async () => {
  await using on = await stage();
  const [pruned = "", old = "", ...rest] = await payments(on, 4);
  const { ordersPaymentEvents: { name: consumer } } = on.topology.queues;
  const id = await started(on, { ...payment, consumer });
  await on.db.sql`delete from outbox_events where id = ${pruned}`;
  await on.db.sql`
    update outbox_events set occurred_at = now() - ${DAYS + 1} * interval '1 day' where id = ${old}`;
  await sendDueMessages(relayOf(on), on.publisher);
  assertEquals(await stateOf(on, id), { state: "DONE", sent: 4, skipped: 2 });
  assertEquals(await on.taken(consumer), rest);
});

Deno.test("messages that the broker does not take are tried again, so many times, and then the replay ends", async () => {
  await using on = await stage();
  await payments(on, 3);
  const { ordersPaymentEvents: { name: consumer } } = on.topology.queues;
  const id = await started(on, { ...payment, consumer });
  await on.channel.deleteQueue(consumer);
  for (let i = 1; i <= MAX_REPLAY_TRIES; i++) {
    assertEquals(await stateOf(on, id), { state: "RUNNING", sent: 0, skipped: 0 });
    await on.db.sql`update replays set due_at = now()`;
    await sendDueMessages(relayOf(on), on.publisher);
  }
  const replay = await findReplay(on.db.sql, id);
  assertEquals([replay?.state, replay?.sent], ["CANCELLED", 0]);
  assertStringIncludes(
    replay?.reason ?? "",
    `given up after ${MAX_REPLAY_TRIES} tries in a row: ${consumer}: `,
  );
  assertStringIncludes(replay?.reason ?? "", "NO_ROUTE");
});

Deno.test("why the broker does not take a message is kept, whatever it words that with", async () => {
  await using on = await stage();
  await payments(on, 1);
  const id = await started(on, payment);
  const refusing: Publisher = {
    publish: (messages) => {
      const refused = messages.map(({ id }) => ({ id, error: "a\0b" }));
      return Promise.resolve({ confirmed: [], refused, unknown: [], offence: null });
    },
  };
  await sendDueMessages(relayOf(on), refusing);
  assertStringIncludes((await findReplay(on.db.sql, id))?.lastError ?? "", "a\u{FFFD}b");
});

Deno.test("what the broker does not take stays, while the others go on, and is sent once it does", async () => {
  await using on = await stage();
  const ids = await payments(on, 3);
  const { ordersPaymentEvents: { name: lacking }, enrollmentsPaymentSucceeded: { name: other } } =
    on.topology.queues;
  const id = await started(on, payment);
  await on.channel.deleteQueue(lacking);
  await sendDueMessages(relayOf(on), on.publisher);
  assertEquals(await stateOf(on, id), { state: "RUNNING", sent: 3, skipped: 0 });
  await declareTopology(on.channel, on.topology);
  await on.db.sql`update replays set due_at = now()`;
  await sendDueMessages(relayOf(on), on.publisher);
  assertEquals(await stateOf(on, id), { state: "DONE", sent: 6, skipped: 0 });
  assertEquals([await on.taken(lacking), await on.taken(other)], [ids, ids]);
});

Deno.test("what is republished goes to the exchange, says so, and keeps the time of its first publication", async () => {
  await using on = await stage();
  const [id = ""] = await payments(on, 1);
  const { queue } = await on.channel.assertQueue("", { exclusive: true });
  await on.channel.bindQueue(queue, on.topology.exchange, "#"); // that of a stranger
  const published = () => on.db.sql`select published_at from outbox_events`;
  const before = await published();
  const set = await republishEvent(on.db.as("orderflow_ops"), id, bindingsOf(on.topology));
  await sendDueMessages(relayOf(on), on.publisher);
  assertEquals(await stateOf(on, set?.id ?? ""), { state: "DONE", sent: 2, skipped: 0 });
  const copy = await on.channel.get(queue, { noAck: true });
  assert(copy);
  assertEquals([copy.properties.messageId, copy.properties.headers?.[REPUBLISHED_HEADER]], [id, true]);
  for (
    const queue of [on.topology.queues.enrollmentsPaymentSucceeded, on.topology.queues.ordersPaymentEvents]
  ) {
    assertEquals(await on.taken(queue.name), [id]);
  }
  assertEquals(await published(), before);
});

Deno.test("retention passes over an event, however old, that is being republished, and keeps it from then on", async () => {
  await using on = await stage();
  const bindings = bindingsOf(on.topology);
  const data = { orderId: uuidv7(), paymentId: uuidv7(), courseId: uuidv7(), amount: "1.00" };
  const id = await insertPublished(on.db.sql, "payment.succeeded", data, {
    at: new Date(Date.now() - 3_600_000),
  });
  for (const { consumer } of bindings.filter(({ type }) => type === "payment.succeeded")) {
    await on.db.sql`insert into processed_events values (${id}, ${consumer}, now())`;
  }
  const pruneAll = async (before: Date) => {
    await prune(on.db.as("orderflow_retention"), { before, bindings, limit: 100 });
    return (await on.db.sql`select from outbox_events`).count;
  };
  await republishEvent(on.db.as("orderflow_ops"), id, bindings);
  const startedAt = new Date();
  const left: number[] = [];
  await sendDueMessages(relayOf(on), {
    async publish(messages, route, timeoutMs) {
      left.push(await pruneAll(new Date()));
      return await on.publisher.publish(messages, route, timeoutMs);
    },
  });
  left.push(await pruneAll(startedAt), await pruneAll(new Date()));
  assertEquals(left, [1, 1, 0]);
});

Deno.test("a cancelled replay sends nothing more", async () => {
  await using on = await stage();
  const ids = await payments(on, 6);
  const { ordersPaymentEvents: { name: consumer } } = on.topology.queues;
  const id = await started(on, { ...payment, consumer }, 20);
  await sendDueMessages(relayOf(on), on.publisher);
  await cancelReplay(on.db.as("orderflow_ops"), id, "enough");
  assertEquals(await sendDueMessages(relayOf(on), on.publisher), null);
  assertEquals(await stateOf(on, id), { state: "CANCELLED", sent: 2, skipped: 0 });
  assertEquals(await on.taken(consumer), ids.slice(0, 2));
});

Deno.test("paceOf() sends a tenth of the rate ten times a second, and slow ones one by one", () => {
  assertEquals(paceOf(200), { size: 20, everyMs: 100 });
  assertEquals(paceOf(5000), { size: 500, everyMs: 100 });
  assertEquals(paceOf(1), { size: 1, everyMs: 1000 });
  assertEquals(paceOf(7), { size: 1, everyMs: 143 });
});

Deno.test("paceOf() puts no more than the rate into any second, however long each sending takes", () => {
  const rates = fc.integer({ min: 1, max: MAX_REPLAY_RATE });
  const sendings = fc.array(fc.record({ tookMs: fc.nat(2000), lateMs: fc.nat(50) }), { maxLength: 40 });
  fc.assert(fc.property(rates, sendings, (rate, sendings) => {
    const { size, everyMs } = paceOf(rate);
    const spans: { from: number; to: number }[] = [];
    let at = 0;
    for (const { tookMs, lateMs } of sendings) {
      spans.push({ from: at + lateMs, to: at + lateMs + tookMs });
      at += lateMs + tookMs + everyMs;
    }
    // The worst second begins at the last message of a sending, and has all of those that begin within it.
    for (const { to: begin } of spans) {
      const inside = spans.filter(({ from, to }) => to >= begin && from < begin + 1000);
      assert(
        inside.length * size <= rate,
        `${inside.length} sendings of ${size} within a second, of ${rate}`,
      );
    }
  }));
});

Deno.test("progressAfter() goes on at the set's pace, tries again later what was not taken, and ends without any progress", () => {
  const set: DueReplay = {
    id: "r",
    action: "REPLAY",
    total: 6,
    sent: 2,
    skipped: 1,
    rate: 20,
    retryCount: 3,
  };
  const tried = { taken: 0, skipped: 0, hasMore: true, error: null, everyMs: 100 };
  const on = {
    state: "RUNNING",
    sent: 2,
    skipped: 1,
    retryCount: 0,
    error: null,
    reason: null,
    dueInMs: 100,
  };
  const error = "NO_ROUTE";
  const ended = { state: "CANCELLED", reason: "given up after 8 tries in a row: NO_ROUTE", dueInMs: null };
  const cases: [set: Partial<DueReplay>, tried: object, progress: object][] = [
    [{}, { taken: 2, skipped: 1 }, { sent: 5, skipped: 2 }],
    [{}, { taken: 3, skipped: 1, hasMore: false }, { state: "DONE", sent: 6, skipped: 2, dueInMs: null }],
    [{}, { taken: 1, error }, { sent: 3, retryCount: 1, error, dueInMs: 500 }],
    [{}, { error }, { retryCount: 4, error, dueInMs: 32_000 }],
    [{ retryCount: MAX_REPLAY_TRIES - 1 }, { error }, { ...ended, retryCount: MAX_REPLAY_TRIES, error }],
  ];
  for (const [before, what, progress] of cases) {
    assertEquals<unknown>(progressAfter({ ...set, ...before }, { ...tried, ...what }, 0.5), {
      ...on,
      ...progress,
    });
  }
});
