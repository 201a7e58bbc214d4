import { AmqpError } from "./amqp_error.ts";
import { deadLetterMessage, isAutomaticCycle } from "./dead_letter.ts";
import { createExchange, type Exchange, route } from "./exchange.ts";
import type { MemoryGauge } from "./memory_gauge.ts";
import { type Message, release, retain } from "./message.ts";
import { type DeathReason, enqueue, type Queue, type QueueEntry, type QueueHost } from "./queue.ts";
import { deleteQueue } from "./topology.ts";

/** How many of each a broker holds at most; beyond, the client gets a 406, or a 530 for consumers. */
export type BrokerLimits = {
  readonly queues: number;
  readonly exchanges: number;
  readonly bindings: number;
  readonly consumersPerChannel: number;
  /** Bytes of one message's body. */
  readonly messageBytes: number;
};

/** Everything that clients share: exchanges, queues, and the memory their messages take. */
export type Broker = {
  readonly exchanges: Map<string, Exchange>;
  readonly queues: Map<string, Queue>;
  readonly memory: MemoryGauge;
  readonly limits: BrokerLimits;
  readonly host: QueueHost;
  /** Grows with every change of bindings, queues or exchanges, which ends the validity of cached routes. */
  topologyVersion: number;
  bindingCount: number;
};

/** What became of a published message. */
export type PublishOutcome = "enqueued" | "unroutable" | "refused";

type DeadEntry = { readonly queue: Queue; readonly entry: QueueEntry; readonly reason: DeathReason };

/** A broker with the predeclared exchanges and nothing else. */
export function createBroker(memory: MemoryGauge, limits: BrokerLimits): Broker {
  const dead: DeadEntry[] = [];
  let burying = false;
  const host: QueueHost = {
    now: () => performance.now(),
    retain: (message) => retain(message, memory),
    release: (message) => release(message, memory),
    expireQueue: (queue) => void deleteQueue(broker, queue),
    deadLetter(queue, entry, reason) {
      dead.push({ queue, entry, reason });
      if (burying) return; // one dead letter may push out another: a loop, not a recursion as long as the chain
      burying = true;
      for (let next = dead.shift(); next; next = dead.shift()) bury(broker, next);
      burying = false;
    },
  };
  const broker: Broker = {
    exchanges: new Map(),
    queues: new Map(),
    memory,
    limits,
    host,
    topologyVersion: 0,
    bindingCount: 0,
  };
  for (const type of ["direct", "fanout", "topic"] as const) {
    const name = `amq.${type}`;
    broker.exchanges.set(
      name,
      createExchange({ name, type, durable: true, autoDelete: false, internal: false }),
    );
  }
  return broker;
}

/**
 * Routes a message and puts it into every queue it reaches.
 *
 * Throws {@linkcode AmqpError} 404 when its exchange is missing, and 403 when that is internal.
 */
export function publish(broker: Broker, message: Message): PublishOutcome {
  const queues = routed(broker, message, true);
  if (queues.length === 0) return "unroutable";
  let refused = false;
  for (const queue of queues) {
    if (!enqueue(queue, message)) refused = true;
  }
  return refused ? "refused" : "enqueued";
}

function routed(broker: Broker, message: Message, fromClient: boolean): readonly Queue[] {
  if (message.exchange === "") {
    const queue = broker.queues.get(message.routingKey);
    return queue ? [queue] : [];
  }
  const exchange = broker.exchanges.get(message.exchange);
  if (!exchange) throw new AmqpError(404, `no exchange '${message.exchange}' in vhost '/'`);
  if (exchange.internal && fromClient) {
    throw new AmqpError(403, `cannot publish to internal exchange '${message.exchange}' in vhost '/'`);
  }
  return route(exchange, message.routingKey, broker.topologyVersion);
}

/** Publishes a dead entry to its queue's dead-letter exchange, if there is one, and releases it. */
function bury(broker: Broker, { queue, entry, reason }: DeadEntry): void {
  const { deadLetterExchange: exchange, deadLetterRoutingKey } = queue.args;
  const { message } = entry;
  if (exchange !== undefined && (exchange === "" || broker.exchanges.has(exchange))) {
    const death = { queue: queue.name, reason, at: Math.floor(Date.now() / 1000) };
    const letter = deadLetterMessage(message, death, exchange, deadLetterRoutingKey ?? message.routingKey);
    for (const target of routed(broker, letter.message, false)) {
      if (!isAutomaticCycle(letter.deaths, target.name)) enqueue(target, letter.message);
    }
  }
  release(message, broker.memory);
}
