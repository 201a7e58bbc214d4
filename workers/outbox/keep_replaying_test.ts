import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type ConfirmChannel, connect } from "amqplib";
import { v7 as uuidv7 } from "uuid";
import { declareTopology } from "../../shared/broker/declare.ts";
import { createPublisher, type Publisher } from "../../shared/broker/publish.ts";
import { bindingsOf, type Topology } from "../../shared/broker/topology.ts";
import { MAX_REPLAY_RATE, type ReplayFilter } from "../../shared/replay.ts";
import { cancelReplay, findReplay, prepareReplay, startReplay } from "../../shared/sql/replays.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { insertPublished } from "../../specs/support/published_events.ts";
import { testBroker } from "../../specs/support/test_broker.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { keepReplaying, sendDueMessages } from "./keep_replaying.ts";
import { MAX_REPLAY_TRIES } from "./pace_replay.ts";

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
  const prepared = await prepareReplay(sql, { filter, bindings: bindingsOf(topology), horizon: horizon() });
  if (prepared.kind !== "prepared") throw new Error(prepared.kind);
  await startReplay(sql, prepared.replay.id, rate);
  return prepared.replay.id;
}

const payment: ReplayFilter = { type: "payment.succeeded" };

async function stateOf({ db }: Stage, id: string) {
  const replay = await findReplay(db.sql, id);
  return replay && { state: replay.state, sent: replay.sent, skipped: replay.skipped };
}

/** Runs the loop while `work` is done. */
async function replaying<T>(stage: Stage, work: () => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const { db, publisher } = stage;
  const sql = db.as("orderflow_relay");
  const loop = keepReplaying(
    { sql, publisher: () => publisher, retentionDays: DAYS, log: testLog },
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
  const sql = on.db.as("orderflow_relay");
  await sendDueMessages(sql, on.publisher, horizon());
  assertEquals(await stateOf(on, id), { state: "RUNNING", sent: 5, skipped: 0 });
  const killed: Publisher = {
    async publish(...args) {
      await on.publisher.publish(...args);
      throw new Error("killed");
    },
  };
  await on.db.sql`update replays set due_at = now()`;
  await assertRejects(() => sendDueMessages(sql, killed, horizon()), Error, "killed");
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
  const sql = on.db.as("orderflow_relay");
  const first = sendDueMessages(sql, slow, horizon());
  await begun.promise;
  assertEquals(await sendDueMessages(sql, on.publisher, horizon()), null);
  held.resolve();
  assertEquals((await first)?.progress.sent, 2);
  await on.db.sql`update replays set due_at = now() + interval '1 hour'`;
  assertEquals(await sendDueMessages(sql, on.publisher, horizon()), null);
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
  await sendDueMessages(on.db.as("orderflow_relay"), on.publisher, horizon());
  assertEquals(await stateOf(on, id), { state: "DONE", sent: 4, skipped: 2 });
  assertEquals(await on.taken(consumer), rest);
});

Deno.test("messages that the broker does not take are tried again, so many times, and then the replay ends", async () => {
  await using on = await stage();
  await payments(on, 3);
  const { ordersPaymentEvents: { name: consumer } } = on.topology.queues;
  const id = await started(on, { ...payment, consumer });
  await on.channel.deleteQueue(consumer);
  const sql = on.db.as("orderflow_relay");
  for (let i = 1; i <= MAX_REPLAY_TRIES; i++) {
    assertEquals(await stateOf(on, id), { state: "RUNNING", sent: 0, skipped: 0 });
    await on.db.sql`update replays set due_at = now()`;
    await sendDueMessages(sql, on.publisher, horizon());
  }
  const replay = await findReplay(on.db.sql, id);
  assertEquals([replay?.state, replay?.sent], ["CANCELLED", 0]);
  assertStringIncludes(
    replay?.reason ?? "",
    `given up after ${MAX_REPLAY_TRIES} tries in a row: ${consumer}: `,
  );
  assertStringIncludes(replay?.reason ?? "", "NO_ROUTE");
});

Deno.test("a replay goes on once the broker takes its messages again, and nothing is left out", async () => {
  await using on = await stage();
  const ids = await payments(on, 3);
  const { ordersPaymentEvents: { name: consumer } } = on.topology.queues;
  const id = await started(on, { ...payment, consumer });
  await on.channel.deleteQueue(consumer);
  const sql = on.db.as("orderflow_relay");
  await sendDueMessages(sql, on.publisher, horizon());
  await declareTopology(on.channel, on.topology);
  await on.db.sql`update replays set due_at = now()`;
  await sendDueMessages(sql, on.publisher, horizon());
  assertEquals(await stateOf(on, id), { state: "DONE", sent: 3, skipped: 0 });
  assertEquals(await on.taken(consumer), ids);
});

Deno.test("a cancelled replay sends nothing more", async () => {
  await using on = await stage();
  const ids = await payments(on, 6);
  const { ordersPaymentEvents: { name: consumer } } = on.topology.queues;
  const id = await started(on, { ...payment, consumer }, 20);
  const sql = on.db.as("orderflow_relay");
  await sendDueMessages(sql, on.publisher, horizon());
  await cancelReplay(on.db.as("orderflow_ops"), id, "enough");
  assertEquals(await sendDueMessages(sql, on.publisher, horizon()), null);
  assertEquals(await stateOf(on, id), { state: "CANCELLED", sent: 2, skipped: 0 });
  assertEquals(await on.taken(consumer), ids.slice(0, 2));
});
