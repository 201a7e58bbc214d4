// A queue: what its arguments ask for, its messages in their order, and the consumers that take turns.

import { z } from "zod";
import { AmqpError, type Field, type FieldTable, notServed } from "./bytes.ts";
import { charge, type DeathReason, type MemoryGauge, type Message, messageBytes } from "./message.ts";
import type { MethodArguments } from "./frames.ts";

/** A message's place in one queue. */
export type QueueEntry = {
  readonly queue: Queue;
  readonly message: Message;
  readonly position: number;
  /** When it expires, in milliseconds of `performance.now`; `Infinity` for never. */
  readonly expiresAt: number;
  /** How often it went out and came back. */
  returns: number;
  /** Who it is out with; nobody where it was fetched, or is ready. */
  consumer: Consumer | undefined;
};

export type Consumer = {
  readonly queue: Queue;
  readonly exclusive: boolean;
  /** How many of its deliveries await their acknowledgement. */
  unacknowledged: number;
  /** Whether it may be given a message now; one that may again is announced by `wakeConsumer`. */
  canTake(): boolean;
  deliver(entry: QueueEntry): void;
  /** Called when the queue goes away under it. */
  cancelled(): void;
};

/** What a queue needs of its broker. */
export type QueueHost = {
  readonly memory: MemoryGauge;
  /** Takes over an entry that the queue gives up: dead-letters it where so declared, and releases its message. */
  readonly onDead: (entry: QueueEntry, reason: DeathReason) => void;
};

export type Queue = ReturnType<typeof createQueue>;

const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** An empty queue as it is declared; `owner` is the connection that an exclusive one belongs to. Errors: `AmqpError` 406 or 540. */
export function createQueue(
  host: QueueHost,
  { queue: name, durable, autoDelete, arguments: table }: MethodArguments<"queue.declare">,
  owner: object | undefined,
) {
  const args = parseArguments(name, table);
  return {
    memory: host.memory,
    onDead: host.onDead,
    name,
    autoDelete,
    owner,
    args,
    /** What a second declaration is compared by: the arguments as they were given. RabbitMQ ignores others as well. */
    declared: new Map<string, Field>([
      ["durable", durable],
      ["auto_delete", autoDelete],
      ...[...table].filter(([name]) => name in ARGUMENTS.shape),
      ["x-queue-type", args["x-queue-type"]],
    ]),
    /** A binary heap by position: what comes back takes its old place before what never went out. */
    ready: [] as QueueEntry[],
    readyBytes: 0,
    nextPosition: 0,
    consumers: new Set<Consumer>(),
    /** Those of the consumers that take turns. */
    inLine: new Set<Consumer>(),
    timer: undefined as ReturnType<typeof setTimeout> | undefined,
    timerAt: Infinity,
    deleted: false,
  };
}

/** Adds a message and passes on what consumers can take; false when `reject-publish` refuses it. */
export function enqueue(queue: Queue, message: Message): boolean {
  const { args, memory } = queue;
  if (args["x-overflow"] === "reject-publish" && isOver(queue, 1, message.bodySize)) return false;
  const now = performance.now();
  const expiresAt = now + Math.min(args["x-message-ttl"], message.expiration ?? Infinity);
  charge(memory, messageBytes(message));
  const position = queue.nextPosition++;
  addReady(queue, { queue, message, position, expiresAt, returns: 0, consumer: undefined });
  dispatch(queue, now);
  return true;
}

/** Takes the next message for a `basic.get`. */
export function takeNext(queue: Queue): QueueEntry | undefined {
  dropExpired(queue, performance.now());
  const entry = takeHead(queue);
  armTimer(queue);
  return entry;
}

/** Gives the memory of an entry back that is done with. */
export function settle({ queue, message }: QueueEntry): void {
  charge(queue.memory, -messageBytes(message));
}

/** Puts entries back where they came from, or gives them up where the delivery limit is passed. */
export function putBack(queue: Queue, entries: readonly QueueEntry[]): void {
  for (const entry of entries) entry.returns++;
  if (queue.deleted) return entries.forEach(settle);
  const isGivenUp = ({ returns }: QueueEntry) => returns > queue.args.deliveryLimit;
  for (const entry of entries) if (!isGivenUp(entry)) addReady(queue, entry);
  for (const entry of entries.filter(isGivenUp)) queue.onDead(entry, "delivery_limit");
  dispatch(queue, performance.now());
}

/** Removes every ready message; answers with how many there were. */
export function purge(queue: Queue): number {
  dropExpired(queue, performance.now());
  const count = queue.ready.length;
  for (let entry = takeHead(queue); entry; entry = takeHead(queue)) settle(entry);
  return count;
}

export function addConsumer(consumer: Consumer): void {
  consumer.queue.consumers.add(consumer);
  wakeConsumer(consumer);
}

/** Removes a consumer; what it has not acknowledged stays with its channel. */
export function removeConsumer(consumer: Consumer): void {
  consumer.queue.consumers.delete(consumer);
  consumer.queue.inLine.delete(consumer);
}

/** Brings a consumer into line that can take a message, where it is new or left because it could take no more. */
export function wakeConsumer(consumer: Consumer): void {
  const { queue } = consumer;
  if (queue.inLine.has(consumer) || !queue.consumers.has(consumer) || !consumer.canTake()) return;
  queue.inLine.add(consumer);
  dispatch(queue, performance.now());
}

/** Ends the queue: releases its messages, stops its timer, tells its consumers. Answers with the number of messages. */
export function endQueue(queue: Queue): number {
  queue.deleted = true;
  clearTimeout(queue.timer);
  const count = purge(queue);
  const consumers = [...queue.consumers];
  queue.consumers.clear();
  queue.inLine.clear();
  for (const consumer of consumers) consumer.cancelled();
  return count;
}

/** Hands ready messages to consumers in turn, then drops what is over the limits or expired. */
function dispatch(queue: Queue, now: number): void {
  const { ready } = queue;
  for (let head = ready[0]; head && queue.inLine.size > 0; head = ready[0]) {
    // Strictly past: a message with a time to live of 0 may still go to a consumer that is there at once.
    if (head.expiresAt < now) {
      dropHead(queue, "expired");
      continue;
    }
    const consumer = nextInLine(queue);
    if (!consumer) break;
    takeHead(queue);
    consumer.deliver(head);
  }
  while (isOver(queue, 0, 0)) dropHead(queue, "maxlen");
  dropExpired(queue, now);
  armTimer(queue);
}

/** The consumer whose turn it is, moved to the end of the line; those who can take no more leave it. */
function nextInLine({ inLine }: Queue): Consumer | undefined {
  for (const consumer of inLine) {
    const canTake = consumer.canTake();
    if (canTake && inLine.size === 1) return consumer;
    inLine.delete(consumer);
    if (!canTake) continue;
    inLine.add(consumer);
    return consumer;
  }
  return undefined;
}

function addReady(queue: Queue, entry: QueueEntry): void {
  const heap = queue.ready;
  queue.readyBytes += entry.message.bodySize;
  let at = heap.push(entry) - 1;
  while (at > 0) {
    const above = (at - 1) >> 1;
    const parent = heap[above];
    if (!parent || parent.position < entry.position) break;
    heap[at] = parent;
    at = above;
  }
  heap[at] = entry;
}

/** Takes the entry of lowest position, which is `ready[0]`. */
function takeHead(queue: Queue): QueueEntry | undefined {
  const heap = queue.ready;
  const head = heap[0];
  const last = heap.pop();
  if (!head || !last) return undefined;
  queue.readyBytes -= head.message.bodySize;
  if (head === last) return head;
  let at = 0;
  for (;;) { // the last entry goes down from the top
    let below = 2 * at + 1;
    let child = heap[below];
    const right = heap[below + 1];
    if (child && right && right.position < child.position) {
      child = right;
      below++;
    }
    if (!child || child.position > last.position) break;
    heap[at] = child;
    at = below;
  }
  heap[at] = last;
  return head;
}

function dropHead(queue: Queue, reason: DeathReason): void {
  const entry = takeHead(queue);
  if (entry) queue.onDead(entry, reason);
}

function dropExpired(queue: Queue, now: number): void {
  for (let head = queue.ready[0]; head && head.expiresAt <= now; head = queue.ready[0]) {
    dropHead(queue, "expired");
  }
}

function isOver({ args, ready, readyBytes }: Queue, addedMessages: number, addedBytes: number): boolean {
  return ready.length + addedMessages > args["x-max-length"] ||
    readyBytes + addedBytes > args["x-max-length-bytes"];
}

/** One timer per queue, for its head's expiry; armed anew only when that is due sooner. */
function armTimer(queue: Queue): void {
  const due = queue.ready[0]?.expiresAt ?? Infinity;
  if (queue.deleted || due === Infinity || (queue.timer !== undefined && queue.timerAt <= due)) return;
  clearTimeout(queue.timer);
  queue.timerAt = due;
  const delay = Math.min(Math.max(due - performance.now(), 0), LONGEST_TIMER_MS);
  queue.timer = setTimeout(() => {
    queue.timer = undefined;
    dropExpired(queue, performance.now());
    armTimer(queue);
  }, Math.ceil(delay));
}

const limit = z.int().nonnegative().default(Infinity);

/** The arguments of a queue's declaration that are served; times are in milliseconds. */
const ARGUMENTS = z.object({
  "x-queue-type": z.enum(["classic", "quorum"]).default("classic"),
  "x-message-ttl": limit,
  "x-max-length": limit,
  "x-max-length-bytes": limit,
  "x-overflow": z.enum(["drop-head", "reject-publish"]).default("drop-head"),
  "x-delivery-limit": z.int().optional(),
  "x-dead-letter-exchange": z.string().optional(),
  "x-dead-letter-routing-key": z.string().optional(),
});
/** RabbitMQ serves them, and they change what a queue does: to ignore them would deceive. */
const NOT_SERVED = ["x-expires", "x-max-priority", "x-single-active-consumer"];

/** RabbitMQ 4's for quorum queues; classic ones have none. */
const DEFAULT_DELIVERY_LIMIT = 20;

function parseArguments(queue: string, table: FieldTable) {
  const refused = NOT_SERVED.find((name) => table.has(name));
  if (refused) throw notServed(`queue argument '${refused}'`);
  const invalid = (name: string) => {
    const value = Deno.inspect(table.get(name));
    return new AmqpError(406, `invalid arg '${name}' for queue '${queue}' in vhost '/': ${value}`);
  };
  const { data, error } = ARGUMENTS.safeParse(Object.fromEntries(table));
  if (error) throw invalid(String(error.issues[0]?.path[0]));
  const isQuorum = data["x-queue-type"] === "quorum";
  const returns = data["x-delivery-limit"] ?? (isQuorum ? DEFAULT_DELIVERY_LIMIT : -1);
  if (!isQuorum && table.has("x-delivery-limit")) throw invalid("x-delivery-limit");
  if (table.has("x-dead-letter-routing-key") && !table.has("x-dead-letter-exchange")) {
    throw invalid("x-dead-letter-routing-key");
  }
  // A message may come back so often; from then on it is dead-lettered.
  return { ...data, isQuorum, deliveryLimit: returns < 0 ? Infinity : returns };
}
