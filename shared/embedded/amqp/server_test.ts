import { assertEquals, assertGreater, assertLess, assertRejects, assertThrows } from "@std/assert";
import { connect } from "amqplib";
import { consumeInto, send, until } from "./testdata/conformance.ts";
import { connectRaw, connectWithChannel, exchangeBytes } from "./testdata/raw_client.ts";
import { type AmqpBroker, type AmqpBrokerEvent, type AmqpBrokerOptions, startAmqpBroker } from "./server.ts";

/** Runs a test against a broker of its own, and hands over what the broker logs. */
async function withBroker(
  options: AmqpBrokerOptions,
  body: (broker: AmqpBroker, events: AmqpBrokerEvent[]) => Promise<void>,
): Promise<void> {
  const events: AmqpBrokerEvent[] = [];
  const broker = startAmqpBroker({ ...options, log: (event) => events.push(event) });
  try {
    await body(broker, events);
  } finally {
    await broker.stop();
  }
}

Deno.test("startAmqpBroker listens on a free port unless told which", async () => {
  const broker = startAmqpBroker();
  assertEquals(broker.url, `amqp://guest:guest@127.0.0.1:${broker.port}`);
  assertThrows(() => startAmqpBroker({ port: broker.port }), Deno.errors.AddrInUse);
  await broker.stop();
  await startAmqpBroker({ port: broker.port }).stop(); // the port is free again
});

Deno.test("startAmqpBroker lets in who has its user and password, which its URL holds", async () => {
  await withBroker({ user: "me", password: "p@ss/word%" }, async (broker, events) => {
    await (await connect(broker.url)).close();
    await assertRejects(
      () => connect(`amqp://guest:guest@127.0.0.1:${broker.port}`),
      Error,
      "ACCESS_REFUSED",
    );
    assertEquals(events.flatMap((event) => event.type === "connection opened" ? event.user : []), ["me"]);
  });
  assertThrows(() => startAmqpBroker({ hostname: "0.0.0.0" }), TypeError, "give another one");
});

// The sanitizers fail this test should a timer, socket or pending operation stay behind.
Deno.test("stop closes connections with 320 and leaves nothing, called twice too", async () => {
  const broker = startAmqpBroker({ heartbeatSeconds: 1 });
  const connection = await connect(broker.url);
  const channel = await connection.createConfirmChannel();
  channel.on("error", () => {});
  await channel.assertQueue("with timers", { messageTtl: 60_000 });
  await send(channel, "with timers", ["left behind"]);
  await consumeInto(channel, "with timers");
  const silent = await connectRaw(broker.url); // never answers
  const closed = new Promise<Error & { code?: number } | undefined>((resolve) =>
    connection.once("close", resolve)
  );
  await Promise.all([broker.stop(), broker.stop()]);
  assertEquals((await closed)?.code, 320);
  await broker.stop();
  silent.close();
});

Deno.test("startAmqpBroker closes a connection whose handshake takes too long", async () => {
  await withBroker({ handshakeTimeoutMs: 50 }, async (broker, events) => {
    assertEquals((await exchangeBytes(broker.url, new TextEncoder().encode("AMQP"))).length, 0);
    const answer = await exchangeBytes(broker.url, new Uint8Array([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]));
    assertEquals(answer[0], 1); // connection.start came, then the end
    const reasons = events.map((event) => event.type === "connection closed" ? event.reason : "");
    assertEquals(reasons, ["handshake timed out", "handshake timed out"]);
  });
});

Deno.test("startAmqpBroker refuses connections above the limit with 530, and takes them again later", async () => {
  await withBroker({ maxConnections: 2 }, async (broker) => {
    const [one, two] = [await connect(broker.url), await connect(broker.url)];
    const third = await connectRaw(broker.url);
    assertEquals(await third.closeCode(), 530);
    third.close();
    await two.close();
    await until("room for another", async () => {
      try {
        await (await connect(broker.url)).close();
        return true;
      } catch {
        return false;
      }
    });
    await one.close();
  });
});

Deno.test("startAmqpBroker refuses methods that it does not serve with 540", async () => {
  await withBroker({}, async (broker) => {
    for (const method of [[0, 90, 0, 10], [0, 40, 0, 30], [0, 99, 0, 1]]) { // tx.select, exchange.bind, unheard of
      const client = await connectWithChannel(broker.url);
      client.write(new Uint8Array([1, 0, 1, 0, 0, 0, method.length, ...method, 0xce]));
      assertEquals(await client.closeCode(), 540);
      client.close();
    }
  });
});

Deno.test("startAmqpBroker refuses a message above the limit with 406 before its body comes", async () => {
  await withBroker({ maxMemoryBytes: 100_000 }, async (broker) => {
    const client = await connectWithChannel(broker.url);
    client.send(1, "basic.publish", {
      ticket: 0,
      exchange: "",
      routingKey: "q",
      mandatory: false,
      immediate: false,
    });
    client.write(new Uint8Array([2, 0, 1, 0, 0, 0, 14, 0, 60, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0xce])); // a petabyte
    assertEquals((await client.expect("channel.close")).replyCode, 406);
    client.close();
  });
});

Deno.test("startAmqpBroker holds publishers off above maxMemoryBytes until a consumer made room", async () => {
  const maxMemoryBytes = 2_000_000;
  await withBroker({ maxMemoryBytes }, async (broker, events) => {
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
    assertLess(peak, maxMemoryBytes + 2 * 131_072);
    await Promise.all([publishing.close(), consuming.close()]);
  });
});

Deno.test("startAmqpBroker closes publishers with 506 whose unfinished messages alone exhaust the memory", async () => {
  await withBroker({ maxMemoryBytes: 100_000 }, async (broker) => {
    const client = await connectRaw(broker.url);
    await client.expect("connection.open-ok");
    const piece = new Uint8Array(8 + 60_000);
    new DataView(piece.buffer).setUint32(3, 60_000);
    piece[piece.length - 1] = 0xce;
    for (let id = 1; id <= 5; id++) { // each begins a message of 90,000 bytes, and none is ever finished
      client.send(id, "channel.open", { outOfBand: "" });
      const publish = { ticket: 0, exchange: "", routingKey: "q", mandatory: false, immediate: false };
      client.send(id, "basic.publish", publish);
      client.write(
        new Uint8Array([2, 0, id, 0, 0, 0, 14, 0, 60, 0, 0, 0, 0, 0, 0, 0, 1, 0x5f, 0x90, 0, 0, 0xce]),
      );
    }
    for (let id = 1; id <= 5; id++) {
      piece.set([3, 0, id]);
      client.write(piece);
    }
    assertEquals(await client.closeCode(), 506);
    client.close();
  });
});

Deno.test("a stopped publisher does not keep the broker from stopping", async () => {
  const broker = startAmqpBroker({ maxMemoryBytes: 100_000 });
  const connection = await connect(broker.url);
  connection.on("error", () => {});
  const channel = await connection.createChannel();
  channel.on("error", () => {});
  await channel.assertQueue("q");
  const blocked = new Promise((resolve) => connection.once("blocked", resolve));
  for (let index = 0; index < 100; index++) channel.sendToQueue("q", Buffer.alloc(10_000));
  await blocked;
  await broker.stop();
});

Deno.test("a consumer that does not read is sent no more than a bound, and holds nobody up", async () => {
  await withBroker({ maxMemoryBytes: 200_000_000 }, async (broker) => {
    const connection = await connect(broker.url);
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue("q");
    const lazy = await connectWithChannel(broker.url);
    const options = { noLocal: false, noAck: false, exclusive: false, noWait: false };
    lazy.send(1, "basic.consume", {
      ticket: 0,
      queue: "q",
      consumerTag: "lazy",
      ...options,
      arguments: new Map(),
    });
    await lazy.expect("basic.consume-ok"); // and never reads again
    const total = 300;
    for (let index = 0; index < total; index++) channel.sendToQueue("q", Buffer.alloc(100_000));
    await channel.waitForConfirms();
    const { messageCount } = await channel.checkQueue("q");
    assertGreater(messageCount, total / 2); // 30 MB published: sockets took some, the broker a bound of its own
    const inbox = await consumeInto(channel, "q");
    await until("the reading consumer to get the rest", () => inbox.messages.length === messageCount);
    lazy.close();
    await until("the lazy one's messages too", () => inbox.messages.length === total);
    await connection.close();
  });
});
