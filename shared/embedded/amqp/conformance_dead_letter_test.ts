import { assert, assertEquals, assertObjectMatch } from "@std/assert";
import type { ConsumeMessage, GetMessage, Options } from "amqplib";
import {
  bodies,
  closeReason,
  conformance,
  consumeInto,
  fetchAll,
  type Given,
  QUORUM,
  ready,
  send,
  take,
  until,
  untilReady,
} from "./testdata/conformance.ts";

/** The queue that is given takes the dead letters of another one, which is declared with the options. */
async function withDeadLetters({ broker, channel, queue: dead }: Given, options: Options.AssertQueue = {}) {
  const target = { deadLetterExchange: "", deadLetterRoutingKey: dead };
  return { channel, dead, queue: await broker.queue(channel, { ...options, ...target }) };
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

/** The record of a single death of a message that was sent to the queue itself. */
const death = (queue: string, reason: string) => ({
  count: 1,
  reason,
  queue,
  exchange: "",
  "routing-keys": [queue],
});

conformance({
  async "a rejected message goes to the dead-letter exchange with its history"(given) {
    const { channel, queue, dead } = await withDeadLetters(given);
    channel.sendToQueue(queue, Buffer.from("x"), { headers: { kept: "yes" }, messageId: "m-1" });
    channel.nack(await take(channel, queue), false, false);
    const letter = await take(channel, dead);
    const { fields, properties } = letter;
    assertEquals(letter.content.toString(), "x");
    assertEquals([fields.exchange, fields.routingKey, fields.redelivered], ["", dead, false]);
    assertEquals(properties.messageId, "m-1");
    assertEquals(deaths(letter), [death(queue, "rejected")]);
    assertObjectMatch(properties.headers ?? {}, {
      kept: "yes",
      "x-first-death-exchange": "",
      "x-first-death-queue": queue,
      "x-first-death-reason": "rejected",
      ...(await given.broker.isRabbitMq3()
        ? {}
        : { "x-last-death-queue": queue, "x-last-death-reason": "rejected" }),
    });
  },

  async "a message sent again begins anew, whatever x-death it carries"(given) {
    const { channel, queue, dead } = await withDeadLetters(given);
    channel.sendToQueue(queue, Buffer.from("x"));
    channel.nack(await take(channel, queue), false, false);
    const { content, properties: { headers } } = await take(channel, dead);
    channel.sendToQueue(queue, content, { headers: headers ?? {} });
    channel.nack(await take(channel, queue), false, false);
    const history = deaths(await take(channel, dead));
    assertEquals(history.map(({ count }) => count), [await given.broker.isRabbitMq3() ? 2 : 1]);
  },

  async "without a dead-letter routing key a message keeps its own"({ broker, channel, queue: dead }) {
    const exchange = await broker.exchange(channel, "topic");
    await channel.bindQueue(dead, exchange, "#");
    const queue = await broker.queue(channel, { deadLetterExchange: exchange });
    await send(channel, queue, "x");
    channel.reject(await take(channel, queue), false);
    const { fields } = await take(channel, dead);
    assertEquals([fields.exchange, fields.routingKey], [exchange, queue]);
  },

  async "a missing dead-letter exchange loses the message, and nothing else"({ broker, channel }) {
    const deadLetterExchange = broker.unique("missing");
    const queue = await broker.queue(channel, { deadLetterExchange });
    await send(channel, queue, "x");
    channel.reject(await take(channel, queue), false);
    assertEquals(await ready(channel, queue), 0);
  },

  async "messages expire by the queue's time to live"(given) {
    const { channel, queue, dead } = await withDeadLetters(given, { messageTtl: 30 });
    await send(channel, queue, "abc");
    await untilReady(channel, dead, 3);
    const letters = await fetchAll(channel, dead);
    assertEquals(bodies(letters), "a b c");
    assertEquals(letters.map(deaths), Array(3).fill([death(queue, "expired")]));
  },

  async "messages expire by their own expiration, which is remembered"(given) {
    const { channel, queue, dead } = await withDeadLetters(given, { messageTtl: 60_000 });
    channel.sendToQueue(queue, Buffer.from("x"), { expiration: 20, appId: "kept" });
    const letter = await take(channel, dead);
    assertEquals([letter.properties.expiration, letter.properties.appId], [undefined, "kept"]);
    assertEquals(deaths(letter)[0]?.["original-expiration"], "20");
  },

  async "with a time to live of 0 a message lives only if it is taken at once"({ broker, channel }) {
    const queue = await broker.queue(channel, { messageTtl: 0 });
    await send(channel, queue, ["lost"]);
    assertEquals(await channel.get(queue), false);
    const { messages } = await consumeInto(channel, queue);
    await send(channel, queue, ["found"]);
    await until("the delivery", () => messages.length > 0);
    assertEquals(bodies(messages), "found");
  },

  async "messages that are out do not expire; put back, they do"(given) {
    const { channel, queue, dead } = await withDeadLetters(given);
    channel.sendToQueue(queue, Buffer.from("held"), { expiration: 300 });
    const held = await take(channel, queue);
    channel.sendToQueue(queue, Buffer.from("left"), { expiration: 300 });
    await untilReady(channel, dead, 1);
    channel.nack(held);
    await untilReady(channel, dead, 2);
    assertEquals(bodies(await fetchAll(channel, dead)), "left held");
  },

  async "drop-head keeps the newest; what it drops is dead-lettered as maxlen"(given) {
    for (const limit of [{ maxLength: 2 }, { arguments: { "x-max-length-bytes": 5 } }]) {
      const { channel, queue, dead } = await withDeadLetters(given, limit);
      await send(channel, queue, ["1", "222", "33"]);
      const letter = await take(channel, dead);
      assertEquals([letter.content.toString(), deaths(letter)[0]?.["reason"]], ["1", "maxlen"]);
      assertEquals(bodies(await fetchAll(channel, queue)), "222 33");
    }
  },

  async "a cycle of expiry alone ends; one with a rejection goes on"({ broker, channel }) {
    const [name, waiting, work] = [broker.unique("cycle"), broker.unique("waiting"), broker.unique("work")];
    await channel.assertQueue(name, { messageTtl: 20, deadLetterExchange: "", deadLetterRoutingKey: name });
    await send(channel, name, "x");
    await untilReady(channel, name, 0);

    await channel.assertQueue(waiting, {
      messageTtl: 20,
      deadLetterExchange: "",
      deadLetterRoutingKey: work,
    });
    await channel.assertQueue(work, { deadLetterExchange: "", deadLetterRoutingKey: waiting });
    await send(channel, work, "y");
    for (const rounds of [0, 1, 2]) {
      const message = await take(channel, work);
      if (rounds > 0) assertEquals(deaths(message).map(({ count }) => count), [rounds, rounds]);
      channel.reject(message, false);
    }
  },

  async "quorum queues count what came back, and dead-letter past the limit"(given) {
    const quorum = { arguments: { "x-queue-type": "quorum", "x-delivery-limit": 2 } };
    const { channel, queue, dead } = await withDeadLetters(given, quorum);
    await send(channel, queue, "x");
    const counts: unknown[] = [];
    await channel.consume(queue, (message) => {
      if (!message) return;
      counts.push([message.fields.redelivered, message.properties.headers?.["x-delivery-count"] ?? 0]);
      channel.reject(message, true); // from RabbitMQ 4.3 on a nack no longer counts, a reject does
    });
    const letter = await take(channel, dead);
    assertEquals(counts, [[false, 0], [true, 1], [true, 2]]);
    assertEquals(deaths(letter), [death(queue, "delivery_limit")]);
  },

  async "quorum queues drop past the limit where no dead-letter exchange is set"({ broker, channel }) {
    const limit = { "x-queue-type": "quorum", "x-delivery-limit": 0 };
    const queue = await broker.queue(channel, { arguments: limit });
    await send(channel, queue, "x");
    channel.reject(await take(channel, queue), true);
    assertEquals(await channel.get(queue), false);
  },

  async "quorum queues count a lost channel too, in place and order"({ broker, channel }) {
    const queue = await broker.queue(channel, QUORUM);
    const doomed = await broker.channel();
    await send(channel, queue, "abc");
    await doomed.prefetch(2);
    await consumeInto(doomed, queue, {}, 2);
    await doomed.close();
    await untilReady(channel, queue, 3);
    const messages = await fetchAll(channel, queue);
    assertEquals(bodies(messages), "a b c");
    assertEquals(messages.map((message) => message.properties.headers?.["x-delivery-count"] ?? 0), [1, 1, 0]);
  },

  async "quorum queues refuse a prefetch for the whole channel, or above 2,000"({ broker }) {
    const connection = await broker.connect();
    const channel = await broker.channel(connection);
    const queue = await broker.queue(channel, QUORUM);
    if (broker.isEmbedded) { // RabbitMQ 4.0 and older do not
      await broker.refuses(406, "is above the 2000", async (other) => {
        await other.prefetch(2001);
        await other.consume(queue, () => {});
      });
    }
    await channel.prefetch(10, true);
    assertEquals((await closeReason(connection, () => channel.consume(queue, () => {}))).code, 540);
  },
});
