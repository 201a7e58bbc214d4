/**
 * The processes that make up OrderFlow, as data: what `deno task dev` starts.
 *
 * @module
 */
import { QUEUE_KEYS, type QueueKey } from "../../shared/broker/topology.ts";

/** One process. */
export interface ProcessSpec {
  /** Shown in front of its lines. */
  readonly name: string;
  /** Its script, from the project's root. */
  readonly entry: string;
  /** Its permission set in deno.json. */
  readonly permissions: string;
}

/** A process that consumes a queue. */
export interface ConsumerSpec extends ProcessSpec {
  /** The queue's key in the topology. */
  readonly queue: QueueKey;
}

/** The HTTP API. */
export const API: ProcessSpec = { name: "api", entry: "api/main.ts", permissions: "api" };

/** The outbox relay. */
export const RELAY: ProcessSpec = {
  name: "outbox-relay",
  entry: "workers/outbox_relay.ts",
  permissions: "relay",
};

/**
 * The consumers, one for each queue, under the queue's name. They share one permission set, because they need the very
 * same; payments has its own, because it alone reads the provider's settings and would be the one to reach a provider's
 * host.
 */
export const CONSUMERS: readonly ConsumerSpec[] = QUEUE_KEYS.map((queue) => {
  const words = queue.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).split(" ");
  const permissions = words[0] === "payments" ? "payments" : "consumer";
  return { name: words.join("-"), entry: `workers/${words.join("_")}.ts`, permissions, queue };
});

/** Every process that works behind the API. */
export const WORKERS: readonly ProcessSpec[] = [RELAY, ...CONSUMERS];

/** Every process that runs whatever is embedded. */
export const PROCESSES: readonly ProcessSpec[] = [API, ...WORKERS];

/** The embedded broker; it runs while `AMQP_URL` is unset. */
export const BROKER: ProcessSpec = {
  name: "broker",
  entry: "workers/embedded_broker_main.ts",
  permissions: "broker",
};

/** Where the embedded broker listens on 127.0.0.1: its URL must outlive a restart, so the supervisor picks the port. */
export const BROKER_PORT_VARIABLE = "ORDERFLOW_BROKER_PORT";
