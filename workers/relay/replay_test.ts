import fc from "fast-check";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { bindingsOf, declareTopology } from "../../shared/broker/connection.ts";
import { REPUBLISHED_HEADER } from "../../shared/broker/message.ts";
import type { Publisher } from "../../shared/broker/publish.ts";
import {
  cancelReplay,
  findReplay,
  MAX_REPLAY_RATE,
  prepareReplay,
  readHorizon,
  republishEvent,
  startReplay,
} from "../../shared/ops/replays.ts";
import { type DueReplay, MAX_REPLAY_TRIES, paceOf, progressAfter } from "../../shared/ops/send_again.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { openWire, testBroker } from "../../specs/support/test_broker.ts";
import { insertPublished, type PublishedEventOptions } from "../../specs/support/test_events.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { keepReplaying, sendDueMessages } from "./replay.ts";
import { prune } from "./retention.ts";

shareTestSchema();

const DAYS = 14;

/** A database, a broker with the topology on it, and what a relay sends with. */
async function stage() {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(await testSchema());
  const broker = resources.use(await testBroker());
  const { channel, publisher, route: exchange } = resources.use(await openWire(broker));
  const { topology } = broker;
  const relay = { sql: db.as("orderflow_relay"), exchange, retentionDays: DAYS };
  const owned = resources.move();
  return {
    ...{ sql: db.sql, as: db.as, topology, channel, publisher },
    /** Both hear of payments that succeeded. */
    orders: topology.queues.ordersPaymentEvents.name,
    enrollments: topology.queues.enrollmentsPaymentSucceeded.name,
    /** Puts `count` such payments into the outbox; answers with their ids, in order. */
    async payments(count: number, options?: PublishedEventOptions): Promise<string[]> {
      const data = { orderId: uuidv7(), paymentId: uuidv7(), courseId: uuidv7(), amount: "1.00" };
      const ids: string[] = [];
      while (ids.length < count) ids.push(await insertPublished(db.sql, "payment.succeeded", data, options));
      return ids;
    },
    /** Starts a replay of them, to one consumer or to both; answers with its id. */
    async started(consumer?: string, rate = MAX_REPLAY_RATE): Promise<string> {
      const sql = db.as("orderflow_ops");
      const filter = { type: "payment.succeeded", consumer } as const;
      const horizon = await readHorizon(sql, DAYS);
      const { replay } = await prepareReplay(sql, filter, bindingsOf(topology), horizon);
      assert(replay);
      await startReplay(sql, replay.id, rate);
      return replay.id;
    },
    send: (by: Publisher = publisher) => sendDueMessages(relay, by),
    makeDue: () => db.sql`update replays set due_at = now()`,
    /** Sends by the loop until the replays are done. */
    async sendAll(...ids: string[]): Promise<void> {
      const stop = new AbortController();
      const loop = keepReplaying({ ...relay, publisher: () => publisher, log: testLog }, stop.signal);
      try {
        const states = () => Promise.all(ids.map((id) => findReplay(db.sql, id)));
        await eventually(
          "all to be done",
          async () => (await states()).every((set) => set?.state === "DONE"),
        );
      } finally {
        stop.abort();
        await loop;
      }
    },
    async progressOf(id: string) {
      const replay = await findReplay(db.sql, id);
      return [replay?.state, replay?.sent, replay?.skipped];
    },
    /** The event ids of the messages in a queue, which are taken out. */
    async taken(queue: string): Promise<string[]> {
      const ids: string[] = [];
      for (let message; (message = await channel.get(queue, { noAck: true }));) {
        ids.push(String(message.properties.messageId));
      }
      return ids;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

Deno.test("keepReplaying() sends each consumer its own events, in order, to its queue alone", async () => {
  await using on = await stage();
  const ids = await on.payments(30);
  const [all, one] = [await on.started(undefined, 300), await on.started(on.orders)];
  await on.sendAll(all, one);
  assertEquals(await on.progressOf(all), ["DONE", 60, 0]);
  assertEquals(await on.progressOf(one), ["DONE", 30, 0]);
  assertEquals(await on.taken(on.enrollments), ids);
  assertEquals((await on.taken(on.orders)).toSorted(), [...ids, ...ids].toSorted());
});

Deno.test("a relay killed before its commit leaves the replay where it was, and the next one goes on from there", async () => {
  await using on = await stage();
  const ids = await on.payments(12);
  const id = await on.started(on.orders, 50); // five at a time
  await on.send();
  assertEquals(await on.progressOf(id), ["RUNNING", 5, 0]);
  const killed: Publisher = {
    async publish(...args) {
      await on.publisher.publish(...args);
      throw new Error("killed");
    },
  };
  await on.makeDue();
  await assertRejects(() => on.send(killed), Error, "killed");
  assertEquals(await on.progressOf(id), ["RUNNING", 5, 0]);
  await on.sendAll(id);
  assertEquals(await on.taken(on.orders), [...ids.slice(0, 10), ...ids.slice(5)]);
});

Deno.test("two relays never send from one replay at once, and none sends before it is due, or once it is cancelled", async () => {
  await using on = await stage();
  const ids = await on.payments(4);
  const id = await on.started(on.orders, 20);
  const [begun, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const first = on.send({
    async publish(...args) {
      begun.resolve();
      await held.promise;
      return await on.publisher.publish(...args);
    },
  });
  await begun.promise;
  assertEquals(await on.send(), null);
  held.resolve();
  assertEquals((await first)?.progress.sent, 2);
  await on.sql`update replays set due_at = now() + interval '1 hour'`;
  assertEquals(await on.send(), null);
  await on.makeDue();
  await cancelReplay(on.as("orderflow_ops"), id, "enough");
  assertEquals(await on.send(), null);
  assertEquals(await on.progressOf(id), ["CANCELLED", 2, 0]);
  assertEquals(await on.taken(on.orders), ids.slice(0, 2));
});

Deno.test("events that were pruned or have become too old meanwhile are skipped and counted", async () => {
  await using on = await stage();
  const [pruned = "", old = "", ...rest] = await on.payments(4);
  const id = await on.started(on.orders);
  await on.sql`delete from outbox_events where id = ${pruned}`;
  await on.sql`
    update outbox_events set occurred_at = now() - ${DAYS + 1} * interval '1 day' where id = ${old}`;
  await on.send();
  assertEquals(await on.progressOf(id), ["DONE", 4, 2]);
  assertEquals(await on.taken(on.orders), rest);
});

Deno.test("messages that the broker does not take are tried again, so many times, and then the replay ends, and says why in its words", async () => {
  await using on = await stage();
  await on.payments(3);
  const id = await on.started(on.orders);
  const refusing: Publisher = {
    publish: (messages) => {
      const refused = messages.map(({ id }) => ({ id, error: "a\0b" }));
      return Promise.resolve({ confirmed: [], refused, unknown: [], offence: null });
    },
  };
  for (let i = 1; i <= MAX_REPLAY_TRIES; i++) {
    assertEquals(await on.progressOf(id), ["RUNNING", 0, 0]);
    await on.makeDue();
    await on.send(refusing);
  }
  const { state, sent, reason, lastError } = await findReplay(on.sql, id) ?? {};
  const error = `${on.orders}: a\u{FFFD}b`;
  assertEquals([state, sent, lastError], ["CANCELLED", 0, error]);
  assertEquals(reason, `given up after ${MAX_REPLAY_TRIES} tries in a row: ${error}`);
});

Deno.test("what the broker does not take stays, while the others go on, and is sent once it does", async () => {
  await using on = await stage();
  const ids = await on.payments(3);
  const id = await on.started();
  await on.channel.deleteQueue(on.orders);
  await on.send();
  assertEquals(await on.progressOf(id), ["RUNNING", 3, 0]);
  assertStringIncludes((await findReplay(on.sql, id))?.lastError ?? "", "NO_ROUTE");
  await declareTopology(on.channel, on.topology);
  await on.makeDue();
  await on.send();
  assertEquals(await on.progressOf(id), ["DONE", 6, 0]);
  assertEquals([await on.taken(on.orders), await on.taken(on.enrollments)], [ids, ids]);
});

Deno.test("what is republished goes to the exchange, says so, and keeps the time of its first publication", async () => {
  await using on = await stage();
  const [id = ""] = await on.payments(1);
  const { queue } = await on.channel.assertQueue("", { exclusive: true });
  await on.channel.bindQueue(queue, on.topology.exchange, "#"); // that of a stranger
  const published = () => on.sql`select published_at from outbox_events`;
  const before = await published();
  const set = await republishEvent(on.as("orderflow_ops"), id, bindingsOf(on.topology));
  await on.send();
  assertEquals(await on.progressOf(set?.id ?? ""), ["DONE", 2, 0]);
  const copy = await on.channel.get(queue, { noAck: true });
  assert(copy);
  assertEquals([copy.properties.messageId, copy.properties.headers?.[REPUBLISHED_HEADER]], [id, true]);
  for (const heard of [on.orders, on.enrollments]) assertEquals(await on.taken(heard), [id]);
  assertEquals(await published(), before);
});

Deno.test("retention passes over an event, however old, that is being republished, and keeps it from then on", async () => {
  await using on = await stage();
  const bindings = bindingsOf(on.topology);
  const [id = ""] = await on.payments(1, { at: new Date(Date.now() - 3_600_000) });
  for (const consumer of [on.orders, on.enrollments]) {
    await on.sql`insert into processed_events values (${id}, ${consumer}, now())`;
  }
  const pruneAll = async (before: Date) => {
    await prune(on.as("orderflow_retention"), { before, bindings, limit: 100 });
    return (await on.sql`select from outbox_events`).count;
  };
  await republishEvent(on.as("orderflow_ops"), id, bindings);
  const startedAt = new Date();
  const left: number[] = [];
  await on.send({
    async publish(...args) {
      left.push(await pruneAll(new Date()));
      return await on.publisher.publish(...args);
    },
  });
  left.push(await pruneAll(startedAt), await pruneAll(new Date()));
  assertEquals(left, [1, 1, 0]);
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
    [{}, { hasMore: false }, { state: "DONE", sent: 6, skipped: 5, dueInMs: null }], // the others are gone
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
