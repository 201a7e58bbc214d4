import { type MemoryGauge, release, retain } from "./memory.ts";
import type { DeathReason, Message } from "./message.ts";
import type { QueueArguments } from "./queue_arguments.ts";
import { addReady, countReady, createReadyList, peekReady, putBackReady, takeReady } from "./ready_list.ts";

/** A message's place in one queue. */
export type QueueEntry = {
  readonly message: Message;
  readonly position: number;
  /** When it expires, in milliseconds of `performance.now`; `Infinity` for never. */
  readonly expiresAt: number;
  /** How often it went out and came back. */
  returns: number;
};

/** A consumer as its queue sees it. */
export type QueueConsumer = {
  readonly exclusive: boolean;
  /** Whether it may be given a message now; one that may again is announced by `wakeConsumer`. */
  canTake(): boolean;
  deliver(entry: QueueEntry): void;
  /** Called when the queue goes away under it. */
  cancelled(): void;
};

/** What a new queue is made with. */
export type QueueDeclaration = {
  readonly name: string;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  /** The connection that an exclusive queue belongs to. */
  readonly owner: object | undefined;
  readonly args: QueueArguments;
  readonly memory: MemoryGauge;
  /** Takes over an entry that the queue gives up: dead-letters it where so declared, and releases its message. */
  readonly onDead: (queue: Queue, entry: QueueEntry, reason: DeathReason) => void;
};

/** A queue. */
export type Queue = ReturnType<typeof createQueue>;

const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** An empty queue. */
export function createQueue(declaration: QueueDeclaration) {
  return {
    ...declaration,
    ready: createReadyList<QueueEntry>(),
    consumers: new Set<QueueConsumer>(),
    /** Those of the consumers that take turns. */
    inLine: new Set<QueueConsumer>(),
    readyBytes: 0,
    nextPosition: 0,
    timer: undefined as ReturnType<typeof setTimeout> | undefined,
    timerAt: Infinity,
    deleted: false,
  };
}

/** Adds a message and passes on what consumers can take; false when `reject-publish` refuses it. */
export function enqueue(queue: Queue, message: Message): boolean {
  const { args, memory, ready } = queue;
  if (args.overflow === "reject-publish" && isOver(queue, 1, message.bodySize)) return false;
  const now = performance.now();
  const expiresAt = now + Math.min(args.messageTtl, message.expiration ?? Infinity);
  retain(memory, message);
  addReady(ready, { message, position: queue.nextPosition++, expiresAt, returns: 0 });
  queue.readyBytes += message.bodySize;
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

/** Puts entries back where they came from, or gives them up where the delivery limit is passed. */
export function putBack(queue: Queue, entries: readonly QueueEntry[]): void {
  for (const entry of entries) {
    entry.returns++;
    if (queue.deleted) {
      release(queue.memory, entry.message);
    } else if (entry.returns > queue.args.deliveryLimit) {
      queue.onDead(queue, entry, "delivery_limit");
    } else {
      putBackReady(queue.ready, entry);
      queue.readyBytes += entry.message.bodySize;
    }
  }
  if (!queue.deleted) dispatch(queue, performance.now());
}

/** Removes every ready message; answers with how many there were. */
export function purge(queue: Queue): number {
  dropExpired(queue, performance.now());
  const count = countReady(queue.ready);
  for (let entry = takeHead(queue); entry; entry = takeHead(queue)) release(queue.memory, entry.message);
  return count;
}

/** Adds a consumer at the end of the line. */
export function addConsumer(queue: Queue, consumer: QueueConsumer): void {
  queue.consumers.add(consumer);
  queue.inLine.add(consumer);
  dispatch(queue, performance.now());
}

/** Removes a consumer; what it has not acknowledged stays with its channel. */
export function removeConsumer(queue: Queue, consumer: QueueConsumer): void {
  queue.consumers.delete(consumer);
  queue.inLine.delete(consumer);
}

/** Brings a consumer back into line that left it because it could take no more, once it can. */
export function wakeConsumer(queue: Queue, consumer: QueueConsumer): void {
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
  for (let head = peekReady(queue.ready); head && queue.inLine.size > 0; head = peekReady(queue.ready)) {
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
function nextInLine({ inLine }: Queue): QueueConsumer | undefined {
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

function takeHead(queue: Queue): QueueEntry | undefined {
  const entry = takeReady(queue.ready);
  if (entry) queue.readyBytes -= entry.message.bodySize;
  return entry;
}

function dropHead(queue: Queue, reason: DeathReason): void {
  const entry = takeHead(queue);
  if (entry) queue.onDead(queue, entry, reason);
}

function dropExpired(queue: Queue, now: number): void {
  for (let head = peekReady(queue.ready); head && head.expiresAt <= now; head = peekReady(queue.ready)) {
    dropHead(queue, "expired");
  }
}

function isOver({ args, ready, readyBytes }: Queue, addedMessages: number, addedBytes: number): boolean {
  return countReady(ready) + addedMessages > args.maxLength || readyBytes + addedBytes > args.maxLengthBytes;
}

/** One timer per queue, for its head's expiry; armed anew only when that is due sooner. */
function armTimer(queue: Queue): void {
  const due = peekReady(queue.ready)?.expiresAt ?? Infinity;
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
