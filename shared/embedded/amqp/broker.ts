// Everything that clients share: exchanges with their bindings, queues, and how messages get from one to the other.

import { AmqpError, type Field, type FieldTable, notServed } from "./bytes.ts";
import { deadLetter, type DeathReason, isAutomaticCycle, type MemoryGauge, type Message } from "./message.ts";
import type { MethodArguments } from "./frames.ts";
import { createQueue, endQueue, enqueue, type Queue, type QueueEntry, settle } from "./queue.ts";

/** How many of each a broker holds at most; beyond, the client gets a 406, or a 530 for consumers. */
export const LIMITS = { queues: 10_000, exchanges: 1_000, bindings: 10_000, consumersPerChannel: 1_000 };

/** More routing keys than this are worked out anew: the cache must not grow with what publishers make up. */
const MAX_CACHED_ROUTES = 4096;

const EXCHANGE_TYPES = ["direct", "fanout", "topic"] as const;

export type Broker = ReturnType<typeof createBroker>;
type Exchange = ReturnType<typeof createExchange>;

export function createBroker(memory: MemoryGauge) {
  const predeclared = EXCHANGE_TYPES.map((type) => {
    return [`amq.${type}`, createExchange(type, { durable: true, autoDelete: false })] as const;
  });
  const dead: (() => void)[] = [];
  const broker = {
    exchanges: new Map<string, Exchange>(predeclared),
    queues: new Map<string, Queue>(),
    memory,
    bindingCount: 0,
    /** One dead letter may push out another: a loop, not a recursion as long as the chain. */
    onDead(entry: QueueEntry, reason: DeathReason): void {
      dead.push(() => bury(broker, entry, reason));
      if (dead.length > 1) return;
      for (; dead[0]; dead.shift()) dead[0]();
    },
  };
  return broker;
}

function createExchange(
  type: typeof EXCHANGE_TYPES[number],
  { durable, autoDelete }: { durable: boolean; autoDelete: boolean },
) {
  return {
    type,
    autoDelete,
    /** What a second declaration is compared by. */
    declared: new Map<string, Field>(Object.entries({ type, durable, auto_delete: autoDelete })),
    /** The queues that are bound, by binding key. */
    bindings: new Map<string, Set<Queue>>(),
    /** Queues by routing key, as worked out since the last change of bindings. */
    routes: new Map<string, readonly Queue[]>(),
  };
}

/** Routes a client's message into every queue that it reaches. Errors: `AmqpError` 404 when its exchange is missing. */
export function publish(broker: Broker, message: Message): { isRouted: boolean; isRefused: boolean } {
  const queues = routed(broker, message);
  const refusing = queues.filter((queue) => !enqueue(queue, message));
  return { isRouted: queues.length > 0, isRefused: refusing.length > 0 };
}

/** The queues that a message reaches, each once. */
function routed(broker: Broker, { exchange: name, routingKey }: Message): readonly Queue[] {
  if (name === "") {
    const queue = broker.queues.get(routingKey);
    return queue ? [queue] : [];
  }
  const { type, bindings, routes } = findExchange(broker, name);
  const cached = routes.get(routingKey);
  if (cached) return cached;
  const queues = new Set<Queue>();
  for (const [pattern, bound] of bindings) {
    const matches = type === "fanout" ||
      (type === "direct" ? pattern === routingKey : topicMatches(pattern, routingKey));
    if (matches) bound.forEach((queue) => queues.add(queue));
  }
  if (routes.size >= MAX_CACHED_ROUTES) routes.clear();
  const found = [...queues];
  routes.set(routingKey, found);
  return found;
}

/**
 * Whether a topic pattern matches a key: words divided by dots, where `*` stands for exactly one word and `#` for any number
 * of words, none included (section 3.1.3.3). An empty text has no words.
 *
 * All places of the pattern that a word may have led to are followed at once, so the time grows with the product of both
 * lengths, not exponentially with the number of `#`.
 */
export function topicMatches(pattern: string, key: string): boolean {
  const wanted = pattern === "" ? [] : pattern.split(".");
  const words = key === "" ? [] : key.split(".");
  /** Adds a place, and those behind it that a `#` which stands for no word leads to. */
  const add = (places: Set<number>, at: number): Set<number> =>
    wanted[at] === "#" && !places.has(at) ? add(places.add(at), at + 1) : places.add(at);
  let places = add(new Set(), 0);
  for (const word of words) {
    const next = new Set<number>();
    for (const at of places) {
      if (wanted[at] === "#") add(next, at);
      else if (wanted[at] === "*" || wanted[at] === word) add(next, at + 1);
    }
    places = next;
  }
  return places.has(wanted.length);
}

/** Publishes a dead entry to its queue's dead-letter exchange, if there is one, and releases it. */
function bury(broker: Broker, entry: QueueEntry, reason: DeathReason): void {
  const { message, queue: { name, args } } = entry;
  const exchange = args["x-dead-letter-exchange"];
  const routingKey = args["x-dead-letter-routing-key"] ?? message.routingKey;
  if (exchange !== undefined && (exchange === "" || broker.exchanges.has(exchange))) {
    const letter = deadLetter(message, name, reason, { exchange, routingKey });
    for (const target of routed(broker, letter)) {
      if (!isAutomaticCycle(letter.deaths, target.name)) enqueue(target, letter);
    }
  }
  settle(entry);
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

function locked(name: string): AmqpError {
  return new AmqpError(405, `cannot obtain exclusive access to locked queue '${name}' in vhost '/'`);
}

/** Makes the queue, or finds it as it was made. Errors: `AmqpError` 403, 404, 405, 406 or 540. */
export function declareQueue(
  broker: Broker,
  declare: MethodArguments<"queue.declare">,
  session: object,
): Queue {
  const name = declare.queue || `amq.gen-${randomName()}`;
  if (declare.passive) return findQueue(broker, name, session);
  const queue = createQueue(broker, { ...declare, queue: name }, declare.exclusive ? session : undefined);
  const existing = broker.queues.get(name);
  if (existing) {
    if (existing.owner !== queue.owner) throw locked(name);
    checkEquivalent(`queue '${name}'`, existing.declared, queue.declared);
    return existing;
  }
  refuseReservedName("queue", declare.queue);
  if (queue.args.isQuorum) checkQuorumQueue(declare);
  checkLimit(broker.queues.size, LIMITS.queues, `declare queue '${name}': queue limit`);
  broker.queues.set(name, queue);
  return queue;
}

/** Deletes a queue with its bindings; answers with how many ready messages went with it. */
export function deleteQueue(broker: Broker, queue: Queue): number {
  if (queue.deleted) return 0;
  broker.queues.delete(queue.name);
  // Deleting is rare: a walk over all bindings saves an index of them by queue.
  for (const [name, { bindings }] of [...broker.exchanges]) {
    for (const key of [...bindings.keys()]) removeBinding(broker, name, key, queue);
  }
  return endQueue(queue);
}

/** The exchange of this name. Errors: `AmqpError` 404 when it is missing, 403 for the default one. */
function findExchange(broker: Broker, name: string): Exchange {
  refuseDefaultExchange(name);
  const exchange = broker.exchanges.get(name);
  if (!exchange) throw new AmqpError(404, `no exchange '${name}' in vhost '/'`);
  return exchange;
}

/** Makes the exchange, or finds it as it was made. Errors: `AmqpError` 403, 404, 406 or 540. */
export function declareExchange(broker: Broker, declare: MethodArguments<"exchange.declare">): void {
  const { exchange: name } = declare;
  if (declare.passive) return void findExchange(broker, name);
  refuseDefaultExchange(name);
  if (declare.type === "headers") throw notServed("a headers exchange");
  if (declare.internal) throw notServed("an internal exchange");
  const type = EXCHANGE_TYPES.find((served) => served === declare.type);
  if (!type) throw new AmqpError(406, `unknown exchange type '${declare.type}'`);
  const exchange = createExchange(type, declare);
  const existing = broker.exchanges.get(name);
  if (existing) return checkEquivalent(`exchange '${name}'`, existing.declared, exchange.declared);
  refuseReservedName("exchange", name);
  if (declare.arguments.has("alternate-exchange")) throw notServed("an alternate exchange");
  checkLimit(broker.exchanges.size, LIMITS.exchanges, `declare exchange '${name}': exchange limit`);
  broker.exchanges.set(name, exchange);
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
export function addBinding(broker: Broker, exchange: string, key: string, queue: Queue): void {
  const { bindings, routes } = findExchange(broker, exchange);
  checkLimit(broker.bindingCount, LIMITS.bindings, `bind to exchange '${exchange}': binding limit`);
  const queues = bindings.get(key) ?? new Set();
  if (queues.has(queue)) return;
  bindings.set(key, queues.add(queue));
  routes.clear();
  broker.bindingCount++;
}

/** Unbinds what is bound; an auto-delete exchange goes with its last binding. */
export function removeBinding(broker: Broker, name: string, key: string, queue: Queue): void {
  const exchange = broker.exchanges.get(name);
  const queues = exchange?.bindings.get(key);
  if (!exchange || !queues?.delete(queue)) return;
  if (queues.size === 0) exchange.bindings.delete(key);
  exchange.routes.clear();
  broker.bindingCount--;
  if (exchange.autoDelete && exchange.bindings.size === 0) broker.exchanges.delete(name);
}

/** Errors: `AmqpError` 403 for the default exchange, whose bindings are fixed. */
export function refuseDefaultExchange(name: string): void {
  if (name === "") throw new AmqpError(403, "operation not permitted on the default exchange");
}

/** 128 random bits as RabbitMQ writes them into made-up names. */
export function randomName(): string {
  return crypto.getRandomValues(new Uint8Array(16)).toBase64({ alphabet: "base64url", omitPadding: true });
}

function refuseReservedName(kind: string, name: string): void {
  if (!name.startsWith("amq.")) return;
  throw new AmqpError(403, `${kind} name '${name}' contains reserved prefix 'amq.*'`);
}

function checkLimit(count: number, limit: number, what: string): void {
  if (count >= limit) throw new AmqpError(406, `cannot ${what} in vhost '/' (${limit}) is reached`);
}

/** Errors: `AmqpError` 406 unless a declaration repeats the first one. */
function checkEquivalent(what: string, was: FieldTable, is: FieldTable): void {
  const described = (value: Field | undefined) => value === undefined ? "none" : `'${value}'`;
  for (const name of new Set([...was.keys(), ...is.keys()])) {
    const [before, now] = [described(was.get(name)), described(is.get(name))];
    if (before === now) continue;
    const why = `received ${now} but current is ${before}`;
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
