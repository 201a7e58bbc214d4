/**
 * Runs each conformance test with the stock client against the embedded broker and, where the environment
 * variable `AMQP_URL` names one, against that broker too: both must answer alike.
 *
 * @module
 */
import { assert } from "@std/assert";
import {
  type Channel,
  type ChannelModel,
  type ConfirmChannel,
  connect,
  type ConsumeMessage,
  type Options,
} from "amqplib";
import { startAmqpBroker } from "../server.ts";

/** What the server said when it closed a channel or connection. */
export type CloseReason = { readonly code: number; readonly message: string };

/** A broker under test, with what a test opens on it; everything is taken down after the test. */
export type BrokerUnderTest = {
  readonly url: string;
  /** Whether it is the one of this project. */
  readonly isEmbedded: boolean;
  /** A connection of its own. */
  connect(): Promise<ChannelModel>;
  /** A channel with confirms, on a connection of its own. */
  channel(): Promise<ConfirmChannel>;
  /** A name that nothing else has, for a queue or exchange that is deleted after the test. */
  unique(prefix: string): string;
  /** Declares a queue under a unique name. */
  queue(channel: Channel, options?: Options.AssertQueue): Promise<string>;
  /** Declares an exchange under a unique name. */
  exchange(channel: Channel, type: string, options?: Options.AssertExchange): Promise<string>;
};

const WAIT_MS = 10_000;

/** Registers a test once per broker; the broker is named in the test's name. */
export function conformanceTest(name: string, body: (broker: BrokerUnderTest) => Promise<void>): void {
  Deno.test(`embedded broker: ${name}`, async () => {
    const broker = startAmqpBroker();
    try {
      await withBroker(broker.url, true, body);
    } finally {
      await broker.stop();
    }
  });
  const url = Deno.env.get("AMQP_URL");
  if (url) Deno.test(`AMQP_URL: ${name}`, () => withBroker(url, false, body));
}

async function withBroker(
  url: string,
  isEmbedded: boolean,
  body: (broker: BrokerUnderTest) => Promise<void>,
): Promise<void> {
  const connections: ChannelModel[] = [];
  const names: string[] = [];
  async function open(): Promise<ChannelModel> {
    const connection = await connect(url, { noDelay: true });
    connection.on("error", () => {}); // tests look at the errors they expect; others show as a failed action
    connections.push(connection);
    return connection;
  }
  function unique(prefix: string): string {
    const name = `conformance.${prefix}.${crypto.randomUUID().slice(0, 13)}`;
    names.push(name);
    return name;
  }
  const broker: BrokerUnderTest = {
    url,
    isEmbedded,
    connect: open,
    unique,
    channel: async () => {
      const channel = await (await open()).createConfirmChannel();
      channel.on("error", () => {});
      return channel;
    },
    queue: async (channel, options) => (await channel.assertQueue(unique("queue"), options)).queue,
    exchange: async (channel, type, options) =>
      (await channel.assertExchange(unique("exchange"), type, options)).exchange,
  };
  try {
    await body(broker);
  } finally {
    await Promise.all(connections.map(closeQuietly));
    if (!isEmbedded) await deleteAll(url, names); // the embedded one forgets all by itself
  }
}

async function deleteAll(url: string, names: readonly string[]): Promise<void> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  for (const name of names) {
    await channel.deleteQueue(name);
    await channel.deleteExchange(name);
  }
  await connection.close();
}

async function closeQuietly(connection: ChannelModel): Promise<void> {
  try {
    await connection.close();
  } catch {
    // closed already, by the test or by the server
  }
}

/** Resolves once `condition` holds; fails after ten seconds, saying what was waited for. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  while (!(await condition())) {
    assert(Date.now() < deadline, `Waited ${WAIT_MS} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The reason the server closes the channel with, after `action`, whose own failure does not matter. */
export async function channelClosed(channel: Channel, action: () => unknown): Promise<CloseReason> {
  return await closed(channel, action);
}

/** The reason the server closes the connection with, after `action`, whose own failure does not matter. */
export async function connectionClosed(
  connection: ChannelModel,
  action: () => unknown,
): Promise<CloseReason> {
  return await closed(connection, action);
}

async function closed(emitter: Channel | ChannelModel, action: () => unknown): Promise<CloseReason> {
  let reason: CloseReason | undefined;
  emitter.once("error", (error: Error & { code?: number }) => {
    reason = { code: error.code ?? 0, message: error.message };
  });
  try {
    await action();
  } catch {
    // told through the event
  }
  await until("the server to close", () => reason !== undefined);
  assert(reason);
  return reason;
}

/** Messages as they come to a consumer; `null` for a cancellation by the server. */
export type Inbox = { readonly tag: string; readonly messages: ConsumeMessage[]; cancelled: boolean };

/** Consumes into an array. */
export async function consumeInto(
  channel: Channel,
  queue: string,
  options?: Options.Consume,
): Promise<Inbox> {
  const messages: ConsumeMessage[] = [];
  const state = { cancelled: false };
  const { consumerTag } = await channel.consume(queue, (message) => {
    if (message) messages.push(message);
    else state.cancelled = true;
  }, options);
  return {
    tag: consumerTag,
    messages,
    get cancelled() {
      return state.cancelled;
    },
  };
}

/** Sends texts to a queue, one message each, and waits for the confirms. */
export async function send(channel: ConfirmChannel, queue: string, texts: Iterable<string>): Promise<void> {
  for (const text of texts) channel.sendToQueue(queue, Buffer.from(text));
  await channel.waitForConfirms();
}

/** Fetches what is in a queue, acknowledging it. */
export async function fetchAll(channel: Channel, queue: string): Promise<ConsumeMessage[]> {
  const messages: ConsumeMessage[] = [];
  for (;;) {
    const message = await channel.get(queue, { noAck: true });
    if (!message) return messages;
    messages.push({ ...message, fields: { ...message.fields, consumerTag: "" } });
  }
}

/** The bodies as text, one after the other. */
export function bodies(messages: readonly { content: Uint8Array }[]): string[] {
  return messages.map((message) => new TextDecoder().decode(message.content));
}
