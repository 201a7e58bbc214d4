// Runs each conformance test with the stock client against the embedded broker and, where the environment variable
// `AMQP_URL` names one, against that broker too: both must answer alike.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  connect,
  type ConsumeMessage,
  type GetMessage,
  type Options,
} from "amqplib";
import { once } from "node:events";
import { startAmqpBroker } from "../server.ts";

export const QUORUM = { arguments: { "x-queue-type": "quorum" } };

const WAIT_MS = 10_000;

/** What a test gets: a broker, and for a start a channel with confirms and a queue. */
export type Given = {
  readonly broker: ReturnType<typeof brokerUnderTest>;
  readonly channel: ConfirmChannel;
  readonly queue: string;
};

/** Registers each test once per broker; the broker is named in the test's name. */
export function conformance(tests: Readonly<Record<string, (given: Given) => Promise<void>>>): void {
  const url = Deno.env.get("AMQP_URL");
  const run = async (test: (given: Given) => Promise<void>, url: string, isEmbedded: boolean) => {
    await using broker = brokerUnderTest(url, isEmbedded);
    const channel = await broker.channel();
    await test({ broker, channel, queue: await broker.queue(channel) });
  };
  for (const [name, test] of Object.entries(tests)) {
    Deno.test(`embedded broker: ${name}`, async () => {
      const server = startAmqpBroker();
      await run(test, server.url, true).finally(() => server.stop());
    });
    if (url) Deno.test(`AMQP_URL: ${name}`, () => run(test, url, false));
  }
}

function brokerUnderTest(url: string, isEmbedded: boolean) {
  const connections: ChannelModel[] = [];
  const names: string[] = [];
  const broker = {
    url,
    isEmbedded,
    async connect(): Promise<ChannelModel> {
      const connection = await connect(url, { noDelay: true });
      connection.on("error", () => {}); // tests look at the errors they expect; others show as a failed action
      connections.push(connection);
      return connection;
    },
    /** A name for a queue or exchange, which is deleted after the test. */
    unique(prefix: string): string {
      const name = `conformance.${prefix}.${crypto.randomUUID().slice(0, 13)}`;
      names.push(name);
      return name;
    },
    /** Whether it says that it is a RabbitMQ 3, which answers some things otherwise than 4. */
    async isRabbitMq3(): Promise<boolean> {
      const { product, version } = (await broker.connect()).connection.serverProperties;
      return product === "RabbitMQ" && version.startsWith("3.");
    },
    /** A channel with confirms, on a connection of its own unless one is given. */
    async channel(connection?: ChannelModel): Promise<ConfirmChannel> {
      const channel = await (connection ?? await broker.connect()).createConfirmChannel();
      channel.on("error", () => {});
      return channel;
    },
    async queue(channel: Channel, options?: Options.AssertQueue): Promise<string> {
      return (await channel.assertQueue(broker.unique("queue"), options)).queue;
    },
    async exchange(channel: Channel, type: string, options?: Options.AssertExchange): Promise<string> {
      return (await channel.assertExchange(broker.unique("exchange"), type, options)).exchange;
    },
    /** Asserts that the broker closes a fresh channel for the action, with this code and text. */
    async refuses(code: number, text: string, action: (channel: ConfirmChannel) => unknown): Promise<void> {
      const channel = await broker.channel();
      const reason = await closeReason(channel, () => action(channel));
      assertEquals(reason.code, code, reason.message);
      assertStringIncludes(reason.message, text);
    },
    /** Closes the connections that are still open, and has what the test made deleted. */
    async [Symbol.asyncDispose](): Promise<void> {
      const close = () => connections.splice(0).map((connection) => connection.close().catch(() => {}));
      await Promise.all(close());
      if (isEmbedded) return;
      const channel = await broker.channel();
      for (const name of names) {
        await channel.deleteQueue(name);
        await channel.deleteExchange(name);
      }
      await Promise.all(close());
    },
  };
  return broker;
}

/** Resolves once `condition` holds; fails after ten seconds, saying what was waited for. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  while (!(await condition())) {
    assert(Date.now() < deadline, `Waited ${WAIT_MS} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The code and text that the server closes a channel or connection with, after `action`, which may well fail. */
export async function closeReason(
  emitter: Channel | ChannelModel,
  action: () => unknown,
): Promise<{ readonly code: number; readonly message: string }> {
  const closed = once(emitter, "error", { signal: AbortSignal.timeout(WAIT_MS) });
  await Promise.try(action).catch(() => {}); // told through the event
  const [{ code, message }] = await closed;
  return { code, message };
}

/** Messages as they come to a consumer, and whether the server cancelled it. */
export type Inbox = { tag: string; readonly messages: ConsumeMessage[]; cancelled: boolean };

/** Consumes into an array, and waits until so many have come. */
export async function consumeInto(
  channel: Channel,
  queue: string,
  options?: Options.Consume,
  count = 0,
): Promise<Inbox> {
  const inbox: Inbox = { tag: "", messages: [], cancelled: false };
  const { consumerTag } = await channel.consume(queue, (message) => {
    if (message) inbox.messages.push(message);
    else inbox.cancelled = true;
  }, options);
  inbox.tag = consumerTag;
  await until(`${count} messages`, () => inbox.messages.length >= count);
  return inbox;
}

/** Sends texts to a queue, one message each, and waits for the confirms. */
export async function send(channel: ConfirmChannel, queue: string, texts: Iterable<string>): Promise<void> {
  for (const text of texts) channel.sendToQueue(queue, Buffer.from(text));
  await channel.waitForConfirms();
}

export async function ready(channel: Channel, queue: string): Promise<number> {
  return (await channel.checkQueue(queue)).messageCount;
}

export async function untilReady(channel: Channel, queue: string, count: number): Promise<void> {
  await until(`${count} messages in ${queue}`, async () => await ready(channel, queue) === count);
}

/** Fetches one message, once there is one. */
export async function take(channel: Channel, queue: string, options?: Options.Get): Promise<GetMessage> {
  let message: GetMessage | false = false;
  await until(`a message in ${queue}`, async () => (message = await channel.get(queue, options)) !== false);
  assert(message);
  return message;
}

export async function fetchAll(channel: Channel, queue: string): Promise<GetMessage[]> {
  const messages: GetMessage[] = [];
  for (let message; (message = await channel.get(queue, { noAck: true }));) messages.push(message);
  return messages;
}

/** The bodies as one text, divided by spaces. */
export function bodies(messages: readonly { content: Uint8Array }[]): string {
  return messages.map((message) => new TextDecoder().decode(message.content)).join(" ");
}
