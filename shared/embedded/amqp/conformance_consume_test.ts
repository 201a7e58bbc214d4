import { assert, assertEquals } from "@std/assert";
import type { GetMessage } from "amqplib";
import {
  bodies,
  closeReason,
  conformanceTest,
  consumeInto,
  fetchAll,
  type Inbox,
  send,
  until,
} from "./testdata/conformance.ts";
import { connectWithChannel } from "./testdata/raw_client.ts";

conformanceTest("basic.get tells tags and counts, and that a queue is empty", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  assertEquals(await channel.get(queue), false);
  await send(channel, queue, "ab");
  const first = await channel.get(queue);
  assert(first);
  assertEquals(first.fields, {
    deliveryTag: 1,
    redelivered: false,
    exchange: "",
    routingKey: queue,
    messageCount: 1,
  });
  channel.ack(first);
  const second = await channel.get(queue, { noAck: true });
  assertEquals(second && second.fields.deliveryTag, 2);
  assertEquals(await channel.get(queue), false);
});

conformanceTest("prefetch limits what a consumer holds, one by one as it acknowledges", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await send(channel, queue, "abcdef");
  await channel.prefetch(2);
  const inbox = await consumeInto(channel, queue);
  for (const [index, expected] of ["ab", "abc", "abcd", "abcde", "abcdef"].entries()) {
    await until("the prefetched messages", () => inbox.messages.length === index + 2);
    const { messageCount } = await channel.checkQueue(queue); // a round trip: nothing more is on its way
    assertEquals([bodies(inbox.messages).join(""), messageCount], [expected, 4 - index]);
    const oldest = inbox.messages[index];
    if (oldest) channel.ack(oldest);
  }
});

conformanceTest("prefetch is per consumer, and with the global flag per channel as well", async (broker) => {
  const publisher = await broker.channel();
  const queue = await broker.queue(publisher);
  await send(publisher, queue, "abcdefgh");
  const channel = await (await broker.connect()).createChannel();
  await channel.prefetch(2);
  await channel.prefetch(3, true);
  const [one, two] = [await consumeInto(channel, queue), await consumeInto(channel, queue)];
  await until("three in all", async () => (await channel.checkQueue(queue)).messageCount === 5);
  assertEquals([one.messages.length, two.messages.length].sort(), [1, 2]);
  channel.ackAll();
  await until("three more", () => one.messages.length + two.messages.length === 6);
  assertEquals((await channel.checkQueue(queue)).messageCount, 2);
});

conformanceTest("consumers of a queue take turns", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await channel.prefetch(10);
  const inboxes: Inbox[] = [];
  for (let index = 0; index < 4; index++) inboxes.push(await consumeInto(channel, queue));
  await send(channel, queue, "abcdefghijklmnopqrst");
  await until("all deliveries", () => inboxes.reduce((sum, inbox) => sum + inbox.messages.length, 0) === 20);
  assertEquals(inboxes.map((inbox) => inbox.messages.length), [5, 5, 5, 5]);
});

conformanceTest("noAck deliveries are settled as they go out, whatever the prefetch", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await send(channel, queue, "abc");
  await channel.prefetch(1);
  const inbox = await consumeInto(channel, queue, { noAck: true });
  await until("all of them", () => inbox.messages.length === 3);
  assertEquals((await closeReason(channel, () => channel.ack(inbox.messages[0]!))).code, 406);
});

conformanceTest("acknowledging with multiple settles everything up to the tag", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await send(channel, queue, "abcd");
  const inbox = await consumeInto(channel, queue);
  await until("all of them", () => inbox.messages.length === 4);
  const [, , third] = inbox.messages;
  assert(third);
  channel.ack(third, true);
  await channel.cancel(inbox.tag);
  await channel.close();
  const other = await broker.channel();
  await until("the fourth to be back", async () => (await other.checkQueue(queue)).messageCount === 1);
  assertEquals(bodies(await fetchAll(other, queue)), ["d"]);
});

conformanceTest("an unknown delivery tag closes the channel with 406", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await send(channel, queue, "a");
  const message = await channel.get(queue);
  assert(message);
  channel.ack(message);
  const reason = await closeReason(channel, () => channel.ack(message));
  assertEquals(reason.code, 406);
  assert(reason.message.includes("unknown delivery tag 1"), reason.message);
});

conformanceTest("requeued messages return to their places, marked as redelivered", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await send(channel, queue, "abcde");
  const taken: GetMessage[] = [];
  for (let index = 0; index < 3; index++) {
    const message = await channel.get(queue);
    if (message) taken.push(message);
  }
  for (const index of [1, 0, 2]) { // in another order than they came
    const message = taken[index];
    if (message) channel.nack(message);
  }
  await until("all five", async () => (await channel.checkQueue(queue)).messageCount === 5);
  const messages = await fetchAll(channel, queue);
  assertEquals(bodies(messages), ["a", "b", "c", "d", "e"]);
  assertEquals(messages.map((message) => message.fields.redelivered), [true, true, true, false, false]);
});

conformanceTest(
  "nack and reject without requeue drop the message where no dead-letter exchange is",
  async (broker) => {
    const { channel, queue } = await broker.channelWithQueue();
    await send(channel, queue, "ab");
    const [first, second] = [await channel.get(queue), await channel.get(queue)];
    assert(first && second);
    channel.nack(first, false, false);
    channel.reject(second, false);
    assertEquals((await channel.checkQueue(queue)).messageCount, 0);
    await channel.close();
    assertEquals((await (await broker.channel()).checkQueue(queue)).messageCount, 0);
  },
);

conformanceTest("nack with multiple and requeue returns everything outstanding", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await send(channel, queue, "abc");
  for (let index = 0; index < 3; index++) await channel.get(queue);
  channel.nackAll();
  await until("all three", async () => (await channel.checkQueue(queue)).messageCount === 3);
  assertEquals(bodies(await fetchAll(channel, queue)), ["a", "b", "c"]);
});

conformanceTest("recover sends everything outstanding again", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await send(channel, queue, "ab");
  const inbox = await consumeInto(channel, queue);
  await until("both", () => inbox.messages.length === 2);
  await channel.recover();
  await until("both again", () => inbox.messages.length === 4);
  assertEquals(bodies(inbox.messages), ["a", "b", "a", "b"]);
  assertEquals(inbox.messages.map((message) => message.fields.redelivered), [false, false, true, true]);
});

conformanceTest("closing a channel returns what it held", async (broker) => {
  const connection = await broker.connect();
  const [publisher, channel] = [await connection.createConfirmChannel(), await connection.createChannel()];
  const queue = await broker.queue(publisher);
  await send(publisher, queue, "abcd");
  await channel.prefetch(3);
  const inbox = await consumeInto(channel, queue);
  await until("three", () => inbox.messages.length === 3);
  await channel.close();
  await until("all four", async () => (await publisher.checkQueue(queue)).messageCount === 4);
  const messages = await fetchAll(publisher, queue);
  assertEquals(bodies(messages), ["a", "b", "c", "d"]);
  assertEquals(messages.map((message) => message.fields.redelivered), [true, true, true, false]);
});

conformanceTest("a consumer whose socket dies gives its messages to the others", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  const doomed = await connectWithChannel(broker.url);
  const options = { noLocal: false, noAck: false, exclusive: false, noWait: false };
  doomed.send(1, "basic.consume", {
    ticket: 0,
    queue,
    consumerTag: "doomed",
    ...options,
    arguments: new Map(),
  });
  await doomed.expect("basic.consume-ok");
  await send(channel, queue, "ab");
  await doomed.expect("basic.deliver");
  doomed.close();
  const inbox = await consumeInto(channel, queue);
  await until("both at the survivor", () => inbox.messages.length === 2);
  assertEquals(bodies(inbox.messages), ["a", "b"]);
  assertEquals(inbox.messages[0]?.fields.redelivered, true);
});

conformanceTest("cancel ends deliveries; what was delivered can still be acknowledged", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await send(channel, queue, "a");
  const inbox = await consumeInto(channel, queue);
  await until("the first", () => inbox.messages.length === 1);
  await channel.cancel(inbox.tag);
  await channel.cancel("never heard of");
  await send(channel, queue, "b");
  assertEquals(await channel.checkQueue(queue), { queue, messageCount: 1, consumerCount: 0 });
  for (const message of inbox.messages) channel.ack(message);
  assertEquals(bodies(await fetchAll(channel, queue)), ["b"]);
});

conformanceTest("consumers are told when their queue is deleted", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  const inbox = await consumeInto(channel, queue);
  const admin = await broker.channel();
  await admin.deleteQueue(queue);
  await until("the cancellation", () => inbox.cancelled);
  await channel.assertQueue(queue); // the channel is none the worse
});

conformanceTest("an exclusive consumer is alone, or refused with 403", async (broker) => {
  const owner = await broker.channel();
  const queue = await broker.queue(owner);
  const inbox = await consumeInto(owner, queue, { exclusive: true });
  const second = await broker.channel();
  assertEquals((await closeReason(second, () => second.consume(queue, () => {}))).code, 403);
  await owner.cancel(inbox.tag);
  await consumeInto(owner, queue);
  const third = await broker.channel();
  assertEquals(
    (await closeReason(third, () => third.consume(queue, () => {}, { exclusive: true }))).code,
    403,
  );
});

conformanceTest("a consumer tag can be chosen, and used once on a channel", async (broker) => {
  const connection = await broker.connect();
  const channel = await connection.createChannel();
  const queue = await broker.queue(channel);
  const chosen = await channel.consume(queue, () => {}, { consumerTag: "mine" });
  assertEquals(chosen.consumerTag, "mine");
  const made = await channel.consume(queue, () => {});
  assert(made.consumerTag.startsWith("amq.ctag-"), made.consumerTag);
  const again = () => channel.consume(queue, () => {}, { consumerTag: "mine" });
  assertEquals((await closeReason(connection, again)).code, 530);
});

conformanceTest("consuming from or getting of a missing queue is refused with 404", async (broker) => {
  const [one, two] = [await broker.channel(), await broker.channel()];
  assertEquals((await closeReason(one, () => one.consume("nowhere", () => {}))).code, 404);
  assertEquals((await closeReason(two, () => two.get("nowhere"))).code, 404);
});

conformanceTest("ten thousand messages arrive once each and in order", async (broker) => {
  const [publisher, consumer] = [await broker.channel(), await broker.channel()];
  const queue = await broker.queue(publisher);
  const received: number[] = [];
  await consumer.prefetch(500);
  await consumer.consume(queue, (message) => {
    if (!message) return;
    received.push(Number(message.content.toString()));
    if (received.length % 100 === 0) consumer.ack(message, true);
  });
  const texts = Array.from({ length: 10_000 }, (_, index) => String(index));
  await send(publisher, queue, texts);
  await until("all of them", () => received.length === texts.length);
  assertEquals(received.every((value, index) => value === index), true);
});
