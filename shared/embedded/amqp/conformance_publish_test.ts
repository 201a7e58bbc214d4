import { assert, assertEquals, assertObjectMatch } from "@std/assert";
import type { ConfirmChannel, Message, Options } from "amqplib";
import { topicMatches } from "./broker.ts";
import { bodies, conformance, fetchAll, ready, take, until, untilReady } from "./testdata/conformance.ts";

/** Publishes one message and says whether it was confirmed ("ack") or refused ("nack"). */
async function settle(
  channel: ConfirmChannel,
  exchange: string,
  key: string,
  options: Options.Publish = {},
): Promise<string> {
  let outcome = "";
  channel.publish(exchange, key, Buffer.from("x"), options, (error) => outcome = error ? "nack" : "ack");
  await until("the confirm", () => outcome !== "");
  return outcome;
}

async function publishKeys(
  channel: ConfirmChannel,
  exchange: string,
  keys: readonly string[],
): Promise<void> {
  for (const key of keys) channel.publish(exchange, key, Buffer.from(key));
  await channel.waitForConfirms();
}

conformance({
  async "direct exchanges route by equal keys, fanout ones everything, once each"({ broker, channel }) {
    for (const [type, expected] of [["direct", ["a", "a b"]], ["fanout", ["a b #", "a b #"]]] as const) {
      const exchange = await broker.exchange(channel, type);
      const [one, both] = [await broker.queue(channel), await broker.queue(channel)];
      await channel.bindQueue(one, exchange, "a");
      await channel.bindQueue(both, exchange, "a");
      await channel.bindQueue(both, exchange, "b");
      await publishKeys(channel, exchange, ["a", "b", "#"]);
      assertEquals([bodies(await fetchAll(channel, one)), bodies(await fetchAll(channel, both))], [
        ...expected,
      ]);
    }
  },

  async "topic exchanges match * with one word and # with any number"({ broker, channel }) {
    const exchange = await broker.exchange(channel, "topic");
    const keys = ["", "a", "a.b", "a.b.c", "b.a", "a.", ".a", "a..b", "*", "#", "a.#"];
    const expected: Record<string, string[]> = {
      "a": ["a"],
      "": [""],
      "*": ["a", "*", "#"],
      "#": keys,
      "a.*": ["a.b", "a.", "a.#"],
      "a.#": ["a", "a.b", "a.b.c", "a.", "a..b", "a.#"],
      "#.a": ["a", "b.a", ".a"],
      "*.*": ["a.b", "b.a", "a.", ".a", "a.#"],
      "#.b.#": ["a.b", "a.b.c", "b.a", "a..b"],
      "a.*.#": ["a.b", "a.b.c", "a.", "a..b", "a.#"],
      "a.#.c": ["a.b.c"],
      "#.#": keys,
    };
    for (const [pattern, matched] of Object.entries(expected)) {
      const queue = await broker.queue(channel);
      await channel.bindQueue(queue, exchange, pattern);
      await publishKeys(channel, exchange, keys);
      assertEquals(bodies(await fetchAll(channel, queue)), matched.join(" "), `pattern "${pattern}"`);
      await channel.unbindQueue(queue, exchange, pattern);
    }
  },

  async "binding and unbinding show at once, whatever was routed before"({ broker, channel }) {
    const exchange = await broker.exchange(channel, "topic");
    const queue = await broker.queue(channel);
    const publish = () => publishKeys(channel, exchange, ["order.created"]);
    await publish();
    await channel.bindQueue(queue, exchange, "order.*");
    await publish();
    await channel.unbindQueue(queue, exchange, "order.*");
    await publish();
    assertEquals(await ready(channel, queue), 1);
    await channel.bindQueue(queue, exchange, "order.*");
    await channel.deleteQueue(queue);
    await channel.assertQueue(queue); // made anew, without its bindings
    await publish();
    assertEquals(await ready(channel, queue), 0);
  },

  async "every message is confirmed, routed or not"({ channel, queue }) {
    const numbers = Array.from({ length: 1000 }, (_, index) => index);
    const confirmed: number[] = [];
    for (const index of numbers) {
      const confirm = (error: unknown) => assert(!error) ?? confirmed.push(index);
      channel.sendToQueue(index % 3 === 0 ? "nowhere" : queue, Buffer.from("x"), {}, confirm);
    }
    await channel.waitForConfirms();
    assertEquals(confirmed.sort((one, other) => one - other), numbers); // RabbitMQ may confirm the unroutable ones sooner
    assertEquals(await ready(channel, queue), 666);
  },

  async "a mandatory message that reaches no queue is returned, then confirmed"({ channel, queue }) {
    const events: string[] = [];
    let returned: Message | undefined;
    channel.on("return", (message: Message) => {
      events.push("return");
      returned = message;
    });
    const options = { mandatory: true, messageId: "m-1", headers: { a: 1 } };
    events.push(`routed ${await settle(channel, "", queue, options)}`);
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

  async "an error of the channel leaves confirmed what was published before"({ broker, channel, queue }) {
    const confirmed: string[] = [];
    await broker.refuses(404, "no exchange 'nowhere'", (doomed) => {
      for (const text of "abc") {
        doomed.sendToQueue(queue, Buffer.from(text), {}, (error) => error ?? confirmed.push(text));
      }
      doomed.publish("nowhere", "key", Buffer.from("x"));
    });
    await untilReady(channel, queue, 3);
    if (broker.isEmbedded) assertEquals(confirmed.join(""), "abc"); // RabbitMQ may close before it confirms
  },

  async "bodies of any size arrive as they were sent"({ channel, queue }) {
    // Around the edges of one frame (131,072 less 8), many frames, and none at all.
    for (const size of [0, 1, 131_063, 131_064, 131_065, 262_128, 1024 * 1024, 3_000_000]) {
      const body = Buffer.from(new Uint8Array(size).map((_, index) => index * 31 + (index >> 8)).buffer);
      channel.sendToQueue(queue, body);
      await channel.waitForConfirms();
      const { content } = await take(channel, queue, { noAck: true });
      assertEquals([content.byteLength, Buffer.compare(content, body)], [size, 0], `${size} bytes differ`);
    }
  },

  async "all properties and header types arrive as they were sent, dead-lettered too"(
    { broker, channel, queue: dead },
  ) {
    const queue = await broker.queue(channel, { deadLetterExchange: "", deadLetterRoutingKey: dead });
    const plain = {
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
      at: { "!": "timestamp", value: 1_700_000_000 },
      price: { "!": "decimal", value: { places: 2, digits: 999 } },
    };
    const typed = {
      byte: { "!": "uint8", value: 200 },
      unsignedShort: { "!": "uint16", value: 60_000 },
      unsigned: { "!": "uint32", value: 4_000_000_000 },
      float: { "!": "float", value: 0.5 },
    };
    const properties = {
      contentType: "application/json",
      contentEncoding: "identity",
      priority: 3,
      correlationId: "c-1",
      replyTo: "somewhere",
      messageId: "m-1",
      timestamp: 1_700_000_000,
      type: "order.created",
      userId: "guest",
      appId: "orderflow",
    };
    const headers = { ...plain, ...typed };
    channel.sendToQueue(queue, Buffer.from("x"), {
      ...properties,
      expiration: 60_000,
      persistent: true,
      headers,
    });
    await channel.waitForConfirms();
    const values = Object.entries(typed).map(([name, { value }]) => [name, value]);
    const expected = JSON.parse(JSON.stringify({ ...plain, ...Object.fromEntries(values) }));
    for (const [from, expiration] of [[queue, "60000"], [dead, undefined]] as const) {
      const message = await take(channel, from);
      channel.nack(message, false, false);
      const { headers: received, deliveryMode, clusterId: _clusterId, ...others } = message.properties;
      assertEquals<unknown>(others, { ...properties, expiration });
      assertEquals(deliveryMode, 2);
      const own = Object.entries(received ?? {}).filter(([name]) => !name.startsWith("x-"));
      assertEquals(JSON.parse(JSON.stringify(Object.fromEntries(own))), expected);
    }
  },

  async "reject-publish refuses what is over x-max-length in one of the queues"({ broker, channel }) {
    const full = await broker.queue(channel, { maxLength: 2, arguments: { "x-overflow": "reject-publish" } });
    const roomy = await broker.queue(channel);
    const exchange = await broker.exchange(channel, "fanout");
    await channel.bindQueue(full, exchange, "");
    await channel.bindQueue(roomy, exchange, "");
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => settle(channel, exchange, "")));
    assertEquals(outcomes, ["ack", "ack", "nack", "nack"]);
    assertEquals(await ready(channel, full), 2);
    await untilReady(channel, roomy, 4);
    await channel.get(full, { noAck: true });
    assertEquals(await settle(channel, exchange, ""), "ack"); // room again
  },
});

Deno.test("topicMatches() answers soon for a pattern with many # and a long key", () => {
  const pattern = Array(30).fill("#").join(".a."); // tried in every combination, this would take for ever
  assert(topicMatches(pattern, `${Array(120).fill("a").join(".")}.b`));
});
