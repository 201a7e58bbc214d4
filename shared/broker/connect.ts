/**
 * The connection to the broker.
 *
 * @module
 */
import type * as amqp from "amqplib";
import { connect } from "amqplib";
import type { Logger } from "../log.ts";
import { orFailAfter, within } from "../stop.ts";

/** An open connection as the client has it: what channels are opened on. */
export type ChannelModel = amqp.ChannelModel;

/** A channel of the client. */
export type Channel = amqp.Channel;

/** A channel on which the broker confirms what is published. */
export type ConfirmChannel = amqp.ConfirmChannel;

/** A delivered message as the client has it. */
export type ConsumeMessage = amqp.ConsumeMessage;

/** How a connection is kept. */
export interface BrokerOptions {
  /** Where the broker is, as an AMQP URL; a `heartbeat` in its query, in seconds, holds instead of ours. */
  readonly url: string;
  /** Shown in the broker's list of connections. */
  readonly name: string;
  /** Gets one warning per outage, and a debug line when the connection is up. */
  readonly log: Logger;
  /** Run on each new connection before it counts as up: opens channels, declares, consumes. A rejection tries anew. */
  readonly setup: (model: ChannelModel) => Promise<void>;
  /** How long that may take, in milliseconds; 15 s unless told. */
  readonly setupMs?: number;
}

/** A connection that comes back by itself. */
export interface BrokerConnection {
  /** Whether the connection is up and set up. */
  isUp(): boolean;
  /** Resolves when the connection is up for the first time. */
  whenUp(): Promise<void>;
  /** Closes it for good. */
  close(): Promise<void>;
}

/** How long the broker may take to answer a close, in milliseconds; then the process ends without its answer. */
export const CLOSE_MS = 1000;

/**
 * How long the set-up of a new connection may take, in milliseconds; then it is tried on another. A broker that is alive
 * may still leave a question without an answer: RabbitMQ tries for a minute to reach a queue whose process is gone.
 */
const SETUP_MS = 15_000;

/** Seconds between heartbeats: a peer that vanished without a word is noticed after two. */
const HEARTBEAT_S = 10;

/**
 * Connects, and reconnects with backoff (100 ms growing to 1 s, so that work resumes soon after the broker is back)
 * until closed. Answers at once; the log gets one line per change of state, not one per try.
 */
export async function connectBroker(options: BrokerOptions): Promise<BrokerConnection> {
  const { log, name, setupMs = SETUP_MS } = options;
  let up = false;
  let told = false;
  const recovering = await connect(withHeartbeat(options.url), {
    timeout: 5000,
    noDelay: true,
    clientProperties: { connection_name: `orderflow ${name}` },
    recovery: {
      initialDelay: 100,
      maxDelay: 1000,
      waitForConnect: false,
      setup: async (model: ChannelModel) => {
        // Until set-up is through nobody else listens, and an event "error" without a listener would end the process.
        model.on("error", () => {});
        const late = `Setting up the connection took longer than ${setupMs} ms`;
        await orFailAfter(setupMs, late, options.setup(model));
      },
    },
  });
  recovering.on("connect", () => {
    up = true;
    told = false;
    log.debug("Connected to the broker");
  });
  const down = (error: Error) => {
    up = false;
    if (told) return;
    told = true;
    log.warning("The broker cannot be used; trying again until it can", { error: error.message });
  };
  recovering.on("disconnect", down);
  recovering.on("connect-failed", down);
  recovering.on("error", () => {}); // always followed by "disconnect"
  return {
    isUp: () => up,
    whenUp: async () => void await recovering.waitForConnect(),
    async close() {
      up = false;
      await within(CLOSE_MS, recovering.close());
    },
  };
}

function withHeartbeat(text: string): string {
  const url = new URL(text);
  if (!url.searchParams.has("heartbeat")) url.searchParams.set("heartbeat", String(HEARTBEAT_S));
  return url.href;
}

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
