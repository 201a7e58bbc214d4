import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Channel, Options } from "amqplib";
import {
  closeReason,
  conformance,
  consumeInto,
  QUORUM,
  send,
  until,
  untilReady,
} from "./testdata/conformance.ts";

conformance({
  async "queue.declare again as it was made changes nothing"({ broker, channel }) {
    const options = { durable: true, messageTtl: 60_000, arguments: { "x-made-up": 1 } };
    const queue = await broker.queue(channel, options);
    await send(channel, queue, ["kept"]);
    assertEquals(await channel.assertQueue(queue, options), { queue, messageCount: 1, consumerCount: 0 });
    const classic = { durable: true, messageTtl: 60_000, arguments: { "x-queue-type": "classic" } };
    assertEquals((await channel.assertQueue(queue, classic)).messageCount, 1); // the default, said aloud
    for (const type of ["int64", "int32", "uint16"]) { // as other clients send it
      const ttl = { "!": type, value: 60_000 };
      await channel.assertQueue(queue, { durable: true, arguments: { "x-message-ttl": ttl } });
    }
  },

  async "a declaration otherwise than the first one is refused with 406"({ broker, channel }) {
    const queue = await broker.queue(channel, { messageTtl: 1000 });
    const exchange = await broker.exchange(channel, "topic");
    await channel.assertExchange(exchange, "topic"); // as it was made, it changes nothing
    const asQueue = (options: Options.AssertQueue) => (other: Channel) => other.assertQueue(queue, options);
    const asExchange = (type: string, options: Options.AssertExchange) => (other: Channel) =>
      other.assertExchange(exchange, type, options);
    const cases: [string, (other: Channel) => unknown][] = [
      ["durable", asQueue({ messageTtl: 1000, durable: false })],
      ["auto_delete", asQueue({ messageTtl: 1000, autoDelete: true })],
      ["x-message-ttl", asQueue({ messageTtl: 2000 })],
      ["x-message-ttl", asQueue({})],
      ["x-max-length", asQueue({ messageTtl: 1000, maxLength: 5 })],
      ["x-dead-letter-exchange", asQueue({ messageTtl: 1000, deadLetterExchange: "a" })],
      ["type", asExchange("fanout", {})],
      ["durable", asExchange("topic", { durable: false })],
      ["auto_delete", asExchange("topic", { autoDelete: true })],
    ];
    for (const [name, declare] of cases) await broker.refuses(406, `inequivalent arg '${name}'`, declare);
  },

  async "what is not there is refused with 404, what is the broker's own with 403, what makes no sense with 406"(
    { broker, queue },
  ) {
    const declare = (options: Options.AssertQueue) => (channel: Channel) => broker.queue(channel, options);
    const publish = (options: Options.Publish) => (channel: Channel) =>
      channel.publish("", "key", Buffer.from("x"), options);
    const withArgument = (name: string, value: unknown) => declare({ arguments: { [name]: value } });
    const cases: [number, string, ((channel: Channel) => unknown)[]][] = [
      [404, "no queue 'nowhere' in vhost '/'", [
        (channel) => channel.checkQueue("nowhere"),
        (channel) => channel.purgeQueue("nowhere"),
        (channel) => channel.bindQueue("nowhere", "amq.topic", "key"),
        (channel) => channel.consume("nowhere", () => {}),
        (channel) => channel.get("nowhere"),
      ]],
      [404, "no exchange 'nowhere' in vhost '/'", [
        (channel) => channel.checkExchange("nowhere"),
        (channel) => channel.bindQueue(queue, "nowhere", "key"),
        (channel) => channel.publish("nowhere", "key", Buffer.from("x")),
      ]],
      [403, "ACCESS_REFUSED", [
        (channel) => channel.assertQueue("amq.mine"),
        (channel) => channel.assertExchange("amq.mine", "topic"),
        (channel) => channel.deleteExchange("amq.topic"),
        (channel) => channel.deleteExchange(""),
        (channel) => channel.assertExchange("", "direct"),
        (channel) => channel.checkExchange(""),
        (channel) => channel.bindQueue(queue, "", "key"),
        (channel) => channel.unbindQueue(queue, "", "key"),
      ]],
      [406, "x-message-ttl", [withArgument("x-message-ttl", -1), withArgument("x-message-ttl", "1000")]],
      [406, "x-max-length", [withArgument("x-max-length", -1)]],
      [406, "x-overflow", [withArgument("x-overflow", "spill")]],
      [406, "x-queue-type", [withArgument("x-queue-type", "no-such-type")]],
      [406, "x-dead-letter-routing-key", [withArgument("x-dead-letter-routing-key", "without exchange")]],
      [406, "x-delivery-limit", [withArgument("x-delivery-limit", 3)]], // of a classic queue
      [406, "invalid property", [
        declare({ durable: false, ...QUORUM }),
        declare({ exclusive: true, ...QUORUM }),
        declare({ autoDelete: true, ...QUORUM }),
      ]],
      [406, "", [
        publish({ expiration: "soon" }),
        publish({ expiration: "-1" }),
        publish({ userId: "other" }),
      ]],
      [406, "server-named", [(channel) => channel.assertQueue("", QUORUM)]],
    ];
    for (const [code, text, attempts] of cases) {
      for (const attempt of attempts) await broker.refuses(code, text, attempt);
    }
  },

  async "a passive declare tells ready messages and consumers"({ channel, queue }) {
    await send(channel, queue, "abc");
    assertEquals(await channel.checkQueue(queue), { queue, messageCount: 3, consumerCount: 0 });
    await channel.prefetch(1);
    await consumeInto(channel, queue);
    await untilReady(channel, queue, 2);
    assertEquals((await channel.checkQueue(queue)).consumerCount, 1);
  },

  async "server-named queues get names of their own"({ channel }) {
    const first = await channel.assertQueue("", { exclusive: true });
    const second = await channel.assertQueue("", { exclusive: true });
    assertMatch(first.queue, /^amq\.gen-[\w-]{22}$/);
    assertEquals(first.queue === second.queue, false);
  },

  async "an empty queue name stands for the queue declared last"({ channel, queue }) {
    await channel.bindQueue("", "amq.direct", queue);
    channel.publish("amq.direct", queue, Buffer.from("x"));
    await channel.waitForConfirms();
    assertEquals((await channel.purgeQueue("")).messageCount, 1);
  },

  async "exclusive queues are locked to their connection and go with it"({ broker }) {
    const owner = await broker.connect();
    const queue = await broker.queue(await broker.channel(owner), { exclusive: true });
    const attempts: ((other: Channel) => Promise<unknown>)[] = [
      (other) => other.checkQueue(queue),
      (other) => other.assertQueue(queue, { exclusive: true }),
      (other) => other.consume(queue, () => {}),
      (other) => other.get(queue),
      (other) => other.bindQueue(queue, "amq.topic", "key"),
      (other) => other.purgeQueue(queue),
      (other) => other.deleteQueue(queue),
    ];
    for (const attempt of attempts) await broker.refuses(405, `locked queue '${queue}'`, attempt);
    await (await broker.channel(owner)).checkQueue(queue);
    await owner.close();
    const watcher = await broker.channel();
    await until("the queue to be gone", async () => (await watcher.assertQueue(queue)).queue === queue);
  },

  async "auto-delete queues go with their last consumer, not before"({ broker, channel }) {
    const queue = await broker.queue(channel, { autoDelete: true });
    const first = await consumeInto(channel, queue);
    const second = await consumeInto(channel, queue);
    await channel.cancel(first.tag);
    await channel.checkQueue(queue);
    await channel.cancel(second.tag);
    await broker.refuses(404, "no queue", (other) => other.checkQueue(queue));
  },

  async "queue.delete honours ifEmpty and ifUnused, and is no error twice"({ broker, channel, queue }) {
    await send(channel, queue, "ab");
    await broker.refuses(406, "not empty", (other) => other.deleteQueue(queue, { ifEmpty: true }));
    const idle = await broker.queue(channel);
    const { tag } = await consumeInto(channel, idle);
    await broker.refuses(406, "in use", (other) => other.deleteQueue(idle, { ifUnused: true }));
    await channel.cancel(tag);
    assertEquals(await channel.deleteQueue(idle, { ifUnused: true, ifEmpty: true }), { messageCount: 0 });
    assertEquals(await channel.deleteQueue(queue), { messageCount: 2 });
    assertEquals(await channel.deleteQueue(queue), { messageCount: 0 });
  },

  async "queue.purge removes what is ready, and only that"({ channel, queue }) {
    await send(channel, queue, "abc");
    const out = await channel.get(queue);
    assertEquals(await channel.purgeQueue(queue), { messageCount: 2 });
    if (out) channel.nack(out);
    await untilReady(channel, queue, 1);
  },

  async "an unknown type of exchange is refused"({ broker }) {
    const connection = await broker.connect();
    const channel = await broker.channel(connection);
    const isRabbitMq3 = await broker.isRabbitMq3(); // which closes the connection for it
    const declare = () => channel.assertExchange(broker.unique("x"), "odd");
    const { code, message } = await closeReason(isRabbitMq3 ? connection : channel, declare);
    assertEquals(code, isRabbitMq3 ? 503 : 406);
    assertStringIncludes(message, "exchange type 'odd'");
  },

  async "exchange.delete honours ifUnused, and a missing exchange is no error"({ broker, channel, queue }) {
    const exchange = await broker.exchange(channel, "direct");
    await channel.bindQueue(queue, exchange, "key");
    await broker.refuses(406, "in use", (other) => other.deleteExchange(exchange, { ifUnused: true }));
    await channel.unbindQueue(queue, exchange, "key");
    await channel.deleteExchange(exchange, { ifUnused: true });
    await channel.deleteExchange(exchange);
    await broker.refuses(404, "no exchange", (other) => other.checkExchange(exchange));
  },

  async "auto-delete exchanges go with their last binding"({ broker, channel, queue }) {
    const exchange = await broker.exchange(channel, "direct", { autoDelete: true });
    const other = await broker.queue(channel);
    for (const bound of [queue, other]) await channel.bindQueue(bound, exchange, "key");
    await channel.unbindQueue(queue, exchange, "key");
    await channel.checkExchange(exchange);
    await channel.deleteQueue(other);
    await broker.refuses(404, "no exchange", (watcher) => watcher.checkExchange(exchange));
  },

  async "unbinding what is missing is no error"({ channel, queue }) {
    await channel.unbindQueue(queue, "amq.topic", "never bound");
    await channel.unbindQueue(queue, "nowhere", "key");
    await channel.unbindQueue("nowhere", "amq.topic", "key");
  },
});
