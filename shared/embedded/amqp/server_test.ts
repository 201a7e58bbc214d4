import { assertEquals, assertGreater, assertLess, assertRejects, assertThrows } from "@std/assert";
import { connect } from "amqplib";
import { type AmqpBroker, type AmqpBrokerEvent, type AmqpBrokerOptions, startAmqpBroker } from "./server.ts";
import { consumeInto, send, until } from "./testdata/conformance.ts";
import { answerTo, closeCode, content, exchangeBytes, sendRaw, session } from "./testdata/raw_client.ts";

/** Registers a test against a broker of its own, and hands over what the broker logs. */
function brokerTest(
  name: string,
  options: AmqpBrokerOptions,
  body: (broker: AmqpBroker, events: AmqpBrokerEvent[]) => Promise<void>,
): void {
  Deno.test(`startAmqpBroker ${name}`, async () => {
    const events: AmqpBrokerEvent[] = [];
    const broker = startAmqpBroker({ ...options, log: (event) => events.push(event) });
    try {
      await body(broker, events);
    } finally {
      await broker.stop();
    }
  });
}

Deno.test("startAmqpBroker listens on a free port unless told which", async () => {
  const broker = startAmqpBroker();
  assertEquals(broker.url, `amqp://guest:guest@127.0.0.1:${broker.port}`);
  assertThrows(() => startAmqpBroker({ port: broker.port }), Deno.errors.AddrInUse);
  await broker.stop();
  await startAmqpBroker({ port: broker.port }).stop(); // the port is free again
});

const mine = { user: "me", password: "p@ss/word%" };

brokerTest("lets in who has its user and password, which its URL holds", mine, async (broker, events) => {
  await (await connect(broker.url)).close();
  const guest = `amqp://guest:guest@127.0.0.1:${broker.port}`;
  await assertRejects(() => connect(guest), Error, "ACCESS_REFUSED");
  assertEquals(events.flatMap((event) => event.type === "connection opened" ? event.user : []), ["me"]);
  assertThrows(() => startAmqpBroker({ hostname: "0.0.0.0" }), TypeError, "give another one");
});

// The sanitizers fail this test should a timer, socket or pending operation stay behind.
Deno.test("stop closes connections with 320 and leaves nothing, called twice too", async () => {
  const broker = startAmqpBroker({ heartbeatSeconds: 1, maxMemoryBytes: 100_000 });
  const connection = await connect(broker.url);
  const channel = await connection.createConfirmChannel();
  channel.on("error", () => {});
  await channel.assertQueue("with timers", { messageTtl: 60_000 });
  await send(channel, "with timers", ["left behind"]);
  await consumeInto(channel, "with timers");
  const silent = await sendRaw(broker.url, session(broker.url, [])); // never answers
  const stopped = await connect(broker.url); // waits for memory
  const blocked = new Promise((resolve) => stopped.once("blocked", resolve));
  stopped.on("error", () => {});
  const publisher = await stopped.createChannel();
  publisher.on("error", () => {});
  await publisher.assertQueue("q");
  for (let index = 0; index < 100; index++) publisher.sendToQueue("q", Buffer.alloc(10_000));
  await blocked;
  const closed = new Promise<{ code?: number } | undefined>((resolve) => connection.once("close", resolve));
  await Promise.all([broker.stop(), broker.stop()]);
  assertEquals((await closed)?.code, 320);
  await broker.stop();
  silent.close();
});

brokerTest("ends a handshake that takes too long", { handshakeTimeoutMs: 50 }, async (broker, events) => {
  const header = [0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1];
  assertEquals(await exchangeBytes(broker.url, new Uint8Array(header.slice(0, 4))), []);
  const [type] = await exchangeBytes(broker.url, new Uint8Array(header));
  assertEquals(type, 1); // connection.start came, then the end
  const reasons = events.map((event) => event.type === "connection closed" ? event.reason : "");
  assertEquals(reasons, ["handshake timed out", "handshake timed out"]);
});

const two = { maxConnections: 2 };

brokerTest("refuses connections above the limit, and takes them again", two, async ({ url }) => {
  const [first, second] = [await connect(url), await connect(url)];
  assertEquals(await closeCode(url, session(url, [])), 530);
  await second.close();
  const isThereRoom = () => connect(url).then((third) => third.close()).then(() => true, () => false);
  await until("room for another", isThereRoom);
  await first.close();
});

brokerTest("refuses what it does not serve with 540", {}, async ({ url }) => {
  const method = (classId: number, methodId: number) =>
    new Uint8Array([1, 0, 1, 0, 0, 0, 4, 0, classId, 0, methodId, 0xce]);
  const cases = {
    "tx.select": method(90, 10),
    "channel.flow": method(20, 20),
    "exchange.bind": method(40, 30),
    "what nobody has heard of": method(99, 1),
    "a headers exchange": [1, "exchange.declare", { exchange: "x", type: "headers" }],
    "an internal one": [1, "exchange.declare", { exchange: "x", type: "topic", internal: true }],
    "an alternate one": [1, "exchange.declare", {
      exchange: "x",
      type: "topic",
      arguments: new Map([["alternate-exchange", "other"]]),
    }],
    "priorities": [1, "queue.declare", { queue: "q", arguments: new Map([["x-max-priority", 5]]) }],
    "x-expires": [1, "queue.declare", { queue: "q", arguments: new Map([["x-expires", 1000]]) }],
  } as const;
  for (const [what, sent] of Object.entries(cases)) {
    assertEquals(await closeCode(url, session(url, [sent])), 540, what);
  }
});

const tiny = { maxMemoryBytes: 100_000 };

brokerTest("refuses too large a message, and what unfinished ones exhaust", tiny, async ({ url }) => {
  const tooLarge = session(url, [[1, "basic.publish", {}], content(1, 2 ** 50)]); // told before its body comes
  assertEquals((await answerTo(url, tooLarge, "channel.close"))?.replyCode, 406);

  const header = (id: number) => content(id, 90_000);
  const body = (id: number) => content(id, 90_000, [new Uint8Array(60_000)]).subarray(header(id).length);
  const ids = [2, 3, 4, 5]; // each begins a message, and none is ever finished
  const begun = ids.flatMap((id) =>
    [[id, "channel.open", {}], [id, "basic.publish", {}], header(id)] as const
  );
  assertEquals(await closeCode(url, session(url, [...begun, ...ids.map(body)])), 506);
});

const small = { maxMemoryBytes: 2_000_000 };

brokerTest("holds publishers off above maxMemoryBytes until there is room", small, async (broker, events) => {
  const [publishing, consuming] = [await connect(broker.url), await connect(broker.url)];
  const [publisher, consumer] = [await publishing.createConfirmChannel(), await consuming.createChannel()];
  const told: string[] = [];
  publishing.on("blocked", () => told.push("blocked"));
  publishing.on("unblocked", () => told.push("unblocked"));
  await publisher.assertQueue("q");
  let confirmed = 0;
  for (let index = 0; index < 500; index++) {
    publisher.sendToQueue("q", Buffer.alloc(10_000, index), {}, () => confirmed++);
  }
  await until("the publisher to be told", () => told.length === 1);
  const { messageCount } = await consumer.checkQueue("q"); // other connections go on
  assertGreater(messageCount, 150);
  assertLess(messageCount, 200); // 2 MB take some 175 messages of 10,000 bytes and overhead
  let received = 0;
  await consumer.prefetch(20);
  await consumer.consume("q", (message) => {
    if (!message) return;
    assertEquals(message.content[0], received++ % 256);
    consumer.ack(message);
  });
  await until("every message", () => received === 500 && confirmed === 500);
  await until("the all-clear", () => told.at(-1) === "unblocked");
  const peak = Math.max(...events.map((event) => event.type === "memory alarm" ? event.usedBytes : 0));
  assertLess(peak, small.maxMemoryBytes + 2 * 131_072);
  await Promise.all([publishing.close(), consuming.close()]);
});

const large = { maxMemoryBytes: 200_000_000 };

brokerTest("sends a consumer that does not read no more than a bound", large, async (broker) => {
  const connection = await connect(broker.url);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue("q");
  const lazy = await sendRaw(broker.url, session(broker.url, [[1, "basic.consume", { queue: "q" }]])); // never reads
  const total = 300;
  for (let index = 0; index < total; index++) channel.sendToQueue("q", Buffer.alloc(100_000));
  await channel.waitForConfirms();
  const { messageCount } = await channel.checkQueue("q");
  assertGreater(messageCount, total / 2); // 30 MB published: sockets took some, the broker a bound of its own
  const { messages } = await consumeInto(channel, "q", {}, messageCount); // nobody is held up
  lazy.close();
  await until("the lazy one's messages too", () => messages.length === total);
  await connection.close();
});
