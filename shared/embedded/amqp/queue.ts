import type { Message } from "./message.ts";
import type { QueueArguments } from "./queue_arguments.ts";
import { createReadyList, type ReadyList } from "./ready_list.ts";
import { createRingQueue, type RingQueue } from "./ring_queue.ts";

/** A message's place in one queue. */
export type QueueEntry = {
  readonly message: Message;
  readonly position: number;
  /** When it expires, on the broker's monotonic clock in milliseconds; `Infinity` for never. */
  readonly expiresAt: number;
  /** How often it went out and came back. */
  returns: number;
};

/** A consumer as its queue sees it. */
export type QueueConsumer = {
  readonly exclusive: boolean;
  /** Whether it may be given a message right now; a consumer that may again is announced by {@linkcode wake}. */
  canTake(): boolean;
  deliver(entry: QueueEntry): void;
  /** Called when the queue goes away under it. */
  cancelled(): void;
  /** In line for a turn, set aside until woken, or gone: kept by the queue. */
  state: "in line" | "aside" | "gone";
};

/** Why a message was dead-lettered, as `x-death` tells it. */
export type DeathReason = "expired" | "rejected" | "maxlen" | "delivery_limit";

/** What a queue asks of its broker. */
export type QueueHost = {
  /** Monotonic time in milliseconds. */
  now(): number;
  retain(message: Message): void;
  release(message: Message): void;
  /** Takes over an entry that the queue gives up: dead-letters it where so declared, and releases it. */
  deadLetter(queue: Queue, entry: QueueEntry, reason: DeathReason): void;
  /** Called when the queue was unused for its `x-expires`. */
  expireQueue(queue: Queue): void;
};

/** A queue: messages that are ready, and the consumers that take turns. */
export type Queue = {
  readonly kind: "queue";
  readonly name: string;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  /** The connection an exclusive queue belongs to. */
  readonly owner: object | undefined;
  readonly args: QueueArguments;
  readonly host: QueueHost;
  readonly ready: ReadyList<QueueEntry>;
  readonly consumers: Set<QueueConsumer>;
  readonly turns: RingQueue<QueueConsumer>;
  readyBytes: number;
  nextPosition: number;
  lastUsed: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  timerAt: number;
  deleted: boolean;
};

/** What a new queue is declared with. */
export type QueueDeclaration = Pick<Queue, "name" | "durable" | "autoDelete" | "owner" | "args">;

const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** An empty queue. */
export function createQueue(declaration: QueueDeclaration, host: QueueHost): Queue {
  const queue: Queue = {
    kind: "queue",
    ...declaration,
    host,
    ready: createReadyList(),
    consumers: new Set(),
    turns: createRingQueue(),
    readyBytes: 0,
    nextPosition: 0,
    lastUsed: host.now(),
    timer: undefined,
    timerAt: Infinity,
    deleted: false,
  };
  armTimer(queue);
  return queue;
}

/** Adds a message and passes on what consumers can take; false when `reject-publish` refuses it. */
export function enqueue(queue: Queue, message: Message): boolean {
  const { args, host } = queue;
  if (args.overflow === "reject-publish" && isOver(queue, 1, message.bodySize)) return false;
  const ttl = Math.min(args.messageTtl ?? Infinity, message.expiration ?? Infinity);
  const now = host.now();
  host.retain(message);
  queue.ready.push({ message, position: queue.nextPosition++, expiresAt: now + ttl, returns: 0 });
  queue.readyBytes += message.bodySize;
  dispatch(queue, now);
  return true;
}

/** Takes the next message for a `basic.get`. */
export function takeNext(queue: Queue): QueueEntry | undefined {
  queue.lastUsed = queue.host.now();
  dropExpired(queue, queue.lastUsed);
  const entry = takeHead(queue);
  armTimer(queue);
  return entry;
}

/** Puts messages back where they came from, or gives them up where the delivery limit is passed. */
export function putBack(queue: Queue, entries: readonly QueueEntry[]): void {
  for (const entry of entries) {
    if (queue.deleted) {
      queue.host.release(entry.message);
      continue;
    }
    entry.returns++;
    if (entry.returns > (queue.args.deliveryLimit ?? Infinity)) {
      queue.host.deadLetter(queue, entry, "delivery_limit");
    } else {
      queue.ready.putBack(entry);
      queue.readyBytes += entry.message.bodySize;
    }
  }
  if (!queue.deleted) dispatch(queue, queue.host.now());
}

/** Removes every ready message; answers with how many there were. */
export function purge(queue: Queue): number {
  dropExpired(queue, queue.host.now());
  const count = queue.ready.length;
  for (let entry = takeHead(queue); entry; entry = takeHead(queue)) queue.host.release(entry.message);
  return count;
}

/** Adds a consumer at the end of the line. */
export function addConsumer(queue: Queue, consumer: QueueConsumer): void {
  queue.consumers.add(consumer);
  queue.turns.push(consumer);
  dispatch(queue, queue.host.now());
}

/** Removes a consumer; what it has not acknowledged stays with its channel. */
export function removeConsumer(queue: Queue, consumer: QueueConsumer): void {
  consumer.state = "gone";
  queue.consumers.delete(consumer);
  queue.lastUsed = queue.host.now();
  armTimer(queue);
}

/** Brings a consumer that was set aside back into line, once it can take messages again. */
export function wake(queue: Queue, consumer: QueueConsumer): void {
  if (consumer.state !== "aside" || !consumer.canTake()) return;
  consumer.state = "in line";
  queue.turns.push(consumer);
  dispatch(queue, queue.host.now());
}

/** Ends the queue: releases its messages, stops its timer, tells its consumers. */
export function endQueue(queue: Queue): number {
  queue.deleted = true;
  clearTimeout(queue.timer);
  const count = purge(queue);
  const consumers = [...queue.consumers];
  queue.consumers.clear();
  for (const consumer of consumers) {
    consumer.state = "gone";
    consumer.cancelled();
  }
  return count;
}

/** Hands ready messages to consumers in turn, then drops what is over the limits or expired. */
function dispatch(queue: Queue, now: number): void {
  while (queue.turns.length > 0 && queue.ready.length > 0) {
    const head = queue.ready.peek();
    // Strictly past: a message with a TTL of 0 may still go to a consumer that is there at once.
    if (head && head.expiresAt < now) {
      dropHead(queue, "expired");
      continue;
    }
    const consumer = nextInLine(queue);
    if (!consumer) break;
    const entry = takeHead(queue);
    queue.turns.push(consumer);
    if (entry) consumer.deliver(entry);
  }
  while (queue.ready.length > 0 && isOver(queue, 0, 0)) dropHead(queue, "maxlen");
  dropExpired(queue, now);
  armTimer(queue);
}

function nextInLine(queue: Queue): QueueConsumer | undefined {
  for (let consumer = queue.turns.shift(); consumer; consumer = queue.turns.shift()) {
    if (consumer.state === "gone") continue;
    if (consumer.canTake()) return consumer;
    consumer.state = "aside";
  }
  return undefined;
}

function takeHead(queue: Queue): QueueEntry | undefined {
  const entry = queue.ready.shift();
  if (entry) queue.readyBytes -= entry.message.bodySize;
  return entry;
}

function dropHead(queue: Queue, reason: DeathReason): void {
  const entry = takeHead(queue);
  if (entry) queue.host.deadLetter(queue, entry, reason);
}

function dropExpired(queue: Queue, now: number): void {
  for (let head = queue.ready.peek(); head && head.expiresAt <= now; head = queue.ready.peek()) {
    dropHead(queue, "expired");
  }
}

function isOver(queue: Queue, addedMessages: number, addedBytes: number): boolean {
  const { maxLength, maxLengthBytes } = queue.args;
  return queue.ready.length + addedMessages > (maxLength ?? Infinity) ||
    queue.readyBytes + addedBytes > (maxLengthBytes ?? Infinity);
}

/** One timer per queue, for its head's expiry or its own; re-armed only when due sooner than it is set. */
function armTimer(queue: Queue): void {
  const headExpires = queue.ready.peek()?.expiresAt ?? Infinity;
  const { expires } = queue.args;
  const unusedUntil = expires === undefined || queue.consumers.size > 0 ? Infinity : queue.lastUsed + expires;
  const due = Math.min(headExpires, unusedUntil);
  if (queue.deleted || due === Infinity || (queue.timer !== undefined && queue.timerAt <= due)) return;
  clearTimeout(queue.timer);
  queue.timerAt = due;
  const delay = Math.min(Math.max(due - queue.host.now(), 0), LONGEST_TIMER_MS);
  queue.timer = setTimeout(() => {
    queue.timer = undefined;
    dropExpired(queue, queue.host.now());
    if (unusedSince(queue)) queue.host.expireQueue(queue);
    else armTimer(queue);
  }, Math.ceil(delay));
}

function unusedSince(queue: Queue): boolean {
  const { expires } = queue.args;
  return expires !== undefined && queue.consumers.size === 0 && queue.host.now() >= queue.lastUsed + expires;
}
