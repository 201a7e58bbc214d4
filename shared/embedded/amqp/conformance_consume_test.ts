import { assert, assertEquals, assertMatch } from "@std/assert";
import type { GetMessage } from "amqplib";
import {
  bodies,
  closeReason,
  conformance,
  consumeInto,
  fetchAll,
  type Inbox,
  ready,
  send,
  take,
  until,
  untilReady,
} from "./testdata/conformance.ts";
import { sendRaw, session } from "./testdata/raw_client.ts";

const redelivered = (messages: readonly GetMessage[] | Inbox["messages"]) =>
  messages.map((message) => message.fields.redelivered);

conformance({
  async "basic.get tells tags and counts, and that a queue is empty"({ channel, queue }) {
    assertEquals(await channel.get(queue), false);
    await send(channel, queue, "ab");
    const first = await take(channel, queue);
    const fields = { deliveryTag: 1, redelivered: false, exchange: "", routingKey: queue, messageCount: 1 };
    assertEquals(first.fields, fields);
    channel.ack(first);
    assertEquals((await take(channel, queue, { noAck: true })).fields.deliveryTag, 2);
    assertEquals(await channel.get(queue), false);
  },

  async "prefetch limits what a consumer holds, one by one as it acknowledges"({ channel, queue }) {
    await send(channel, queue, "abcd");
    await channel.prefetch(2);
    const inbox = await consumeInto(channel, queue);
    for (const [index, expected] of ["a b", "a b c", "a b c d"].entries()) {
      await until("the prefetched messages", () => inbox.messages.length === index + 2);
      const left = await ready(channel, queue); // a round trip: nothing more is on its way
      assertEquals([bodies(inbox.messages), left], [expected, 2 - index]);
      const oldest = inbox.messages[index];
      if (oldest) channel.ack(oldest);
    }
  },

  async "prefetch is per consumer, and with the global flag per channel as well"(
    { broker, channel: publisher, queue },
  ) {
    await send(publisher, queue, "abcdefgh");
    const channel = await broker.channel();
    await channel.prefetch(2);
    await channel.prefetch(3, true);
    const [one, two] = [await consumeInto(channel, queue), await consumeInto(channel, queue)];
    await untilReady(channel, queue, 5);
    assertEquals([one.messages.length, two.messages.length].sort(), [1, 2]);
    channel.ackAll();
    await until("three more", () => one.messages.length + two.messages.length === 6);
    assertEquals(await ready(channel, queue), 2);
  },

  async "consumers of a queue take turns"({ channel, queue }) {
    await channel.prefetch(10);
    const [one, two] = [await consumeInto(channel, queue), await consumeInto(channel, queue)];
    await send(channel, queue, "abcdefgh");
    await until("all deliveries", () => one.messages.length + two.messages.length === 8);
    assertEquals([bodies(one.messages), bodies(two.messages)].sort(), ["a c e g", "b d f h"]);
  },

  async "noAck deliveries are settled as they go out: their tags are unknown then"({ channel, queue }) {
    await send(channel, queue, "abc");
    await channel.prefetch(1);
    const inbox = await consumeInto(channel, queue, { noAck: true }, 3);
    const { code, message } = await closeReason(channel, () => channel.ack(inbox.messages[0]!));
    assertEquals([code, message.includes("unknown delivery tag 1")], [406, true], message);
  },

  async "acknowledging with multiple settles everything up to the tag"({ broker, channel, queue }) {
    await send(channel, queue, "abcd");
    const { messages: [, , third] } = await consumeInto(channel, queue, {}, 4);
    assert(third);
    channel.ack(third, true);
    await channel.close();
    const other = await broker.channel();
    await untilReady(other, queue, 1);
    assertEquals(bodies(await fetchAll(other, queue)), "d");
  },

  async "requeued messages return to their places, marked as redelivered"({ channel, queue }) {
    await send(channel, queue, "abcde");
    const [a, b, c] = [await take(channel, queue), await take(channel, queue), await take(channel, queue)];
    for (const message of [b, a, c]) channel.nack(message); // in another order than they came
    await untilReady(channel, queue, 5);
    const messages = await fetchAll(channel, queue);
    assertEquals(bodies(messages), "a b c d e");
    assertEquals(redelivered(messages), [true, true, true, false, false]);

    await send(channel, queue, "abc");
    for (let index = 0; index < 3; index++) await channel.get(queue);
    channel.nackAll();
    await untilReady(channel, queue, 3);
    assertEquals(bodies(await fetchAll(channel, queue)), "a b c");
  },

  async "nack and reject without requeue drop what is not to be dead-lettered"({ broker, channel, queue }) {
    await send(channel, queue, "ab");
    channel.nack(await take(channel, queue), false, false);
    channel.reject(await take(channel, queue), false);
    assertEquals(await ready(channel, queue), 0);
    await channel.close();
    assertEquals(await ready(await broker.channel(), queue), 0);
  },

  async "recover sends everything outstanding again"({ channel, queue }) {
    await send(channel, queue, "ab");
    const { messages } = await consumeInto(channel, queue, {}, 2);
    await channel.recover();
    await until("both again", () => messages.length === 4);
    assertEquals(bodies(messages), "a b a b");
    assertEquals(redelivered(messages), [false, false, true, true]);
  },

  async "a consumer whose socket dies gives its messages to the others"({ broker, channel, queue }) {
    await send(channel, queue, "ab");
    const doomed = await sendRaw(broker.url, session(broker.url, [[1, "basic.consume", { queue }]]));
    await untilReady(channel, queue, 0);
    doomed.close();
    const { messages } = await consumeInto(channel, queue, {}, 2);
    assertEquals(bodies(messages), "a b");
    assertEquals(messages[0]?.fields.redelivered, true);
  },

  async "cancel ends deliveries; what was delivered can still be acknowledged"({ channel, queue }) {
    await send(channel, queue, "a");
    const { tag, messages } = await consumeInto(channel, queue, {}, 1);
    await channel.cancel(tag);
    await channel.cancel("never heard of");
    await send(channel, queue, "b");
    assertEquals(await channel.checkQueue(queue), { queue, messageCount: 1, consumerCount: 0 });
    for (const message of messages) channel.ack(message);
    assertEquals(bodies(await fetchAll(channel, queue)), "b");
  },

  async "consumers are told when their queue is deleted"({ broker, channel, queue }) {
    const inbox = await consumeInto(channel, queue);
    await (await broker.channel()).deleteQueue(queue);
    await until("the cancellation", () => inbox.cancelled);
    await channel.assertQueue(queue); // the channel is none the worse
  },

  async "an exclusive consumer is alone, or refused with 403"({ broker, channel, queue }) {
    const { tag } = await consumeInto(channel, queue, { exclusive: true });
    await broker.refuses(403, "in exclusive use", (second) => second.consume(queue, () => {}));
    await channel.cancel(tag);
    await consumeInto(channel, queue);
    const consume = { exclusive: true };
    await broker.refuses(403, "in exclusive use", (third) => third.consume(queue, () => {}, consume));
  },

  async "a consumer tag can be chosen, or is made up"({ channel, queue }) {
    assertEquals((await consumeInto(channel, queue, { consumerTag: "mine" })).tag, "mine");
    assertMatch((await consumeInto(channel, queue)).tag, /^amq\.ctag-/);
  },
});
