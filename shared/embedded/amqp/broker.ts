import { AmqpError } from "./bytes.ts";
import { bind, createExchange, type Exchange, type ExchangeType, route, unbind } from "./exchange.ts";
import { type MemoryGauge, release } from "./memory.ts";
import { deadLetter, type DeathReason, isAutomaticCycle, type Message } from "./message.ts";
import type { MethodArguments } from "./methods.ts";
import { createQueue, endQueue, enqueue, type Queue, type QueueEntry } from "./queue.ts";
import { checkEquivalentArguments, parseQueueArguments } from "./queue_arguments.ts";

/** How many of each a broker holds at most; beyond, the client gets a 406, or a 530 for consumers. */
export type BrokerLimits = {
  readonly queues: number;
  readonly exchanges: number;
  readonly bindings: number;
  readonly consumersPerChannel: number;
  /** Bytes of one message's body. */
  readonly messageBytes: number;
};

/** Everything that clients share: exchanges, queues, and the memory that messages take. */
export type Broker = {
  readonly exchanges: Map<string, Exchange>;
  readonly queues: Map<string, Queue>;
  readonly memory: MemoryGauge;
  readonly limits: BrokerLimits;
  bindingCount: number;
  /** Entries that queues gave up, while they are dead-lettered one after the other. */
  readonly dead: { readonly queue: Queue; readonly entry: QueueEntry; readonly reason: DeathReason }[];
};

/** A broker with the predeclared exchanges and nothing else. */
export function createBroker(memory: MemoryGauge, limits: BrokerLimits): Broker {
  const predeclared = (["direct", "fanout", "topic"] as const).map((type) => {
    const name = `amq.${type}`;
    return [name, createExchange({ name, type, durable: true, autoDelete: false, internal: false })] as const;
  });
  return { exchanges: new Map(predeclared), queues: new Map(), memory, limits, bindingCount: 0, dead: [] };
}

/**
 * Routes a client's message into every queue that it reaches. "refused" when one of them refused it.
 *
 * Errors: `AmqpError` 404 when its exchange is missing, 403 when that is internal.
 */
export function publish(broker: Broker, message: Message): "enqueued" | "unroutable" | "refused" {
  if (broker.exchanges.get(message.exchange)?.internal) {
    throw new AmqpError(403, `cannot publish to internal exchange '${message.exchange}' in vhost '/'`);
  }
  const queues = routed(broker, message);
  if (queues.length === 0) return "unroutable";
  let outcome: "enqueued" | "refused" = "enqueued";
  for (const queue of queues) {
    if (!enqueue(queue, message)) outcome = "refused";
  }
  return outcome;
}

function routed(broker: Broker, { exchange: name, routingKey }: Message): readonly Queue[] {
  if (name !== "") return route(findExchange(broker, name), routingKey);
  const queue = broker.queues.get(routingKey);
  return queue ? [queue] : [];
}

/** One dead letter may push out another: a loop, not a recursion as long as the chain. */
function giveUp(broker: Broker, queue: Queue, entry: QueueEntry, reason: DeathReason): void {
  const { dead } = broker;
  dead.push({ queue, entry, reason });
  if (dead.length > 1) return;
  for (let next = dead[0]; next; next = dead[0]) {
    bury(broker, next.queue, next.entry, next.reason);
    dead.shift();
  }
}

/** Publishes a dead entry to its queue's dead-letter exchange, if there is one, and releases it. */
function bury(broker: Broker, queue: Queue, { message }: QueueEntry, reason: DeathReason): void {
  const { deadLetterExchange: exchange, deadLetterRoutingKey: routingKey = message.routingKey } = queue.args;
  if (exchange !== undefined && (exchange === "" || broker.exchanges.has(exchange))) {
    const letter = deadLetter(message, { queue: queue.name, reason, exchange, routingKey });
    for (const target of routed(broker, letter)) {
      if (!isAutomaticCycle(letter.deaths, target.name)) enqueue(target, letter);
    }
  }
  release(broker.memory, message);
}

/**
 * The queue of this name, as `session` (the connection) may use it.
 *
 * Errors: `AmqpError` 404 when it is missing, 405 when it is exclusive to another connection.
 */
export function findQueue(broker: Broker, name: string, session: object): Queue {
  const queue = broker.queues.get(name);
  if (!queue) throw new AmqpError(404, `no queue '${name}' in vhost '/'`);
  if (queue.owner && queue.owner !== session) throw locked(name);
  return queue;
}

/** The exchange of this name. Errors: `AmqpError` 404 when it is missing, 403 for the default one. */
export function findExchange(broker: Broker, name: string): Exchange {
  refuseDefaultExchange(name);
  const exchange = broker.exchanges.get(name);
  if (!exchange) throw new AmqpError(404, `no exchange '${name}' in vhost '/'`);
  return exchange;
}

/** Makes the queue, or finds it as it was made. Errors: `AmqpError` 403, 404, 405, 406 or 540. */
export function declareQueue(
  broker: Broker,
  declare: MethodArguments<"queue.declare">,
  session: object,
): Queue {
  const { durable, autoDelete, exclusive } = declare;
  const name = declare.queue || `amq.gen-${randomName()}`;
  if (declare.passive) return findQueue(broker, name, session);
  const args = parseQueueArguments(name, declare.arguments);
  const owner = exclusive ? session : undefined;
  const existing = broker.queues.get(name);
  if (existing) {
    if (existing.owner !== owner) throw locked(name);
    checkEquivalent(
      `queue '${name}'`,
      ["durable", existing.durable, durable],
      ["auto_delete", existing.autoDelete, autoDelete],
    );
    checkEquivalentArguments(name, existing.args.declared, args.declared);
    return existing;
  }
  refuseReservedName("queue", declare.queue);
  if (args.type === "quorum") checkQuorumQueue(declare);
  checkLimit(broker.queues.size, broker.limits.queues, `declare queue '${name}': queue limit`);
  const queue = createQueue({
    name,
    durable,
    autoDelete,
    owner,
    args,
    memory: broker.memory,
    onDead: (queue, entry, reason) => giveUp(broker, queue, entry, reason),
  });
  broker.queues.set(name, queue);
  return queue;
}

/** Deletes a queue with its bindings; answers with how many ready messages went with it. */
export function deleteQueue(broker: Broker, queue: Queue): number {
  if (queue.deleted) return 0;
  broker.queues.delete(queue.name);
  // Deleting is rare: a walk over all bindings saves an index of them by queue.
  for (const exchange of [...broker.exchanges.values()]) {
    for (const key of [...exchange.bindings.keys()]) removeBinding(broker, exchange, key, queue);
  }
  return endQueue(queue);
}

/** Makes the exchange, or finds it as it was made. Errors: `AmqpError` 403, 404, 406 or 540. */
export function declareExchange(broker: Broker, declare: MethodArguments<"exchange.declare">): void {
  const { exchange: name, durable, autoDelete, internal } = declare;
  if (declare.passive) return void findExchange(broker, name);
  refuseDefaultExchange(name);
  const type = exchangeType(declare.type);
  const existing = broker.exchanges.get(name);
  if (existing) {
    return checkEquivalent(
      `exchange '${name}'`,
      ["type", existing.type, type],
      ["durable", existing.durable, durable],
      ["auto_delete", existing.autoDelete, autoDelete],
      ["internal", existing.internal, internal],
    );
  }
  refuseReservedName("exchange", name);
  if (declare.arguments.has("alternate-exchange")) {
    throw new AmqpError(540, "alternate exchanges are not served by the embedded broker");
  }
  checkLimit(broker.exchanges.size, broker.limits.exchanges, `declare exchange '${name}': exchange limit`);
  broker.exchanges.set(name, createExchange({ name, type, durable, autoDelete, internal }));
}

/** Deletes an exchange with its bindings; a missing one is no error. Errors: `AmqpError` 403 or 406. */
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
  broker.exchanges.delete(name);
  for (const queues of exchange.bindings.values()) broker.bindingCount -= queues.size;
}

/** Binds a queue. Errors: `AmqpError` 404 without the exchange, 403 for the default one, 406 at the limit. */
export function addBinding(broker: Broker, exchangeName: string, key: string, queue: Queue): void {
  const exchange = findExchange(broker, exchangeName);
  checkLimit(
    broker.bindingCount,
    broker.limits.bindings,
    `bind to exchange '${exchangeName}': binding limit`,
  );
  if (bind(exchange, key, queue)) broker.bindingCount++;
}

/** Unbinds; an auto-delete exchange goes with its last binding. */
export function removeBinding(broker: Broker, exchange: Exchange, key: string, queue: Queue): void {
  if (!unbind(exchange, key, queue)) return;
  broker.bindingCount--;
  if (exchange.autoDelete && exchange.bindings.size === 0) broker.exchanges.delete(exchange.name);
}

/** Errors: `AmqpError` 403 for the default exchange, whose bindings are fixed. */
export function refuseDefaultExchange(name: string): void {
  if (name === "") throw new AmqpError(403, "operation not permitted on the default exchange");
}

/** 128 random bits as RabbitMQ writes them into made-up names. */
export function randomName(): string {
  return crypto.getRandomValues(new Uint8Array(16)).toBase64({ alphabet: "base64url", omitPadding: true });
}

function exchangeType(type: string): ExchangeType {
  if (type === "direct" || type === "fanout" || type === "topic") return type;
  if (type === "headers") throw new AmqpError(540, "headers exchanges are not served by the embedded broker");
  throw new AmqpError(406, `unknown exchange type '${type}'`);
}

function refuseReservedName(kind: string, name: string): void {
  if (name.startsWith("amq.")) {
    throw new AmqpError(403, `${kind} name '${name}' contains reserved prefix 'amq.*'`);
  }
}

function checkLimit(count: number, limit: number, what: string): void {
  if (count >= limit) throw new AmqpError(406, `cannot ${what} in vhost '/' (${limit}) is reached`);
}

function checkEquivalent(what: string, ...properties: [name: string, was: unknown, is: unknown][]): void {
  for (const [name, was, is] of properties) {
    if (was === is) continue;
    const why = `received '${is}' but current is '${was}'`;
    throw new AmqpError(406, `inequivalent arg '${name}' for ${what} in vhost '/': ${why}`);
  }
}

function checkQuorumQueue({ queue, durable, exclusive, autoDelete }: MethodArguments<"queue.declare">): void {
  if (queue === "") {
    throw new AmqpError(406, "Cannot declare a server-named queue for type rabbit_quorum_queue");
  }
  const invalid = { "non-durable": !durable, "exclusive-owner": exclusive, "auto-delete": autoDelete };
  const [name] = Object.entries(invalid).find(([, isSo]) => isSo) ?? [];
  if (name) throw new AmqpError(406, `invalid property '${name}' for queue '${queue}' in vhost '/'`);
}

function locked(name: string): AmqpError {
  return new AmqpError(
    405,
    `cannot obtain exclusive access to locked queue '${name}' in vhost '/'. It could be originally declared on ` +
      "another connection or the exclusive property value does not match that of the original declaration.",
  );
}
