import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Channel, ConfirmChannel } from "amqplib";
import {
  type BrokerUnderTest,
  closeReason,
  conformanceTest,
  consumeInto,
  send,
  until,
} from "./testdata/conformance.ts";

/** Declares, then asserts the reason the second action closes the channel with. */
async function assertRefused(
  broker: BrokerUnderTest,
  code: number,
  text: string,
  action: (channel: ConfirmChannel) => Promise<unknown>,
): Promise<void> {
  const channel = await broker.channel();
  const reason = await closeReason(channel, () => action(channel));
  assertEquals(reason.code, code, reason.message);
  assertStringIncludes(reason.message, text);
}

conformanceTest("queue.declare again as it was made changes nothing", async (broker) => {
  const channel = await broker.channel();
  const options = { durable: true, messageTtl: 60_000, arguments: { "x-made-up": 1 } };
  const queue = await broker.queue(channel, options);
  await send(channel, queue, ["kept"]);
  assertEquals(await channel.assertQueue(queue, options), { queue, messageCount: 1, consumerCount: 0 });
  const classic = { durable: true, messageTtl: 60_000, arguments: { "x-queue-type": "classic" } };
  assertEquals((await channel.assertQueue(queue, classic)).messageCount, 1); // the default, said aloud
});

conformanceTest("queue.declare otherwise than it was made is refused with 406", async (broker) => {
  const channel = await broker.channel();
  const name = broker.unique("queue");
  await channel.assertQueue(name, { durable: true, messageTtl: 1000 });
  const cases = [
    { options: { durable: false, messageTtl: 1000 }, text: "inequivalent arg 'durable'" },
    { options: { autoDelete: true, messageTtl: 1000 }, text: "inequivalent arg 'auto_delete'" },
    { options: { messageTtl: 2000 }, text: "inequivalent arg 'x-message-ttl'" },
    { options: {}, text: "inequivalent arg 'x-message-ttl'" },
    { options: { messageTtl: 1000, maxLength: 5 }, text: "inequivalent arg 'x-max-length'" },
    {
      options: { messageTtl: 1000, deadLetterExchange: "a" },
      text: "inequivalent arg 'x-dead-letter-exchange'",
    },
  ];
  for (const { options, text } of cases) {
    await assertRefused(broker, 406, text, (other) => other.assertQueue(name, options));
  }
});

conformanceTest("queue.declare with invalid arguments is refused with 406", async (broker) => {
  const cases = [
    { "x-message-ttl": -1 },
    { "x-message-ttl": "1000" },
    { "x-max-length": -1 },
    { "x-overflow": "spill" },
    { "x-queue-type": "no-such-type" },
    { "x-dead-letter-routing-key": "key without exchange" },
    { "x-delivery-limit": 3 }, // of a classic queue
  ];
  for (const args of cases) {
    const [name = ""] = Object.keys(args);
    await assertRefused(
      broker,
      406,
      name,
      (channel) => channel.assertQueue(broker.unique("q"), { arguments: args }),
    );
  }
});

conformanceTest("quorum queues must be durable, shared, lasting and named", async (broker) => {
  const quorum = { "x-queue-type": "quorum" };
  const cases = [{ durable: false }, { exclusive: true }, { autoDelete: true }];
  for (const options of cases) {
    const declare = (channel: Channel) =>
      channel.assertQueue(broker.unique("q"), { ...options, arguments: quorum });
    await assertRefused(broker, 406, "invalid property", declare);
  }
  await assertRefused(
    broker,
    406,
    "server-named",
    (channel) => channel.assertQueue("", { arguments: quorum }),
  );
});

conformanceTest(
  "a passive declare tells ready messages and consumers, and 404 where nothing is",
  async (broker) => {
    const { channel, queue } = await broker.channelWithQueue();
    await send(channel, queue, "abc");
    assertEquals(await channel.checkQueue(queue), { queue, messageCount: 3, consumerCount: 0 });
    await channel.prefetch(1);
    await consumeInto(channel, queue);
    await until("one of three to be out", async () => (await channel.checkQueue(queue)).messageCount === 2);
    assertEquals((await channel.checkQueue(queue)).consumerCount, 1);
    await assertRefused(
      broker,
      404,
      "no queue 'nowhere' in vhost '/'",
      (other) => other.checkQueue("nowhere"),
    );
    await assertRefused(
      broker,
      404,
      "no exchange 'nowhere' in vhost '/'",
      (other) => other.checkExchange("nowhere"),
    );
  },
);

conformanceTest("server-named queues get names of their own", async (broker) => {
  const channel = await broker.channel();
  const first = await channel.assertQueue("", { exclusive: true });
  const second = await channel.assertQueue("", { exclusive: true });
  assertMatch(first.queue, /^amq\.gen-[\w-]{22}$/);
  assertEquals(first.queue === second.queue, false);
});

conformanceTest("an empty queue name stands for the queue declared last", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await channel.bindQueue("", "amq.direct", queue);
  channel.publish("amq.direct", queue, Buffer.from("x"));
  await channel.waitForConfirms();
  assertEquals((await channel.purgeQueue("")).messageCount, 1);
});

conformanceTest("exclusive queues are locked to their connection and go with it", async (broker) => {
  const owner = await broker.connect();
  const channel = await owner.createChannel();
  const queue = await broker.queue(channel, { exclusive: true });
  const attempts: ((other: Channel) => Promise<unknown>)[] = [
    (other) => other.checkQueue(queue),
    (other) => other.assertQueue(queue, { exclusive: true }),
    (other) => other.consume(queue, () => {}),
    (other) => other.get(queue),
    (other) => other.bindQueue(queue, "amq.topic", "key"),
    (other) => other.purgeQueue(queue),
    (other) => other.deleteQueue(queue),
  ];
  for (const attempt of attempts) await assertRefused(broker, 405, `locked queue '${queue}'`, attempt);
  const sibling = await owner.createChannel();
  await sibling.checkQueue(queue);
  await owner.close();
  const watcher = await broker.channel();
  await until("the queue to be gone", async () => (await watcher.assertQueue(queue)).queue === queue);
});

conformanceTest("auto-delete queues go with their last consumer, not before", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue({ autoDelete: true });
  const first = await consumeInto(channel, queue);
  const second = await consumeInto(channel, queue);
  await channel.cancel(first.tag);
  await channel.checkQueue(queue);
  await channel.cancel(second.tag);
  await assertRefused(broker, 404, "no queue", (other) => other.checkQueue(queue));
});

conformanceTest(
  "queue.delete honours ifEmpty and ifUnused, tells the count, and is no error twice",
  async (broker) => {
    const { channel, queue } = await broker.channelWithQueue();
    await send(channel, queue, "ab");
    await assertRefused(broker, 406, "not empty", (other) => other.deleteQueue(queue, { ifEmpty: true }));
    const idle = await broker.queue(channel);
    const inbox = await consumeInto(channel, idle);
    await assertRefused(broker, 406, "in use", (other) => other.deleteQueue(idle, { ifUnused: true }));
    await channel.cancel(inbox.tag);
    assertEquals(await channel.deleteQueue(idle, { ifUnused: true, ifEmpty: true }), { messageCount: 0 });
    assertEquals(await channel.deleteQueue(queue), { messageCount: 2 });
    assertEquals(await channel.deleteQueue(queue), { messageCount: 0 });
  },
);

conformanceTest("queue.purge removes what is ready, and only that", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await send(channel, queue, "abc");
  const out = await channel.get(queue);
  assertEquals(await channel.purgeQueue(queue), { messageCount: 2 });
  if (out) channel.nack(out);
  await until("the one that was out", async () => (await channel.checkQueue(queue)).messageCount === 1);
  await assertRefused(broker, 404, "no queue", (other) => other.purgeQueue("nowhere"));
});

conformanceTest("exchange.declare otherwise than it was made is refused with 406", async (broker) => {
  const channel = await broker.channel();
  const exchange = await broker.exchange(channel, "topic", { durable: true });
  await channel.assertExchange(exchange, "topic", { durable: true });
  const cases = [
    { type: "fanout", options: {}, text: "inequivalent arg 'type'" },
    { type: "topic", options: { durable: false }, text: "inequivalent arg 'durable'" },
    { type: "topic", options: { autoDelete: true }, text: "inequivalent arg 'auto_delete'" },
    { type: "topic", options: { internal: true }, text: "inequivalent arg 'internal'" },
  ];
  for (const { type, options, text } of cases) {
    await assertRefused(broker, 406, text, (other) => other.assertExchange(exchange, type, options));
  }
});

conformanceTest("an unknown type of exchange is refused", async (broker) => {
  const [connection, name] = [await broker.connect(), broker.unique("x")];
  const channel = await connection.createChannel();
  channel.on("error", () => {});
  const isRabbitMq3 = await broker.isRabbitMq3(); // which closes the connection for it
  const reason = await closeReason(
    isRabbitMq3 ? connection : channel,
    () => channel.assertExchange(name, "odd"),
  );
  assertEquals(reason.code, isRabbitMq3 ? 503 : 406);
  assertStringIncludes(reason.message, "exchange type 'odd'");
});

conformanceTest("names and exchanges of the broker's own are refused with 403", async (broker) => {
  const attempts: ((channel: Channel, queue: string) => Promise<unknown>)[] = [
    (channel) => channel.assertQueue("amq.mine"),
    (channel) => channel.assertExchange("amq.mine", "topic"),
    (channel) => channel.deleteExchange("amq.topic"),
    (channel) => channel.deleteExchange(""),
    (channel) => channel.assertExchange("", "direct"),
    (channel) => channel.checkExchange(""),
    (channel, queue) => channel.bindQueue(queue, "", "key"),
    (channel, queue) => channel.unbindQueue(queue, "", "key"),
  ];
  const queue = await broker.queue(await broker.channel());
  for (const attempt of attempts) {
    await assertRefused(broker, 403, "ACCESS_REFUSED", (channel) => attempt(channel, queue));
  }
});

conformanceTest("exchange.delete honours ifUnused, and a missing exchange is no error", async (broker) => {
  const channel = await broker.channel();
  const exchange = await broker.exchange(channel, "direct");
  const queue = await broker.queue(channel);
  await channel.bindQueue(queue, exchange, "key");
  await assertRefused(broker, 406, "in use", (other) => other.deleteExchange(exchange, { ifUnused: true }));
  await channel.unbindQueue(queue, exchange, "key");
  await channel.deleteExchange(exchange, { ifUnused: true });
  await channel.deleteExchange(exchange);
  await assertRefused(broker, 404, "no exchange", (other) => other.checkExchange(exchange));
});

conformanceTest("auto-delete exchanges go with their last binding", async (broker) => {
  const channel = await broker.channel();
  const exchange = await broker.exchange(channel, "direct", { autoDelete: true });
  const [one, two] = [await broker.queue(channel), await broker.queue(channel)];
  await channel.bindQueue(one, exchange, "key");
  await channel.bindQueue(two, exchange, "key");
  await channel.unbindQueue(one, exchange, "key");
  await channel.checkExchange(exchange);
  await channel.deleteQueue(two);
  await assertRefused(broker, 404, "no exchange", (other) => other.checkExchange(exchange));
});

conformanceTest("binding what is missing is refused with 404; unbinding it is no error", async (broker) => {
  const { channel, queue } = await broker.channelWithQueue();
  await assertRefused(broker, 404, "no queue", (other) => other.bindQueue("nowhere", "amq.topic", "key"));
  await assertRefused(broker, 404, "no exchange", (other) => other.bindQueue(queue, "nowhere", "key"));
  await channel.unbindQueue(queue, "amq.topic", "never bound");
  await channel.unbindQueue(queue, "nowhere", "key");
  await channel.unbindQueue("nowhere", "amq.topic", "key");
});

conformanceTest(
  "transactions, headers and alternate exchanges are refused where they are not served",
  async (broker) => {
    if (!broker.isEmbedded) return; // RabbitMQ serves them
    const attempts: ((channel: Channel) => Promise<unknown>)[] = [
      (channel) => channel.assertExchange(broker.unique("x"), "headers"),
      (channel) => channel.assertExchange(broker.unique("x"), "topic", { alternateExchange: "other" }),
      (channel) => channel.assertQueue(broker.unique("q"), { maxPriority: 5 }),
    ];
    for (const attempt of attempts) {
      const connection = await broker.connect();
      const channel = await connection.createChannel();
      assertEquals((await closeReason(connection, () => attempt(channel))).code, 540);
    }
  },
);
