import { assert, assertEquals, assertObjectMatch } from "@std/assert";
import type { ConfirmChannel, Message, Options } from "amqplib";
import { closeReason, conformanceTest, fetchAll, send, until } from "./testdata/conformance.ts";

/** Publishes one message and says whether it was confirmed ("ack") or refused ("nack"). */
function settle(
  channel: ConfirmChannel,
  exchange: string,
  key: string,
  options: Options.Publish = {},
): Promise<string> {
  return new Promise((resolve) => {
    channel.publish(exchange, key, Buffer.from("x"), options, (error) => resolve(error ? "nack" : "ack"));
  });
}

conformanceTest("every message is confirmed, routed or not", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  const confirmed: number[] = [];
  for (let index = 0; index < 1000; index++) {
    const key = index % 3 === 0 ? "nowhere" : queue;
    channel.sendToQueue(
      key,
      Buffer.from(String(index)),
      {},
      (error) => assert(!error) ?? confirmed.push(index),
    );
  }
  await channel.waitForConfirms();
  // RabbitMQ may confirm the unroutable ones sooner.
  assertEquals(
    confirmed.sort((one, other) => one - other),
    Array.from({ length: 1000 }, (_, index) => index),
  );
  assertEquals((await channel.checkQueue(queue)).messageCount, 666);
});

conformanceTest(
  "a mandatory message that reaches no queue is returned before it is confirmed",
  async (broker) => {
    const { channel, queue } = await broker.channelWithQueue();
    const events: string[] = [];
    let returned: Message | undefined;
    channel.on("return", (message: Message) => {
      events.push("return");
      returned = message;
    });
    const options = { mandatory: true, messageId: "m-1", headers: { a: 1 } };
    const routed = settle(channel, "", queue, options).then((outcome) => events.push(`routed ${outcome}`));
    await routed;
    events.push(await settle(channel, "amq.topic", "no.such.key", options));
    await until("the return", () => returned !== undefined);
    assertEquals(events, ["routed ack", "return", "ack"]);
    assert(returned);
    const reason = {
      replyCode: 312,
      replyText: "NO_ROUTE",
      exchange: "amq.topic",
      routingKey: "no.such.key",
    };
    assertObjectMatch(returned.fields, reason);
    assertEquals([returned.properties.messageId, returned.properties.headers?.["a"]], ["m-1", 1]);
    assertEquals(returned.content.toString(), "x");
  },
);

conformanceTest("publishing to a missing exchange closes the channel with 404", async (broker) => {
  const channel = await broker.channel();
  const reason = await closeReason(channel, () => channel.publish("nowhere", "key", Buffer.from("x")));
  assertEquals(reason.code, 404);
});

conformanceTest("messages confirmed before a channel error stay confirmed", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await send(channel, queue, "abc");
  await closeReason(channel, () => channel.publish("nowhere", "key", Buffer.from("x")));
  const other = await broker.channel();
  assertEquals((await other.checkQueue(queue)).messageCount, 3);
});

conformanceTest("an invalid expiration and a foreign user id are refused with 406", async (broker) => {
  const cases: Options.Publish[] = [{ expiration: "soon" }, { expiration: "-1" }, {
    userId: "somebody else",
  }];
  for (const options of cases) {
    const channel = await broker.channel();
    const reason = await closeReason(channel, () => channel.publish("", "key", Buffer.from("x"), options));
    assertEquals(reason.code, 406, Deno.inspect(options));
  }
});

conformanceTest("bodies of any size arrive as they were sent", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  // Around the edges of one frame (131,072 less 8), many frames, and none at all.
  for (const size of [0, 1, 131_063, 131_064, 131_065, 262_128, 1024 * 1024, 3_000_000]) {
    const body = new Uint8Array(size).map((_, index) => index * 31 + (index >> 8));
    channel.sendToQueue(queue, Buffer.from(body.buffer));
    await channel.waitForConfirms();
    const message = await channel.get(queue, { noAck: true });
    assert(message);
    assertEquals(message.content.byteLength, size);
    assertEquals(Buffer.compare(message.content, Buffer.from(body.buffer)), 0, `${size} bytes differ`);
  }
});

conformanceTest("all properties and header types arrive as they were sent", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  const headers = {
    text: "žluťoučký kůň",
    empty: "",
    yes: true,
    no: false,
    none: null,
    tiny: -5,
    short: 1234,
    int: -123_456,
    long: 2 ** 45,
    double: 0.1,
    bytes: Buffer.from([0, 255, 206]),
    list: ["a", 1, null, [true, { deep: 2.5 }]],
    table: { inner: { inmost: "x" }, list: [] },
    byte: { "!": "uint8", value: 200 },
    unsignedShort: { "!": "uint16", value: 60_000 },
    unsigned: { "!": "uint32", value: 4_000_000_000 },
    float: { "!": "float", value: 0.5 },
  };
  const exotic = {
    at: { "!": "timestamp", value: 1_700_000_000 },
    price: { "!": "decimal", value: { places: 2, digits: 999 } },
  };
  const properties = {
    contentType: "application/json",
    contentEncoding: "identity",
    priority: 3,
    correlationId: "c-1",
    replyTo: "somewhere",
    expiration: "60000",
    messageId: "m-1",
    timestamp: 1_700_000_000,
    type: "order.created",
    userId: "guest",
    appId: "orderflow",
  };
  channel.sendToQueue(queue, Buffer.from("x"), {
    ...properties,
    persistent: true,
    headers: { ...headers, ...exotic },
  });
  await channel.waitForConfirms();
  const [message] = await fetchAll(channel, queue);
  assert(message);
  const { headers: received, deliveryMode, clusterId: _clusterId, ...others } = message.properties;
  assertEquals<unknown>(others, properties);
  assertEquals(deliveryMode, 2);
  const plain = { ...headers, byte: 200, unsignedShort: 60_000, unsigned: 4_000_000_000, float: 0.5 };
  assertEquals<unknown>(
    JSON.parse(JSON.stringify(received)),
    JSON.parse(JSON.stringify({ ...plain, ...exotic })),
  );
});

conformanceTest(
  "reject-publish refuses what is over x-max-length, also in one of several queues",
  async (broker) => {
    const channel = await broker.channel();
    const full = await broker.queue(channel, { maxLength: 2, arguments: { "x-overflow": "reject-publish" } });
    const roomy = await broker.queue(channel);
    const exchange = await broker.exchange(channel, "fanout");
    await channel.bindQueue(full, exchange, "");
    await channel.bindQueue(roomy, exchange, "");
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => settle(channel, exchange, "")));
    assertEquals(outcomes, ["ack", "ack", "nack", "nack"]);
    assertEquals((await channel.checkQueue(full)).messageCount, 2);
    await until("the other queue's", async () => (await channel.checkQueue(roomy)).messageCount === 4);
    await channel.get(full, { noAck: true });
    assertEquals(await settle(channel, exchange, ""), "ack"); // room again
  },
);

conformanceTest("drop-head keeps the newest up to x-max-length and x-max-length-bytes", async (broker) => {
  const channel = await broker.channel();
  const byCount = await broker.queue(channel, { maxLength: 2 });
  const byBytes = await broker.queue(channel, { arguments: { "x-max-length-bytes": 5 } });
  await send(channel, byCount, ["1", "2", "3", "4"]);
  await send(channel, byBytes, ["111", "22", "333"]);
  assertEquals((await fetchAll(channel, byCount)).map((message) => message.content.toString()), ["3", "4"]);
  assertEquals((await fetchAll(channel, byBytes)).map((message) => message.content.toString()), [
    "22",
    "333",
  ]);
});
