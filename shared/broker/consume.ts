// Consumes one queue in batches: what is waiting is settled together, acks follow the commit.

import type { Channel, ChannelModel } from "amqplib";
import { passesInTime, retryWhileUnavailable } from "../process/errors.ts";
import type { Logger } from "../process/log.ts";
import { createAlarm, pause, withTimeout } from "../process/stop.ts";
import type { SetAside } from "../sql/set_aside.ts";
import { CLOSE_MS, connectBroker, ensureTopology, tieToConnection, type Topology } from "./connection.ts";
import {
  ageOf,
  deadLetterOf,
  type Delivery,
  type Envelope,
  type ParseEvent,
  receive,
  retryOf,
} from "./message.ts";
import type { ConsumerObserver } from "./observe.ts";
import {
  ackDeliveries,
  type HandleBatch,
  nextStep,
  type OfType,
  type Outcome,
  processBatch,
  type RetryPolicy,
} from "./settle.ts";

/** What an operator shuts, to see events go through one by one. */
export interface Gate {
  /** A flag in memory: asking costs nothing. While it is shut nothing is taken but with a step. */
  isShut(): boolean;
  /** Takes one step, with which one event may pass; of several copies that ask, one gets it. Never rejects. */
  takeStep(): Promise<boolean>;
  /** Gives back a step with which nothing has passed. Never rejects. */
  returnStep(): Promise<void>;
  /** Resolves when it may have been opened or got a step, within a second in any case, and when the process is to stop. */
  changes(): Promise<void>;
}

export interface ConsumerOptions<E extends Envelope, T extends E["type"]> {
  readonly url: string;
  readonly topology: Topology;
  readonly queue: string;
  /** The most messages in one batch, which is one transaction. */
  readonly batchSize: number;
  readonly retryPolicy: RetryPolicy;
  readonly parse: ParseEvent<E>;
  /** A larger message is a dead letter before it is decoded. */
  readonly maxMessageBytes: number;
  readonly types: readonly T[];
  readonly handle: HandleBatch<OfType<E, T>>;
  readonly setAside: SetAside;
  readonly observers: readonly ConsumerObserver[];
  readonly gate?: Gate;
  readonly log: Logger;
}

/** RabbitMQ refuses more for quorum queues. */
const MAX_PREFETCH = 2000;
/** In one batch, which may have to be written down as dead letters in one statement. */
const MAX_BATCH_BYTES = 4 << 20;

/**
 * How long a consumer collects before it takes the next batch, for each message in the last one: nothing when idle, more
 * the more there is to do, until batches are full. A batch costs the same few round trips whatever its size. Measured: a
 * fifth less processor time for each order, at the same latency.
 */
const COLLECT_MS_PER_MESSAGE = 0.4;
/** Measured at 100 and 300 orders a second: a tenth less processor time, and no later. */
const MIN_COLLECT_MS = 10;
/** After a batch of fewer messages nothing is collected: there is no load. */
const FEW = 2;

/**
 * A message that came back this often is taken up alone: a worker that dies makes all its unacked messages suspects, and
 * only alone can the one at fault be told. Well below 20, where RabbitMQ 4 drops a message by default.
 */
const SUSPECT_RETURNS = 3;
/** Its worker died this often while it was taken up alone: it is the one at fault. */
const MAX_SUSPECT_ATTEMPTS = 3;

export type Consumer = ReturnType<typeof startConsumer>;

/**
 * Subscribes to the queue and processes it until stopped, through any number of broker and database outages. `running`
 * settles when it has stopped, and rejects when it cannot go on. `stop` finishes and acks the batch under way; the broker
 * requeues the rest.
 */
export function startConsumer<E extends Envelope, T extends E["type"]>(options: ConsumerOptions<E, T>) {
  const { url, topology, queue, batchSize, log } = options;
  const limits = { parse: options.parse, maxBytes: options.maxMessageBytes };
  const stopping = new AbortController();
  const unacked = createUnacked<E>(stopping.signal);

  /** Runs on every new connection. A channel or subscription that ends closes the connection: one way back. */
  async function subscribe(model: ChannelModel): Promise<void> {
    const channel = await model.createChannel();
    const endWatch = watchSubscription(async () => (await channel.checkQueue(queue)).consumerCount, () => {
      log.warning("The broker has forgotten the subscription; subscribing again", { queue });
      model.close().catch(() => {}); // not the channel: one that owes an answer is not closed before it has given it
    });
    tieToConnection(channel, model, log, () => {
      endWatch();
      unacked.forget(channel);
    });
    await ensureTopology(model, topology);
    await channel.prefetch(Math.min(batchSize * 2, MAX_PREFETCH));
    unacked.follow(channel);
    await channel.consume(queue, (message) => {
      if (message) unacked.add(receive(channel, message, limits, new Date()));
      else channel.close().catch(() => {}); // the queue was deleted: connect and declare anew
    });
    log.info("Subscribed", { queue });
  }

  const connection = connectBroker({ url, name: queue, log, setup: subscribe });
  const running = settleBatches(options, unacked, stopping.signal);
  running.catch(() => {}); // told to whoever awaits it; nobody has to before it is stopped
  return {
    connection,
    running,
    async stop(): Promise<void> {
      stopping.abort();
      await running;
      // Closing the channel waits for the broker, behind the last acks; closing the connection at once drops them.
      const closed = unacked.channel()?.close().catch(() => {}); // it may be closed already
      if (closed) await withTimeout(CLOSE_MS, closed);
      await connection.close();
    },
  };
}

async function settleBatches<E extends Envelope, T extends E["type"]>(
  options: ConsumerOptions<E, T>,
  unacked: Unacked<E>,
  stop: AbortSignal,
): Promise<void> {
  const { batchSize, gate } = options;
  for (let last = { size: 0, endedMs: 0 }; !stop.aborted;) {
    const due = unacked.countDue();
    if (due === 0) {
      await unacked.untilDue();
      continue;
    }
    const collectMs = collectingMs(last.size, performance.now() - last.endedMs);
    if (collectMs > 0 && due < batchSize) {
      await pause(collectMs, stop);
      continue; // they may have gone with their channel, and more are due
    }
    const isShut = gate?.isShut() ?? false;
    if (gate && isShut && !await gate.takeStep()) {
      await gate.changes();
      continue;
    }
    const batch = unacked.take(isShut ? 1 : batchSize);
    if (batch.length === 0) { // they went with their channel while the step was taken
      await gate?.returnStep();
      continue;
    }
    try {
      await settle(batch, options, unacked, stop);
    } catch (error) {
      if (stop.aborted) return; // not acked: delivered again to whoever comes next
      throw error;
    }
    last = { size: batch.length, endedMs: performance.now() };
  }
}

/**
 * How much longer to collect after a batch of `size` messages that ended `agoMs` milliseconds ago, in milliseconds. Not
 * at all after a rest: what comes then has no others to wait for.
 */
export function collectingMs(size: number, agoMs: number): number {
  return size < FEW ? 0 : Math.max(Math.max(size * COLLECT_MS_PER_MESSAGE, MIN_COLLECT_MS) - agoMs, 0);
}

/** Settles a batch: processes it, sets aside what failed, acks, and then tells the observers. */
async function settle<E extends Envelope, T extends E["type"]>(
  batch: readonly Delivery<E>[],
  { queue, types, handle, setAside, observers, retryPolicy, log }: ConsumerOptions<E, T>,
  unacked: Unacked<E>,
  stop: AbortSignal,
): Promise<void> {
  /** The database being away is no message's fault and spends no retries. */
  const patiently = <R>(work: () => Promise<R>) =>
    retryWhileUnavailable(work, { log, stop, passes: passesInTime });
  const startedMs = performance.now();
  for (const delivery of batch) delivery.takenUpMs ||= startedMs;
  const suspect = batch.find(isSuspect); // then it is the only one, and the attempt is on record first
  const attempts = suspect ? await patiently(() => setAside.countSuspect(suspect.message.content)) : 0;
  for (const observer of observers) observer.takeUp?.(batch);
  const outcomes = suspect && attempts > MAX_SUSPECT_ATTEMPTS
    ? new Map([[suspect, killsItsWorker(suspect, attempts)]])
    : await patiently(() => processBatch(batch, types, handle));

  const messages = [...outcomes].map(([delivery, outcome]) => {
    const { retryState: { retries }, looks, takenUpMs } = delivery;
    const attempts = { retries, looks, unackedMs: performance.now() - takenUpMs, ageMs: ageOf(delivery) };
    return { delivery, outcome, step: nextStep(outcome, attempts, retryPolicy, Math.random()) };
  });
  const retries = messages.flatMap(({ delivery, step }) =>
    step.kind === "retry" ? retryOf(delivery, queue, step) ?? [] : []
  );
  const letters = messages.flatMap(({ delivery, step }) =>
    step.kind === "dead-letter" ? deadLetterOf(delivery, queue, step) : []
  );
  if (letters.length > 0) await patiently(() => setAside.keepDeadLetters(letters));
  if (retries.length > 0) await patiently(() => setAside.keepRetries(retries));

  for (const { delivery, step } of messages) {
    if (step.kind === "look-again") unacked.lookAgain(delivery, step.delayMs);
  }
  const settled = messages.flatMap(({ delivery, step }) => step.kind === "look-again" ? [] : [delivery]);
  ackDeliveries(settled, unacked.all());
  if (suspect) {
    const { content } = suspect.message;
    const survived = settled.length > 0 ? setAside.clearSuspect : setAside.uncountSuspect;
    await patiently(() => survived(content));
  }
  const tookMs = performance.now() - startedMs;
  for (const observer of observers) observer.settled({ messages, letters, retries: retries.length, tookMs });
}

function killsItsWorker({ returns }: Delivery, attempts: number): Outcome {
  const detail = `its worker died each time: taken up alone ${attempts - 1} times, returned ${returns} times`;
  return { kind: "rejected", reason: "kills its worker", detail };
}

type Unacked<E extends Envelope> = ReturnType<typeof createUnacked<E>>;

/** The longest that a timer can wait. */
const LONGEST_MS = 2 ** 31 - 1;

/** What was delivered on the channel that is up and is not acked, but for the batch that is being settled. */
function createUnacked<E extends Envelope>(stop: AbortSignal) {
  const alarm = createAlarm(stop);
  let ready: Delivery<E>[] = []; // due now, oldest first
  let later: Delivery<E>[] = []; // due at their dueMs
  let current: Channel | null = null;
  return {
    follow: (channel: Channel) => void (current = channel),
    channel: () => current,
    /** What a dead channel delivered cannot be acked any more; the broker delivers it again. */
    forget(channel: Channel) {
      if (current === channel) current = null;
      ready = ready.filter((delivery) => delivery.channel !== channel);
      later = later.filter((delivery) => delivery.channel !== channel);
    },
    add(delivery: Delivery<E>) {
      if (ready.push(delivery) === 1) alarm.ring(); // nobody waits while something is due
    },
    lookAgain(delivery: Delivery<E>, delayMs: number) {
      if (delivery.channel !== current) return; // its channel went meanwhile; it comes again on the next one
      delivery.dueMs = performance.now() + delayMs;
      delivery.looks++;
      later.push(delivery);
    },
    countDue() {
      if (later.length === 0) return ready.length;
      const now = performance.now();
      ready = [...later.filter((delivery) => delivery.dueMs <= now), ...ready];
      later = later.filter((delivery) => delivery.dueMs > now);
      return ready.length;
    },
    /** Resolves when something may be due, and with `stop`. */
    untilDue: () => alarm.wait(Math.min(LONGEST_MS, ...later.map(({ dueMs }) => dueMs - performance.now()))),
    /**
     * Takes out the next batch: up to `limit` that are due and no more than `MAX_BATCH_BYTES`, oldest first; a suspect, or
     * one that is larger by itself, is a batch of its own.
     */
    take(limit: number) {
      let bytes = 0;
      const end = ready.slice(0, limit).findIndex((delivery) => {
        bytes += delivery.message.content.length;
        return isSuspect(delivery) || bytes > MAX_BATCH_BYTES;
      });
      return ready.splice(0, end < 0 ? limit : Math.max(end, 1));
    },
    all: (): readonly Delivery<E>[] => [...ready, ...later],
  };
}

function isSuspect({ returns }: Delivery): boolean {
  return returns >= SUSPECT_RETURNS;
}

const SUBSCRIPTION_CHECK_MS = 5000;
/** In a row: a queue that has just been made counts its consumers a moment later. */
const MAX_UNKNOWN = 2;

/**
 * Asks every `checkMs` milliseconds with `countConsumers` how many consumers the queue has, and calls `onForgotten` when
 * twice in a row it has none or there is no answer in that time. Returns a function that ends it.
 */
export function watchSubscription(
  countConsumers: () => Promise<number>,
  onForgotten: () => void,
  checkMs = SUBSCRIPTION_CHECK_MS,
): () => void {
  let [unknown, isAsking] = [0, false];
  const timer = setInterval(async () => {
    let isUnknown = isAsking;
    if (!isAsking) {
      isAsking = true;
      isUnknown = await countConsumers().catch(() => null) === 0; // a channel that is gone comes back by itself
      isAsking = false;
    }
    unknown = isUnknown ? unknown + 1 : 0;
    if (unknown < MAX_UNKNOWN) return;
    unknown = 0;
    onForgotten();
  }, checkMs);
  return () => clearInterval(timer);
}
