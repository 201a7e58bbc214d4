// The connection to the broker: where it is, how it comes back, what is declared and asked on it.

import { type Channel, type ChannelModel, connect, credentials } from "amqplib";
import { messageOf } from "../process/errors.ts";
import type { Logger } from "../process/log.ts";
import { pause, withTimeout } from "../process/stop.ts";

/** How long the broker may take to answer a close; then the process ends without its answer. */
export const CLOSE_MS = 1000;

/**
 * How long the set-up of a new connection may take; then it is tried on another. A broker that is alive may still leave a
 * question without an answer: RabbitMQ tries for a minute to reach a queue whose process is gone.
 */
const SETUP_MS = 15_000;

/**
 * Seconds between heartbeats: a peer that vanished without a word is noticed after two of them, and up to one more for the
 * one that was under way.
 */
const HEARTBEAT_S = 3;

const CONNECT_MS = 5000;
/** What may wait to be written before the client pauses: two full batches of events, so that each leaves as a whole. */
const WRITE_BYTES = 1 << 20;

/**
 * Connects, and reconnects with backoff (100 ms growing to 1 s, give or take a fifth, so that work resumes soon after the
 * broker is back) until closed. Of several nodes it begins with any one, so that many processes spread over them, and each
 * further try is at the next. Answers at once, whether or not the broker can be reached; the log gets one line per change
 * of state, not one per try.
 */
export function connectBroker({ url, name, log, setup, setupMs = SETUP_MS }: {
  /** Of one node or of several (`brokerUrls`); a `heartbeat` in the query, in seconds, replaces ours. */
  readonly url: string;
  readonly name: string;
  readonly log: Logger;
  /** Run on each new connection before it counts as up: opens channels, declares, consumes. A rejection tries anew. */
  readonly setup: (model: ChannelModel) => Promise<void>;
  readonly setupMs?: number;
}) {
  const urls = brokerUrls(url);
  const closing = new AbortController();
  let current: ChannelModel | null = null;
  let up = false;

  async function setUp(model: ChannelModel): Promise<void> {
    try {
      closing.signal.throwIfAborted();
      const isSetUp = await withTimeout(setupMs, setup(model).then(() => true));
      if (!isSetUp) throw new Error(`Setting up the connection took longer than ${setupMs} ms`);
      closing.signal.throwIfAborted();
    } catch (error) {
      await withTimeout(CLOSE_MS, model.close().catch(() => {}));
      throw error;
    }
  }

  async function keep(): Promise<void> {
    let [isTold, failures] = [false, 0];
    for (let turn = Math.floor(Math.random() * urls.length); !closing.signal.aborted; turn++) {
      try {
        const model = current = await openModel(urls[turn % urls.length] ?? urls[0], name);
        const end = new Promise<Error>((resolve) => {
          model.on("close", (error?: Error) => resolve(error ?? new Error("Connection closed")));
        });
        await setUp(model);
        [up, isTold, failures] = [true, false, 0];
        log.debug("Connected to the broker");
        throw await end;
      } catch (error) {
        up = false;
        if (closing.signal.aborted) return;
        if (!isTold) {
          log.warning("The broker cannot be used; trying again until it can", { error: messageOf(error) });
        }
        isTold = true;
      }
      await pause(Math.min(100 * 2 ** failures++, 1000) * (0.8 + 0.4 * Math.random()), closing.signal);
    }
  }

  const kept = keep();
  return {
    isUp: () => up,
    async close(): Promise<void> {
      up = false;
      closing.abort();
      await withTimeout(CLOSE_MS, Promise.all([current?.close().catch(() => {}), kept])); // it may be closed already
    },
  };
}

async function openModel(text: string, name: string): Promise<ChannelModel> {
  const url = new URL(text);
  if (!url.searchParams.has("heartbeat")) url.searchParams.set("heartbeat", String(HEARTBEAT_S));
  const options = {
    timeout: CONNECT_MS,
    noDelay: true,
    writableHighWaterMark: WRITE_BYTES,
    clientProperties: { connection_name: `orderflow ${name}` },
    // Decoded here: the client takes each byte of what is not ASCII for a letter.
    ...(url.username ? { credentials: credentials.plain(decode(url.username), decode(url.password)) } : {}),
  };
  const model = await connect(url.href, options).catch((error) => {
    const isRefused = messageOf(error).includes("Expected ConnectionOpenOk"); // it says no more
    if (!isRefused) throw error;
    throw new Error(`The broker has no vhost "${decode(url.pathname.slice(1)) || "/"}" for this user`, {
      cause: error,
    });
  });
  model.on("error", () => {}); // always followed by "close"; without a listener it would end the process
  return model;
}

const decode = decodeURIComponent;

/**
 * Ties a channel's end to its connection's: whatever closes it, the way back is the same, a new connection with its
 * set-up. The broker's reason goes to the log; `onClose` is for what is lost with the channel.
 */
export function tieToConnection(
  channel: Channel,
  model: ChannelModel,
  log: Logger,
  onClose: () => void,
): void {
  channel.on("error", (error) => log.error("The broker closed the channel", { error: error.message }));
  channel.on("close", () => {
    onClose();
    model.close().catch(() => {}); // closed already, or closing: either is what is wanted
  });
}

/**
 * The URLs in the text of `AMQP_URL` (https://www.rabbitmq.com/docs/uri-spec), one for each node, in their order. A comma
 * separates only before a scheme: a password may hold one.
 */
export function brokerUrls(text: string): readonly [string, ...string[]] {
  const [first = "", ...others] = text.split(/\s*,\s*(?=amqps?:\/\/)/);
  return [first, ...others];
}

/** Whether a client can connect with each of the URLs in the text of `AMQP_URL`. */
export function areBrokerUrls(text: string): boolean {
  return brokerUrls(text).every((one) => {
    const { protocol = "", hostname = "" } = URL.parse(one) ?? {};
    return /^amqps?:$/.test(protocol) && /^[^,]+$/.test(hostname);
  });
}

/** The broker's topology as data: a topic exchange, and queues that are bound to it by types of event. */
export interface Topology {
  readonly exchange: string;
  readonly queues: Readonly<Record<string, { readonly name: string; readonly bindings: readonly string[] }>>;
}

export const EXCHANGE = { type: "topic", durable: true } as const;

/** A quorum queue survives the loss of a node. */
export const QUEUE_OPTIONS = { durable: true, arguments: { "x-queue-type": "quorum" } } as const;

/**
 * Declares exchange, queues and bindings. Idempotent, and done by everyone who connects, so that a wiped broker is
 * whole again as soon as one process is back.
 *
 * Errors: when the broker holds one of the names with other properties (406 PRECONDITION_FAILED).
 */
export async function declareTopology(channel: Channel, topology: Topology): Promise<void> {
  await channel.assertExchange(topology.exchange, EXCHANGE.type, { durable: EXCHANGE.durable });
  for (const { name, bindings } of Object.values(topology.queues)) {
    await channel.assertQueue(name, QUEUE_OPTIONS);
    for (const type of bindings) await channel.bindQueue(name, topology.exchange, type);
  }
}

/**
 * As {@linkcode declareTopology}, over channels of its own; a user who may not declare finds what others have declared.
 *
 * Errors: as those, and when something is missing that the user may not make (404).
 */
export async function ensureTopology(model: Pick<ChannelModel, "createChannel">, topology: Topology) {
  const on = async (work: (channel: Channel) => Promise<unknown>) => {
    const channel = await model.createChannel();
    channel.on("error", () => {}); // told to whoever waits for the answer
    await work(channel);
    await channel.close();
  };
  try {
    await on((channel) => declareTopology(channel, topology));
  } catch (error) {
    const isRefused = error instanceof Error && "code" in error && error.code === 403;
    if (!isRefused) throw error;
    await on(async (channel) => {
      await channel.checkExchange(topology.exchange);
      for (const { name } of Object.values(topology.queues)) await channel.checkQueue(name);
    });
  }
}

/** Between two renewals: a broker that refuses for a reason of its own is not connected to in a loop. */
const RENEW_EVERY_MS = 2000;

/**
 * Wraps `renew`, so that it runs at most once in `everyMs` milliseconds; calls in between do nothing.
 *
 * It is for a nack of a quorum queue. A channel of RabbitMQ remembers which node led a queue when it was opened. Opened
 * while that node is dead and no other has been elected yet, it may go on to nack all that is for that queue until the
 * node is back (seen with 3.10), although everybody else can publish. Another channel asks anew.
 */
export function renewsAtMost(renew: () => void, everyMs = RENEW_EVERY_MS): () => void {
  let lastAt = -Infinity;
  return () => {
    if (performance.now() - lastAt < everyMs) return;
    lastAt = performance.now();
    renew();
  };
}

const ANSWER_MS = 5000;

export interface QueueDepth {
  readonly queue: string;
  /** Without those under way to a consumer. */
  readonly messages: number;
  readonly consumers: number;
}

/**
 * Asks for every queue of the topology, by declaring it passively: the one question that AMQP itself answers.
 *
 * Errors: when a queue is missing (the broker closes the channel then), when the channel is gone, or after 5 s without an
 * answer for each; the channel is of no use then.
 */
export async function readQueueDepths(channel: Channel, topology: Topology): Promise<QueueDepth[]> {
  const answers = Object.values(topology.queues).map(async ({ name }) => {
    const { messageCount, consumerCount } = await channel.checkQueue(name);
    return { queue: name, messages: messageCount, consumers: consumerCount };
  });
  const depths = await withTimeout(ANSWER_MS, Promise.all(answers));
  if (depths) return depths;
  throw new Error(`The broker did not say within ${ANSWER_MS / 1000} s how its queues stand`);
}

/** Who is to get which type of event; a consumer has its queue's name. */
export interface Binding {
  readonly consumer: string;
  readonly type: string;
}

/** Every binding of a topology. */
export function bindingsOf({ queues }: Topology): Binding[] {
  return Object.values(queues).flatMap(({ name, bindings }) =>
    bindings.map((type) => ({ consumer: name, type }))
  );
}
