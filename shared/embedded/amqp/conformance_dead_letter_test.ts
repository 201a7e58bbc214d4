import { assert, assertEquals, assertObjectMatch } from "@std/assert";
import type { ConfirmChannel, ConsumeMessage, GetMessage, Options } from "amqplib";
import {
  bodies,
  type BrokerUnderTest,
  closeReason,
  conformanceTest,
  consumeInto,
  fetchAll,
  send,
  until,
} from "./testdata/conformance.ts";

/** A queue that dead-letters into a second one, both fresh. */
async function queuePair(
  broker: BrokerUnderTest,
  channel: ConfirmChannel,
  options: Options.AssertQueue = {},
): Promise<{ queue: string; dead: string }> {
  const dead = await broker.queue(channel);
  const queue = await broker.queue(channel, {
    ...options,
    deadLetterExchange: "",
    deadLetterRoutingKey: dead,
  });
  return { queue, dead };
}

async function take(channel: ConfirmChannel, queue: string): Promise<GetMessage> {
  let message: GetMessage | false = false;
  await until(`a message in ${queue}`, async () => (message = await channel.get(queue)) !== false);
  assert(message);
  return message;
}

/** The records of `x-death`, without their times. */
function deaths(message: GetMessage | ConsumeMessage): Record<string, unknown>[] {
  const records: unknown = message.properties.headers?.["x-death"];
  assert(Array.isArray(records));
  return records.map(({ time, ...record }) => {
    assertEquals(time["!"], "timestamp");
    return record;
  });
}

conformanceTest("a rejected message goes to the dead-letter exchange with its history", async (broker) => {
  const channel = await broker.channel();
  const { queue, dead } = await queuePair(broker, channel);
  channel.sendToQueue(queue, Buffer.from("x"), { headers: { kept: "yes" }, messageId: "m-1" });
  channel.nack(await take(channel, queue), false, false);
  const letter = await take(channel, dead);
  assertEquals(letter.content.toString(), "x");
  assertEquals([letter.fields.exchange, letter.fields.routingKey, letter.fields.redelivered], [
    "",
    dead,
    false,
  ]);
  assertEquals(letter.properties.messageId, "m-1");
  assertEquals(deaths(letter), [{
    count: 1,
    reason: "rejected",
    queue,
    exchange: "",
    "routing-keys": [queue],
  }]);
  assertObjectMatch(letter.properties.headers ?? {}, {
    kept: "yes",
    "x-first-death-exchange": "",
    "x-first-death-queue": queue,
    "x-first-death-reason": "rejected",
    ...(await broker.isRabbitMq3() ? {} : { "x-last-death-queue": queue, "x-last-death-reason": "rejected" }),
  });
});

conformanceTest(
  "a message that a client sends again begins anew, whatever x-death it carries",
  async (broker) => {
    const channel = await broker.channel();
    const { queue, dead } = await queuePair(broker, channel);
    channel.sendToQueue(queue, Buffer.from("x"));
    channel.nack(await take(channel, queue), false, false);
    const letter = await take(channel, dead);
    channel.sendToQueue(queue, letter.content, { headers: letter.properties.headers ?? {} });
    channel.nack(await take(channel, queue), false, false);
    const history = deaths(await take(channel, dead));
    assertEquals(history.map(({ count }) => count), [await broker.isRabbitMq3() ? 2 : 1]);
  },
);

conformanceTest("without a dead-letter routing key a message keeps its own", async (broker) => {
  const channel = await broker.channel();
  const exchange = await broker.exchange(channel, "topic");
  const dead = await broker.queue(channel);
  await channel.bindQueue(dead, exchange, "#");
  const queue = await broker.queue(channel, { deadLetterExchange: exchange });
  await send(channel, queue, "x");
  channel.reject(await take(channel, queue), false);
  const letter = await take(channel, dead);
  assertEquals([letter.fields.exchange, letter.fields.routingKey], [exchange, queue]);
});

conformanceTest(
  "a dead-letter exchange that is missing loses the message, and nothing else",
  async (broker) => {
    const { channel, queue } = await broker.channelWithQueue({
      deadLetterExchange: broker.unique("missing"),
    });
    await send(channel, queue, "x");
    channel.reject(await take(channel, queue), false);
    assertEquals((await channel.checkQueue(queue)).messageCount, 0);
  },
);

conformanceTest("messages expire by the queue's time to live", async (broker) => {
  const channel = await broker.channel();
  const { queue, dead } = await queuePair(broker, channel, { messageTtl: 30 });
  await send(channel, queue, "abc");
  await until("three dead letters", async () => (await channel.checkQueue(dead)).messageCount === 3);
  const letters = await fetchAll(channel, dead);
  assertEquals(bodies(letters), ["a", "b", "c"]);
  const [first] = letters;
  assert(first);
  assertEquals(deaths(first), [{
    count: 1,
    reason: "expired",
    queue,
    exchange: "",
    "routing-keys": [queue],
  }]);
});

conformanceTest(
  "messages expire by their own expiration, which is taken off and remembered",
  async (broker) => {
    const channel = await broker.channel();
    const { queue, dead } = await queuePair(broker, channel, { messageTtl: 60_000 });
    channel.sendToQueue(queue, Buffer.from("x"), { expiration: 20, appId: "kept" });
    const letter = await take(channel, dead);
    assertEquals([letter.properties.expiration, letter.properties.appId], [undefined, "kept"]);
    assertEquals(deaths(letter)[0]?.["original-expiration"], "20");
  },
);

conformanceTest(
  "a time to live of 0 lets a message live only with a consumer that takes it at once",
  async (broker) => {
    const { channel, queue } = await broker.channelWithQueue({ messageTtl: 0 });
    await send(channel, queue, "lost");
    assertEquals(await channel.get(queue), false);
    const inbox = await consumeInto(channel, queue);
    await send(channel, queue, ["found"]);
    await until("the delivery", () => inbox.messages.length > 0);
    assertEquals(bodies(inbox.messages), ["found"]);
  },
);

conformanceTest("messages that are out do not expire; put back, they do", async (broker) => {
  const channel = await broker.channel();
  const { queue, dead } = await queuePair(broker, channel);
  channel.sendToQueue(queue, Buffer.from("held"), { expiration: 300 });
  const held = await take(channel, queue);
  channel.sendToQueue(queue, Buffer.from("left"), { expiration: 300 });
  await until("the one left behind", async () => (await channel.checkQueue(dead)).messageCount === 1);
  channel.nack(held);
  await until("the one put back", async () => (await channel.checkQueue(dead)).messageCount === 2);
  assertEquals(bodies(await fetchAll(channel, dead)), ["left", "held"]);
});

conformanceTest("what drop-head drops is dead-lettered with the reason maxlen", async (broker) => {
  const channel = await broker.channel();
  const { queue, dead } = await queuePair(broker, channel, { maxLength: 1 });
  await send(channel, queue, "ab");
  const letter = await take(channel, dead);
  assertEquals([letter.content.toString(), deaths(letter)[0]?.["reason"]], ["a", "maxlen"]);
});

conformanceTest("a cycle of expiry alone ends; one with a rejection goes on", async (broker) => {
  const channel = await broker.channel();
  const name = broker.unique("cycle");
  await channel.assertQueue(name, { messageTtl: 20, deadLetterExchange: "", deadLetterRoutingKey: name });
  await send(channel, name, "x");
  await until("the message to be dropped", async () => (await channel.checkQueue(name)).messageCount === 0);

  const { queue: waiting, dead: work } = { queue: broker.unique("waiting"), dead: broker.unique("work") };
  await channel.assertQueue(waiting, { messageTtl: 20, deadLetterExchange: "", deadLetterRoutingKey: work });
  await channel.assertQueue(work, { deadLetterExchange: "", deadLetterRoutingKey: waiting });
  await send(channel, work, "y");
  for (const rounds of [0, 1, 2]) {
    const message = await take(channel, work);
    if (rounds > 0) assertEquals(deaths(message).map(({ count }) => count), [rounds, rounds]);
    channel.reject(message, false);
  }
});

conformanceTest(
  "quorum queues count deliveries that came back, and dead-letter past the limit",
  async (broker) => {
    const channel = await broker.channel();
    const { queue, dead } = await queuePair(broker, channel, {
      arguments: { "x-queue-type": "quorum", "x-delivery-limit": 2 },
    });
    await send(channel, queue, "x");
    const counts: unknown[] = [];
    await channel.consume(queue, (message) => {
      if (!message) return;
      counts.push([message.fields.redelivered, message.properties.headers?.["x-delivery-count"] ?? 0]);
      channel.reject(message, true); // from RabbitMQ 4.3 on a nack no longer counts, a reject does
    });
    const letter = await take(channel, dead);
    assertEquals(counts, [[false, 0], [true, 1], [true, 2]]);
    assertEquals(deaths(letter)[0], {
      count: 1,
      reason: "delivery_limit",
      queue,
      exchange: "",
      "routing-keys": [queue],
    });
  },
);

conformanceTest("quorum queues drop past the limit where no dead-letter exchange is set", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue({
    arguments: { "x-queue-type": "quorum", "x-delivery-limit": 0 },
  });
  await send(channel, queue, "x");
  channel.reject(await take(channel, queue), true);
  await until("the queue to be empty", async () => (await channel.checkQueue(queue)).messageCount === 0);
  assertEquals(await channel.get(queue), false);
});

conformanceTest(
  "quorum queues count a lost channel as a delivery too, in place and order",
  async (broker) => {
    const connection = await broker.connect();
    const [channel, doomed] = [await connection.createConfirmChannel(), await connection.createChannel()];
    const queue = await broker.queue(channel, { arguments: { "x-queue-type": "quorum" } });
    await send(channel, queue, "abc");
    await doomed.prefetch(2);
    const inbox = await consumeInto(doomed, queue);
    await until("two", () => inbox.messages.length === 2);
    await doomed.close();
    await until("all three", async () => (await channel.checkQueue(queue)).messageCount === 3);
    const messages = await fetchAll(channel, queue);
    assertEquals(bodies(messages), ["a", "b", "c"]);
    assertEquals(messages.map((message) => message.properties.headers?.["x-delivery-count"] ?? 0), [1, 1, 0]);
  },
);

conformanceTest("quorum queues refuse a prefetch for the whole channel", async (broker) => {
  const connection = await broker.connect();
  const channel = await connection.createChannel();
  const queue = await broker.queue(channel, { arguments: { "x-queue-type": "quorum" } });
  await channel.prefetch(10, true);
  assertEquals((await closeReason(connection, () => channel.consume(queue, () => {}))).code, 540);
});

conformanceTest(
  "quorum queues refuse a prefetch above 2,000 where the broker is this one",
  async (broker) => {
    if (!broker.isEmbedded) return; // 4.0 and older do not
    const { channel, queue } = await broker.channelWithQueue({ arguments: { "x-queue-type": "quorum" } });
    await channel.prefetch(2001);
    assertEquals((await closeReason(channel, () => channel.consume(queue, () => {}))).code, 406);
  },
);
