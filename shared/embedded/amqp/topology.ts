import { AmqpError } from "./amqp_error.ts";
import type { Broker } from "./broker.ts";
import {
  bind,
  createExchange,
  type Destination,
  type Exchange,
  type ExchangeType,
  unbind,
} from "./exchange.ts";
import type { MethodArguments } from "./method_codec.ts";
import { createQueue, endQueue, type Queue } from "./queue.ts";
import { checkEquivalentArguments, parseQueueArguments } from "./queue_arguments.ts";

/** What a queue is declared with on the wire. */
export type QueueDeclare = MethodArguments<"queue.declare">;

/** What an exchange is declared with on the wire. */
export type ExchangeDeclare = MethodArguments<"exchange.declare">;

/**
 * The queue of this name, as `session` (the connection) may use it.
 *
 * Throws {@linkcode AmqpError} 404 when it is missing, and 405 when it is exclusive to another connection.
 */
export function findQueue(broker: Broker, name: string, session: object): Queue {
  const queue = broker.queues.get(name);
  if (!queue) throw new AmqpError(404, `no queue '${name}' in vhost '/'`);
  if (queue.owner && queue.owner !== session) throw locked(name);
  return queue;
}

/** The exchange of this name. Throws {@linkcode AmqpError} 404 when it is missing, 403 for the default one. */
export function findExchange(broker: Broker, name: string): Exchange {
  refuseDefaultExchange(name);
  const exchange = broker.exchanges.get(name);
  if (!exchange) throw new AmqpError(404, `no exchange '${name}' in vhost '/'`);
  return exchange;
}

/** Makes the queue, or finds it as it was made. Throws {@linkcode AmqpError} 403, 404, 405, 406 or 540. */
export function declareQueue(broker: Broker, declare: QueueDeclare, session: object): Queue {
  const name = declare.queue || `amq.gen-${randomName()}`;
  if (declare.passive) return used(findQueue(broker, name, session), broker);
  const args = parseQueueArguments(name, declare.arguments);
  const existing = broker.queues.get(name);
  if (existing) {
    checkEquivalentQueue(existing, declare, session);
    checkEquivalentArguments(name, existing.args, args);
    return used(existing, broker);
  }
  if (declare.queue.startsWith("amq.")) {
    throw new AmqpError(403, `queue name '${name}' contains reserved prefix 'amq.*'`);
  }
  if (args.type === "quorum") checkQuorumQueue(name, declare);
  if (broker.queues.size >= broker.limits.queues) {
    throw limitReached(`cannot declare queue '${name}': queue limit`, broker.limits.queues);
  }
  const { durable, autoDelete, exclusive } = declare;
  const queue = createQueue(
    { name, durable, autoDelete, args, owner: exclusive ? session : undefined },
    broker.host,
  );
  broker.queues.set(name, queue);
  broker.topologyVersion++;
  return queue;
}

/** Deletes a queue with its bindings; answers with how many ready messages went with it. */
export function deleteQueue(broker: Broker, queue: Queue): number {
  if (queue.deleted) return 0;
  broker.queues.delete(queue.name);
  removeBindingsTo(broker, queue);
  return endQueue(queue);
}

/** Makes the exchange, or finds it as it was made. Throws {@linkcode AmqpError} 403, 404, 406, 503 or 540. */
export function declareExchange(broker: Broker, declare: ExchangeDeclare): void {
  const { exchange: name, durable, autoDelete, internal } = declare;
  if (declare.passive) return void findExchange(broker, name);
  refuseDefaultExchange(name);
  const type = exchangeType(declare.type);
  const existing = broker.exchanges.get(name);
  if (existing) return checkEquivalentExchange(existing, declare);
  if (name.startsWith("amq.")) {
    throw new AmqpError(403, `exchange name '${name}' contains reserved prefix 'amq.*'`);
  }
  if (declare.arguments.some(([argument]) => argument === "alternate-exchange")) {
    throw new AmqpError(540, "alternate exchanges are not served by the embedded broker");
  }
  if (broker.exchanges.size >= broker.limits.exchanges) {
    throw limitReached(`cannot declare exchange '${name}': exchange limit`, broker.limits.exchanges);
  }
  broker.exchanges.set(name, createExchange({ name, type, durable, autoDelete, internal }));
  broker.topologyVersion++;
}

/** Deletes an exchange with its bindings; a missing one is no error. Throws {@linkcode AmqpError} 403 or 406. */
export function deleteExchange(broker: Broker, name: string, ifUnused: boolean): void {
  refuseDefaultExchange(name);
  if (name.startsWith("amq.")) {
    throw new AmqpError(403, `deletion of system exchange '${name}' in vhost '/' not allowed`);
  }
  const exchange = broker.exchanges.get(name);
  if (!exchange) return;
  if (ifUnused && exchange.bindings.size > 0) {
    throw new AmqpError(406, `exchange '${name}' in vhost '/' in use`);
  }
  removeExchange(broker, exchange);
}

/** Binds. Throws {@linkcode AmqpError} 406 at the limit of bindings. */
export function addBinding(broker: Broker, source: Exchange, key: string, destination: Destination): void {
  if (broker.bindingCount >= broker.limits.bindings) {
    throw limitReached(`cannot bind to exchange '${source.name}': binding limit`, broker.limits.bindings);
  }
  if (!bind(source, key, destination)) return;
  broker.bindingCount++;
  broker.topologyVersion++;
}

/** Unbinds; an auto-delete exchange goes with its last binding. */
export function removeBinding(broker: Broker, source: Exchange, key: string, destination: Destination): void {
  if (!unbind(source, key, destination)) return;
  broker.bindingCount--;
  broker.topologyVersion++;
  if (source.autoDelete && source.bindings.size === 0) removeExchange(broker, source);
}

/** Throws {@linkcode AmqpError} 403 for the default exchange, whose bindings are fixed. */
export function refuseDefaultExchange(name: string): void {
  if (name === "") throw new AmqpError(403, "operation not permitted on the default exchange");
}

/** 128 random bits as RabbitMQ writes them into made-up names. */
export function randomName(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}

function removeExchange(broker: Broker, exchange: Exchange): void {
  if (!broker.exchanges.delete(exchange.name)) return;
  for (const destinations of exchange.bindings.values()) broker.bindingCount -= destinations.size;
  exchange.bindings.clear();
  removeBindingsTo(broker, exchange);
}

/** Deleting is rare: a walk over all bindings saves an index of them by destination. */
function removeBindingsTo(broker: Broker, destination: Destination): void {
  broker.topologyVersion++;
  for (const exchange of [...broker.exchanges.values()]) {
    for (const [key, destinations] of [...exchange.bindings]) {
      if (destinations.has(destination)) removeBinding(broker, exchange, key, destination);
    }
  }
}

function exchangeType(type: string): ExchangeType {
  if (type === "direct" || type === "fanout" || type === "topic") return type;
  if (type === "headers") throw new AmqpError(540, "headers exchanges are not served by the embedded broker");
  throw new AmqpError(503, `unknown exchange type '${type}'`);
}

/** Declaring a queue, passively too, counts as use: `x-expires` begins anew. */
function used(queue: Queue, broker: Broker): Queue {
  queue.lastUsed = broker.host.now();
  return queue;
}

function checkEquivalentQueue(queue: Queue, declare: QueueDeclare, session: object): void {
  const isOwn = queue.owner === (declare.exclusive ? session : undefined);
  if (!isOwn) throw locked(queue.name);
  const what = `queue '${queue.name}'`;
  checkEquivalent(what, "durable", queue.durable, declare.durable);
  checkEquivalent(what, "auto_delete", queue.autoDelete, declare.autoDelete);
}

function checkEquivalentExchange(exchange: Exchange, declare: ExchangeDeclare): void {
  const what = `exchange '${exchange.name}'`;
  checkEquivalent(what, "type", exchange.type, declare.type);
  checkEquivalent(what, "durable", exchange.durable, declare.durable);
  checkEquivalent(what, "auto_delete", exchange.autoDelete, declare.autoDelete);
  checkEquivalent(what, "internal", exchange.internal, declare.internal);
}

function checkEquivalent<T extends string | boolean>(
  what: string,
  name: string,
  current: T,
  received: T,
): void {
  if (current === received) return;
  throw new AmqpError(
    406,
    `inequivalent arg '${name}' for ${what} in vhost '/': received '${received}' but current is '${current}'`,
  );
}

function checkQuorumQueue(name: string, declare: QueueDeclare): void {
  if (declare.queue === "") {
    throw new AmqpError(406, "Cannot declare a server-named queue for type rabbit_quorum_queue");
  }
  const invalid = !declare.durable
    ? "non-durable"
    : declare.exclusive
    ? "exclusive-owner"
    : declare.autoDelete
    ? "auto-delete"
    : undefined;
  if (invalid) throw new AmqpError(406, `invalid property '${invalid}' for queue '${name}' in vhost '/'`);
}

function locked(name: string): AmqpError {
  return new AmqpError(
    405,
    `cannot obtain exclusive access to locked queue '${name}' in vhost '/'. It could be originally declared on ` +
      "another connection or the exclusive property value does not match that of the original declaration.",
  );
}

function limitReached(what: string, limit: number): AmqpError {
  return new AmqpError(406, `${what} in vhost '/' (${limit}) is reached`);
}
