import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { eventually } from "../../specs/support/eventually.ts";
import { openWire, testBroker } from "../../specs/support/test_broker.ts";
import { orderCreated } from "../../specs/support/test_events.ts";
import { testLog } from "../../specs/support/test_log.ts";
import type { NewDeadLetter, NewRetry, SetAside } from "../sql/set_aside.ts";
import {
  collectingMs,
  type Consumer,
  type ConsumerOptions,
  startConsumer,
  watchSubscription,
} from "./consume.ts";
import { type DomainEvent, parseEvent, type ReceivedEvent } from "../events.ts";
import type { HandleBatch, Outcome } from "./settle.ts";

type Options = Omit<ConsumerOptions<DomainEvent, "order.created">, "handle">;

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const done = (events: readonly ReceivedEvent[]): Outcome[] => events.map(() => ({ kind: "done" }));
const outage = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });

/** Sets aside in memory. */
function rememberAside() {
  const letters: NewDeadLetter[] = [];
  const retries: NewRetry[] = [];
  /** Messages under suspicion, with their attempts. */
  const suspects = new Map<string, number>();
  const count = (body: Uint8Array, more: number) => {
    const attempts = (suspects.get(body.toBase64()) ?? 0) + more;
    suspects.set(body.toBase64(), attempts);
    return attempts;
  };
  const setAside: SetAside = {
    countSuspect: (body) => Promise.resolve(count(body, 1)),
    uncountSuspect: (body) => Promise.resolve(void count(body, -1)),
    clearSuspect: (body) => Promise.resolve(void suspects.delete(body.toBase64())),
    keepDeadLetters: (more) => Promise.resolve(void letters.push(...more)),
    keepRetries: (more) => Promise.resolve(void retries.push(...more)),
  };
  return { letters, retries, suspects, setAside };
}

/** A broker, one of its queues, and consumers of it that end with the test. */
async function stage() {
  await using resources = new AsyncDisposableStack();
  const broker = resources.use(await testBroker());
  const { channel } = resources.use(await openWire(broker));
  const { topology, url } = broker;
  const queue = topology.queues.paymentsOrderCreated.name;
  const aside = rememberAside();
  const options: Options = {
    url,
    topology,
    queue,
    batchSize: 10,
    retryPolicy: { maxRetries: 3, earlyMs: 60_000 },
    types: ["order.created"],
    parse: parseEvent,
    maxMessageBytes: 65_536,
    setAside: aside.setAside,
    observers: [],
    log: testLog,
  };
  const consumers: Consumer[] = [];
  resources.defer(async () => void await Promise.all(consumers.map((consumer) => consumer.stop())));
  const owned = resources.move();
  return {
    ...aside,
    options,
    /** Sends bodies to the queue; answers once they are in it. */
    async send(...bodies: (string | ReceivedEvent)[]): Promise<void> {
      for (const body of bodies) {
        const text = typeof body === "string" ? body : JSON.stringify(body.event);
        channel.sendToQueue(queue, Buffer.from(text), { headers: { traceparent: TRACEPARENT } });
      }
      await channel.checkQueue(queue); // behind them
    },
    deleteQueue: () => channel.deleteQueue(queue),
    /** Messages in the queue, those under way to a consumer not counted. */
    depth: async () => (await channel.checkQueue(queue)).messageCount,
    async start(handle: HandleBatch<DomainEvent<"order.created">>, more: Partial<Options> = {}) {
      const consumer = startConsumer({ ...options, ...more, handle });
      consumers.push(consumer);
      await eventually("the subscription", () => consumer.connection.isUp());
      return consumer;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

Deno.test("startConsumer() takes what is waiting as batches, at most so many at once, and acks them all", async () => {
  await using it = await stage();
  const events = Array.from({ length: 25 }, () => orderCreated());
  await it.send(...events);
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

Deno.test("startConsumer() takes no more bytes at once than can be written down", async () => {
  await using it = await stage();
  await it.send(...Array.from({ length: 8 }, () => JSON.stringify(orderCreated().event).padEnd(1 << 20)));
  const sizes: number[] = [];
  await it.start(async (received) => {
    if (sizes.length === 0) await eventually("all to be taken", async () => await it.depth() === 0);
    sizes.push(received.length);
    return done(received);
  }, { maxMessageBytes: 2 << 20 });
  await eventually("all events", () => sizes.reduce((sum, size) => sum + size, 0) === 8);
  assert(Math.max(...sizes) <= 4, `${sizes}`);
});

Deno.test("startConsumer() keeps what can never be processed as it was received, of a large one the beginning, and goes on", async () => {
  await using it = await stage();
  const good = orderCreated();
  let seen = 0;
  await it.start((received) => {
    seen += received.length;
    return Promise.resolve(done(received));
  });
  const large = JSON.stringify(good.event).padEnd(5_000_000); // an event, but for its size
  await it.send("{ no json", large, `${large}.`, good);
  await eventually("the good event", () => seen === 1);
  await eventually("the dead letters", () => it.letters.length === 3);
  const text = ({ body }: NewDeadLetter) => new TextDecoder().decode(body);
  assertEquals(it.letters.map(({ reason, cutFrom, eventId }) => [reason, cutFrom, eventId]), [
    ["not JSON", null, null],
    ["invalid payload", 5_000_000, null],
    ["invalid payload", 5_000_001, null],
  ]);
  const [torn = "", one = "", other = ""] = it.letters.map(text);
  assertEquals([torn, one.slice(0, large.trimEnd().length)], ["{ no json", large.trimEnd()]);
  assert(one.length < 5000 && one !== other, "two that begin alike are two letters");
  await eventually("all to be acked", async () => await it.depth() === 0);
});

Deno.test("startConsumer() tries an early event again without holding up others, and lets go of it after a second, for a delayed retry that spends none", async () => {
  await using it = await stage();
  const [soon, never, other] = [orderCreated(), orderCreated(), orderCreated()];
  const order: string[] = [];
  let due = false;
  const consumer = await it.start((received) =>
    Promise.resolve(received.map(({ event: { eventId } }): Outcome => {
      const isEarly = eventId === never.event.eventId || eventId === soon.event.eventId && !due;
      if (isEarly) return { kind: "early", awaits: "PAID" };
      order.push(eventId);
      return { kind: "done" };
    }))
  );
  await it.send(soon, never, other);
  await eventually("the other event", () => order.length === 1);
  due = true;
  await eventually("the early event", () => order.length === 2);
  assertEquals([order, it.letters, it.retries], [[other.event.eventId, soon.event.eventId], [], []]);
  const retry = await eventually("the retry", () => it.retries[0]);
  const { eventId, retries, error, consumer: to, traceparent } = retry;
  assertEquals([eventId, retries, error], [never.event.eventId, 0, "too early, awaits PAID"]);
  assertEquals([to, traceparent], [it.options.queue, TRACEPARENT]);
  await consumer.stop();
  assertEquals(await it.depth(), 0, "nobody holds it");
});

Deno.test("startConsumer() waits out an outage of the database without spending a retry; cut off in it, it has acked nothing", async () => {
  await using it = await stage();
  let calls = 0;
  const attempts: number[] = [];
  const patient = { retryPolicy: { maxRetries: 0, earlyMs: 0 } };
  const first = await it.start(() => {
    calls++;
    return Promise.reject(outage);
  }, patient);
  await it.send(orderCreated(), orderCreated());
  await eventually("the first try", () => calls > 0);
  await first.stop();
  await it.start((received) => {
    if (calls++ <= 3) return Promise.reject(outage);
    attempts.push(...received.map(({ attempt }) => attempt));
    return Promise.resolve(done(received));
  }, patient);
  await eventually("both events", () => attempts.length === 2);
  assertEquals([attempts, it.letters], [[1, 1], []]);
});

Deno.test("startConsumer() declares its queue anew when it is deleted, and subscribes again, ahead of the next look at its subscription", async () => {
  await using it = await stage();
  let seen = 0;
  const consumer = await it.start((received) => {
    seen += received.length;
    return Promise.resolve(done(received));
  });
  await it.deleteQueue();
  await eventually("the loss", () => !consumer.connection.isUp(), 2000);
  await eventually("another subscription", () => consumer.connection.isUp());
  await it.send(orderCreated());
  await eventually("the event", () => seen === 1);
});

Deno.test("startConsumer() stopped finishes the batch in hand and leaves the rest in the queue", async () => {
  await using it = await stage();
  const release = Promise.withResolvers<void>();
  let started = 0;
  const consumer = await it.start(async (received) => {
    started += received.length;
    await release.promise;
    return done(received);
  }, { batchSize: 1 });
  await it.send(orderCreated(), orderCreated(), orderCreated());
  await eventually("a batch in hand", () => started === 1);
  const stopped = consumer.stop();
  release.resolve();
  await stopped;
  assertEquals(started, 1);
  await eventually("the rest to be back", async () => await it.depth() === 2);
});

for (const [when, looks] of [["at its first look", 0], ["at its second look", 1]] as const) {
  Deno.test(`startConsumer() finds the message that kills its worker ${when} among those beside it, and keeps that one alone`, async () => {
    await using it = await stage();
    const events = Array.from({ length: 9 }, () => orderCreated());
    const killer = events[4]?.event.eventId ?? "";
    const seenDone = new Set<string>();
    await it.send(...events);
    const told: string[] = [];
    let deaths = 0;
    for (; it.letters.length === 0 && deaths < 15; deaths++) {
      const dying = Promise.withResolvers<void>();
      const seen = new Map<string, number>(); // how often this worker has looked at each
      const worker = startConsumer({
        ...it.options,
        handle: (received) => {
          const taken = received.map(({ event: { eventId } }) => ({ eventId, look: seen.get(eventId) ?? 0 }));
          for (const { eventId, look } of taken) seen.set(eventId, look + 1);
          if (taken.some(({ eventId, look }) => eventId === killer && look === looks)) {
            dying.resolve();
            return new Promise(() => {}); // a process that is gone never answers
          }
          return Promise.resolve(taken.map(({ eventId, look }): Outcome => {
            if (look < 2 * looks) return { kind: "waiting" }; // longer than the killer takes
            seenDone.add(eventId);
            return { kind: "done" };
          }));
        },
        observers: [{
          settled: ({ messages, letters }) => {
            told.push(...messages.map(({ outcome }) => `${outcome.kind}, ${letters.length} dead letters`));
            if (letters.length > 0) dying.resolve();
          },
        }],
      });
      await dying.promise;
      if (it.letters.length > 0) {
        await eventually("the others", () => seenDone.size === 8);
        await worker.stop();
      } else await worker.connection.close();
    }
    assertEquals(it.letters.map(({ reason, eventId }) => [reason, eventId]), [["kills its worker", killer]]);
    assertEquals([seenDone.size, seenDone.has(killer)], [8, false]);
    assert(deaths < 10, `${deaths} deaths`);
    assertEquals([it.suspects.size, await it.depth()], [0, 0]);
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

Deno.test("watchSubscription() tells when the queue has no consumer twice in a row, or owes the answer, and of nothing else", async () => {
  const owed = Promise.withResolvers<number>();
  const gone = () => Promise.reject(new Error("no channel")); // it comes back by itself
  const answers = [1, 0, 1, 0, 2, 0, gone, 0, gone, gone, 0, 0, 1, () => owed.promise];
  let asked = 0;
  const forgottenAt: number[] = [];
  const end = watchSubscription(
    () => {
      const answer = answers[asked++] ?? 1;
      return typeof answer === "number" ? Promise.resolve(answer) : answer();
    },
    () => forgottenAt.push(asked),
    1,
  );
  await eventually("the end", () => forgottenAt.length > 1);
  end();
  assertEquals(forgottenAt.slice(0, 2), [12, 14], "no question is put while the last one is open");
  owed.resolve(1);
});
