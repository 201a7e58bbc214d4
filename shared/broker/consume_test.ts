import { assert, assertEquals } from "@std/assert";
import { type Channel, type ChannelModel, connect } from "amqplib";
import { Buffer } from "node:buffer";
import { eventually } from "../../specs/support/eventually.ts";
import { type TestBroker, testBroker } from "../../specs/support/test_broker.ts";
import { orderCreated } from "../../specs/support/test_events.ts";
import { testLog } from "../../specs/support/test_log.ts";
import type { NewDeadLetter, NewRetry } from "../sql/set_aside.ts";
import {
  collectingMs,
  type Consumer,
  type ConsumerOptions,
  startConsumer,
  watchSubscription,
} from "./consume.ts";
import { declareTopology } from "./connection.ts";
import { type DomainEvent, parseEvent, type ReceivedEvent } from "../events.ts";
import { headersOf } from "./message.ts";
import type { HandleBatch, Outcome, RetryPolicy } from "./settle.ts";

interface Rig extends AsyncDisposable {
  readonly model: ChannelModel;
  readonly channel: Channel;
  readonly queue: string;
  /** Sends bodies to the consumer's queue. */
  send(...bodies: (string | ReceivedEvent)[]): void;
  /** Messages in the queue, those under way to a consumer not counted. */
  depth(): Promise<number>;
  readonly letters: NewDeadLetter[];
  /** What is to be delivered again later, with its retry state. */
  readonly retries: NewRetry[];
  /** Delivers a retry, as the relay does when it is due. */
  redeliver(retry: NewRetry): void;
  /** Messages under suspicion, with their attempts. */
  readonly suspects: ReadonlyMap<string, number>;
  readonly options: Omit<ConsumerOptions<DomainEvent, "order.created">, "handle">;
  start(
    handle: HandleBatch<DomainEvent<"order.created">>,
    more?: { batchSize?: number; retryPolicy?: RetryPolicy; maxMessageBytes?: number },
  ): Promise<Consumer>;
}

async function rig(broker: TestBroker): Promise<Rig> {
  const model = await connect(broker.url);
  const channel = await model.createChannel();
  await declareTopology(channel, broker.topology);
  const queue = broker.topology.queues.paymentsOrderCreated.name;
  const letters: NewDeadLetter[] = [];
  const retries: NewRetry[] = [];
  const suspects = new Map<string, number>();
  const consumers: Consumer[] = [];
  const options: Rig["options"] = {
    url: broker.url,
    topology: broker.topology,
    queue,
    batchSize: 10,
    retryPolicy: { maxRetries: 3, earlyMs: 60_000 },
    types: ["order.created"],
    parse: parseEvent,
    maxMessageBytes: 65_536,
    setAside: {
      countSuspect: (body) => {
        const attempts = (suspects.get(body.toBase64()) ?? 0) + 1;
        suspects.set(body.toBase64(), attempts);
        return Promise.resolve(attempts);
      },
      uncountSuspect: (body) =>
        Promise.resolve(void suspects.set(body.toBase64(), (suspects.get(body.toBase64()) ?? 0) - 1)),
      clearSuspect: (body) => Promise.resolve(void suspects.delete(body.toBase64())),
      keepDeadLetters: (more) => Promise.resolve(void letters.push(...more)),
      keepRetries: (more) => Promise.resolve(void retries.push(...more)),
    },
    observers: [],
    log: testLog,
  };
  return {
    model,
    channel,
    queue,
    letters,
    retries,
    redeliver({ body, retries, ageMs }) {
      channel.sendToQueue(queue, Buffer.from(body), { headers: headersOf({ retries, ageMs }) });
    },
    suspects,
    send(...bodies) {
      for (const body of bodies) {
        const text = typeof body === "string" ? body : JSON.stringify(body.event);
        channel.sendToQueue(queue, Buffer.from(text), { headers: { traceparent: TRACEPARENT } });
      }
    },
    depth: async () => (await channel.checkQueue(queue)).messageCount,
    options,
    async start(handle, more = {}) {
      const consumer = await startConsumer({ ...options, ...more, handle });
      consumers.push(consumer);
      await eventually("the subscription", () => consumer.connection.isUp());
      return consumer;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(consumers.map((consumer) => consumer.stop()));
      await model.close().catch(() => {});
    },
  };
}

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const done = (events: readonly ReceivedEvent[]): Outcome[] => events.map(() => ({ kind: "done" }));

Deno.test("startConsumer() takes what is waiting as batches, at most so many at once, and acks them all", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  const events = Array.from({ length: 25 }, () => orderCreated());
  it.send(...events);
  await eventually("the messages to wait", async () => await it.depth() === 25);
  const batches: string[][] = [];
  const consumer = await it.start(async (received) => {
    // Not done before all that fits the prefetch has arrived, so that the next batches are whole.
    await eventually("the queue to be taken", async () => await it.depth() <= 5 || batches.length > 0);
    batches.push(received.map(({ event }) => event.eventId));
    return done(received);
  });
  await eventually("all events", () => batches.flat().length === 25);
  await consumer.stop();
  assertEquals(batches.flat(), events.map(({ event }) => event.eventId));
  assert(batches.every((batch) => batch.length <= 10), JSON.stringify(batches.map((b) => b.length)));
  assert(batches.length <= 5, `${batches.length} batches`);
  assertEquals(await it.depth(), 0);
});

Deno.test("startConsumer() makes what can never be processed a dead letter, as received, and goes on", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  const good = orderCreated();
  const seen: string[] = [];
  await it.start((received) => {
    seen.push(...received.map(({ event }) => event.eventId));
    return Promise.resolve(done(received));
  });
  it.send("{ no json", JSON.stringify({ ...good.event, version: 9 }), good);
  await eventually("the good event", () => seen.length === 1);
  await eventually("the dead letters", () => it.letters.length === 2);
  assertEquals(
    it.letters.map(({ consumer, reason, body }) => [consumer, reason, new TextDecoder().decode(body)]),
    [
      [it.queue, "not JSON", "{ no json"],
      [it.queue, "unknown version", JSON.stringify({ ...good.event, version: 9 })],
    ],
  );
  await eventually("all to be acked", async () => await it.depth() === 0);
});

Deno.test("startConsumer() keeps the beginning of a message that is too large, whatever it is, and goes on", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  const good = orderCreated();
  const seen: string[] = [];
  await it.start((received) => {
    seen.push(...received.map(({ event }) => event.eventId));
    return Promise.resolve(done(received));
  });
  const large = JSON.stringify(good.event).padEnd(5_000_000); // an event, but for its size
  it.send(large, `${large}.`, good);
  await eventually("the good event", () => seen.length === 1);
  await eventually("the dead letters", () => it.letters.length === 2);
  assertEquals(
    it.letters.map(({ reason, cutFrom, eventId }) => [reason, cutFrom, eventId]),
    [["invalid payload", 5_000_000, null], ["invalid payload", 5_000_001, null]],
  );
  const [one = "", other = ""] = it.letters.map(({ body }) => new TextDecoder().decode(body));
  assert(one.startsWith(JSON.stringify(good.event)) && one.length < 5000, `${one.length} bytes`);
  assert(one !== other, "two that begin alike are two letters");
});

Deno.test("startConsumer() takes no more bytes at once than can be written down", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  const events = Array.from({ length: 8 }, () => JSON.stringify(orderCreated().event).padEnd(1 << 20));
  it.send(...events);
  await eventually("the messages to wait", async () => await it.depth() === 8);
  const sizes: number[] = [];
  await it.start(async (received) => {
    if (sizes.length === 0) await eventually("all to be taken", async () => await it.depth() === 0);
    sizes.push(received.length);
    return done(received);
  }, { maxMessageBytes: 2 << 20 });
  await eventually("all events", () => sizes.reduce((sum, size) => sum + size, 0) === 8);
  assert(Math.max(...sizes) <= 4, `${sizes}`);
});

Deno.test("startConsumer() tries an early event again as soon as its time has come, without holding up others", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  const [early, other] = [orderCreated(), orderCreated()];
  const order: string[] = [];
  let due = false;
  await it.start((received) =>
    Promise.resolve(received.map(({ event }): Outcome => {
      if (event.eventId === early.event.eventId && !due) return { kind: "early", awaits: "PAID" };
      order.push(event.eventId);
      return { kind: "done" };
    }))
  );
  it.send(early, other);
  await eventually("the other event", () => order.length === 1);
  due = true;
  await eventually("the early event", () => order.length === 2);
  assertEquals(order, [other.event.eventId, early.event.eventId]);
  assertEquals(it.letters, []);
});

Deno.test("startConsumer() lets go of an early event after a second, for a delayed retry that spends none", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  const sent = orderCreated();
  const consumer = await it.start((received) =>
    Promise.resolve(received.map((): Outcome => ({ kind: "early", awaits: "PAID" })))
  );
  it.send(sent);
  await eventually("the retry", () => it.retries.length === 1);
  const [retry] = it.retries;
  assertEquals([retry?.eventId, retry?.retries, retry?.error], [
    sent.event.eventId,
    0,
    "too early, awaits PAID",
  ]);
  assertEquals([retry?.consumer, retry?.traceparent], [it.queue, TRACEPARENT]);
  await consumer.stop();
  assertEquals(await it.depth(), 0, "nobody holds it");
});

Deno.test("startConsumer() has what fails delivered again, counts its attempts, and then keeps it with the last error", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  const attempts: number[] = [];
  await it.start((received) =>
    Promise.resolve(received.map(({ attempt }): Outcome => {
      attempts.push(attempt);
      return { kind: "failed", error: `attempt ${attempt} timed out` };
    })), { retryPolicy: { maxRetries: 1, earlyMs: 0 } });
  it.send(orderCreated());
  await eventually("the retry", () => it.retries.length === 1);
  const [retry] = it.retries;
  assert(retry);
  assertEquals([retry.retries, retry.error], [1, "attempt 1 timed out"]);
  it.redeliver(retry);
  await eventually("the dead letter", () => it.letters.length === 1);
  assertEquals(attempts, [1, 2]);
  const [letter] = it.letters;
  assertEquals([letter?.reason, letter?.detail, letter?.attempts], [
    "retries exhausted",
    "attempt 2 timed out",
    2,
  ]);
});

Deno.test("startConsumer() waits out an outage of the database without spending a retry", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  let calls = 0;
  const attempts: number[] = [];
  await it.start((received) => {
    if (++calls <= 3) return Promise.reject(Object.assign(new Error("refused"), { code: "ECONNREFUSED" }));
    attempts.push(...received.map(({ attempt }) => attempt));
    return Promise.resolve(done(received));
  }, { retryPolicy: { maxRetries: 0, earlyMs: 0 } });
  it.send(orderCreated());
  await eventually("the event", () => attempts.length === 1);
  assertEquals(attempts, [1]);
  assertEquals(it.letters, []);
});

Deno.test("startConsumer() acks nothing that was not committed: what is in hand when it is cut off comes again", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  const outage = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
  let called = false;
  const first = await it.start(() => {
    called = true;
    return Promise.reject(outage);
  });
  it.send(orderCreated(), orderCreated());
  await eventually("the first try", () => called);
  await first.stop();
  const seen: string[] = [];
  await it.start((received) => {
    seen.push(...received.map(({ event }) => event.eventId));
    return Promise.resolve(done(received));
  });
  await eventually("both events", () => seen.length === 2);
});

Deno.test("startConsumer() subscribes again when its queue is deleted, and declares it anew", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  const seen: string[] = [];
  await it.start((received) => {
    seen.push(...received.map(({ event }) => event.eventId));
    return Promise.resolve(done(received));
  });
  await it.channel.deleteQueue(it.queue);
  await using other = await rig(broker); // a channel that asks for a missing queue is closed: use one of its own
  await eventually("a consumer on the new queue", async () => {
    const { consumerCount } = await other.channel.checkQueue(it.queue);
    return consumerCount === 1;
  });
  other.send(orderCreated());
  await eventually("the event", () => seen.length === 1);
});

Deno.test("startConsumer() stopped finishes the batch in hand and leaves the rest in the queue", async () => {
  await using broker = await testBroker();
  await using it = await rig(broker);
  const release = Promise.withResolvers<void>();
  let started = 0;
  const consumer = await it.start(async (received) => {
    started += received.length;
    await release.promise;
    return done(received);
  }, { batchSize: 1 });
  it.send(orderCreated(), orderCreated(), orderCreated());
  await eventually("a batch in hand", () => started === 1);
  const stopped = consumer.stop();
  release.resolve();
  await stopped;
  assertEquals(started, 1);
  await eventually("the rest to be back", async () => await it.depth() === 2);
});

for (const [when, looks] of [["at its first look", 0], ["at its second look", 1]] as const) {
  Deno.test(`startConsumer() finds the message that kills its worker ${when} among those beside it, and keeps that one alone`, async () => {
    await using broker = await testBroker();
    await using it = await rig(broker);
    const events = Array.from({ length: 9 }, () => orderCreated());
    const killer = events[4];
    assert(killer);
    const done = new Set<string>();
    it.send(...events);
    const told: string[] = [];
    let deaths = 0;
    for (; it.letters.length === 0 && deaths < 15; deaths++) {
      const dying = Promise.withResolvers<void>();
      const seen = new Map<string, number>(); // how often this worker has looked at each
      const worker = await startConsumer({
        ...it.options,
        handle: (received) => {
          const taken = received.map(({ event: { eventId } }) => ({ eventId, look: seen.get(eventId) ?? 0 }));
          for (const { eventId, look } of taken) seen.set(eventId, look + 1);
          if (taken.some(({ eventId, look }) => eventId === killer.event.eventId && look === looks)) {
            dying.resolve();
            return new Promise(() => {}); // a process that is gone never answers
          }
          return Promise.resolve(taken.map(({ eventId, look }): Outcome => {
            if (look < 2 * looks) return { kind: "waiting" }; // longer than the killer takes
            done.add(eventId);
            return { kind: "done" };
          }));
        },
        setAside: {
          ...it.options.setAside,
          keepDeadLetters: (letters) => {
            it.letters.push(...letters);
            dying.resolve();
            return Promise.resolve();
          },
        },
        observers: [{
          settled: ({ messages, letters }) => {
            told.push(...messages.map(({ outcome }) => `${outcome.kind}, ${letters.length} dead letters`));
          },
        }],
      });
      await dying.promise;
      if (it.letters.length > 0) {
        await eventually("the others", () => done.size === 8);
        await worker.stop();
      } else await worker.connection.close();
    }
    const [letter] = it.letters;
    assertEquals([it.letters.length, letter?.reason, letter?.eventId], [
      1,
      "kills its worker",
      killer.event.eventId,
    ]);
    assertEquals(done.size, 8);
    assertEquals(done.has(killer.event.eventId), false);
    assert(deaths < 10, `${deaths} deaths`);
    assertEquals(it.suspects.size, 0);
    assertEquals(await it.depth(), 0);
    assertEquals(
      new Set(told).difference(new Set(["waiting, 0 dead letters"])),
      new Set(["done, 0 dead letters", "rejected, 1 dead letters"]),
    );
  });
}

Deno.test("collectingMs() collects longer after a larger batch, and not at all after one message or after a rest", () => {
  assertEquals([1, 2, 25, 250].map((size) => collectingMs(size, 0)), [0, 10, 10, 100]);
  assertEquals([0, 40, 100, 3_600_000].map((agoMs) => collectingMs(250, agoMs)), [100, 60, 0, 0]);
});

Deno.test("watchSubscription() tells when the queue has no consumer twice in a row, and of nothing else", async () => {
  const answers = [1, 0, 1, 0, 2, 0, 0];
  let asked = 0;
  const forgottenAt: number[] = [];
  const end = watchSubscription(
    () => Promise.resolve(answers[asked++] ?? 1),
    () => forgottenAt.push(asked),
    1,
  );
  await eventually("all answers", () => asked >= answers.length);
  await eventually("the end", () => forgottenAt.length > 0);
  end();
  assertEquals(forgottenAt, [answers.length]);
});

Deno.test("watchSubscription() takes a question that fails for no answer", async () => {
  let asked = 0;
  let forgotten = 0;
  const end = watchSubscription(
    () => Promise.reject(new Error(`no channel ${asked++}`)),
    () => forgotten++,
    1,
  );
  await eventually("some questions", () => asked > 5);
  end();
  assertEquals(forgotten, 0);
});

Deno.test("watchSubscription() takes a question without an answer for a subscription that is gone", async () => {
  const answer = Promise.withResolvers<number>();
  let asked = 0;
  let forgotten = 0;
  const end = watchSubscription(
    () => {
      asked++;
      return answer.promise;
    },
    () => forgotten++,
    1,
  );
  await eventually("word of it", () => forgotten > 0);
  end();
  assertEquals(asked, 1, "a question was put while the last one was open");
  answer.resolve(1);
});
