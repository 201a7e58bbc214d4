/**
 * Consumes one queue in batches: what is waiting is settled together, acks follow the commit.
 *
 * @module
 */
import type { Channel, ChannelModel, ConsumeMessage } from "amqplib";
import type { EventType } from "../events.ts";
import type { Logger } from "../process/log.ts";
import { passesInTime, retryWhileUnavailable } from "../process/errors.ts";
import type { NewDeadLetter, NewRetry } from "../sql/set_aside.ts";
import { pause, within } from "../process/stop.ts";
import {
  ackDeliveries,
  type HandleBatch,
  judgeBatch,
  nextStep,
  type Patience,
  type Verdict,
} from "./settle.ts";
import { type BatchCounts, countBatch, logBatch, type ProcessSpans, type SettledBatch } from "./observe.ts";
import {
  type BrokerConnection,
  CLOSE_MS,
  connectBroker,
  declareTopology,
  tieToConnection,
} from "./connection.ts";
import { deadLetterOf, type Delivery, receive, retryOf } from "./message.ts";
import type { Topology } from "../topology.ts";

/** What a consumer is made of. */
export interface ConsumerOptions<T extends EventType> {
  /** Where the broker is, as an AMQP URL. */
  readonly url: string;
  /** Declared on every new connection, before anything is consumed. */
  readonly topology: Topology;
  /** The queue's name, which is also the consumer's. */
  readonly queue: string;
  /** The most messages in one batch, which is one transaction. */
  readonly batchSize: number;
  /** How often and how long a message is tried again before it becomes a dead letter. */
  readonly patience: Patience;
  /** The types of event that the consumer takes; any other is a dead letter. */
  readonly types: readonly T[];
  /** Processes a batch, and answers with a verdict on each of its events. */
  readonly handle: HandleBatch<T>;
  /** Keeps what is given up on. The message is acked only after this has resolved. */
  readonly keepDeadLetters: (letters: readonly NewDeadLetter[]) => Promise<void>;
  /** Keeps what is to be delivered again later, so that nobody holds it meanwhile. Acked as with dead letters. */
  readonly keepRetries: (retries: readonly NewRetry[]) => Promise<void>;
  /** Tells which message it is that kills its worker. */
  readonly suspects: SuspectLedger;
  /** Makes a span of each message and batch; null where nothing is traced. */
  readonly spans?: ProcessSpans | null;
  /** Told of each settled batch. */
  readonly onBatch?: (counts: BatchCounts) => void;
  /** Told of the same in full, for figures that somebody wants. */
  readonly onSettled?: ((batch: SettledBatch) => void) | undefined;
  /** Gets a line per event of a small batch, one per large batch, per dead letter and per outage. */
  readonly log: Logger;
}

/** Remembers, outside of the process, which suspicious messages it took up. */
export interface SuspectLedger {
  /** Counts that a message is taken up alone; answers with how often it was. */
  count(body: Uint8Array): Promise<number>;
  /** Forgets a message that is settled. */
  clear(body: Uint8Array): Promise<void>;
}

/** A running consumer. */
export interface Consumer {
  /** Its connection to the broker, which comes back by itself. */
  readonly connection: BrokerConnection;
  /** Settles when it has stopped; rejects when it cannot go on, with what it could not foresee. */
  readonly running: Promise<void>;
  /** Stops taking messages, finishes the batch in hand, acks it and disconnects. What was not settled is requeued. */
  stop(): Promise<void>;
}

/** Prefetch above this is refused by RabbitMQ for quorum queues. */
const MAX_PREFETCH = 2000;

/**
 * How long a consumer collects before it takes the next batch, in milliseconds for each message in the last one: nothing
 * when idle, more the more there is to do, until batches are full. A batch costs the same few round trips whatever its
 * size. Measured: a fifth less processor time for each order, at the same latency.
 */
const COLLECT_MS_PER_MESSAGE = 0.4;
/** At least so long, in milliseconds. Measured at 100 and 300 orders a second: a tenth less processor time, and no later. */
const MIN_COLLECT_MS = 10;
/** After a batch of fewer messages nothing is collected: there is no load. */
const FEW = 2;

/**
 * A message that came back this often is taken up alone: a worker that dies takes the good name of all that it had in
 * its hands, and only alone can the one at fault be told. Well below 20, where RabbitMQ 4 drops a message by default.
 */
const SUSPECT_RETURNS = 3;
/** Taken up alone this often without being settled, it is the one. */
const MAX_SUSPECT_ATTEMPTS = 3;

/** Subscribes to the queue and processes it until stopped, through any number of broker and database outages. */
export async function startConsumer<T extends EventType>(options: ConsumerOptions<T>): Promise<Consumer> {
  const { queue, log } = options;
  const stopping = new AbortController();
  let ready: Delivery[] = []; // due now, oldest first
  let later: Delivery[] = []; // due at their dueMs
  let wakeUp = () => {};
  let current: Channel | null = null;

  /** Runs on every new connection. A channel or subscription that ends takes the connection with it: one way back. */
  async function subscribe(model: ChannelModel): Promise<void> {
    const channel = await model.createChannel();
    const endWatch = watchSubscription(async () => (await channel.checkQueue(queue)).consumerCount, () => {
      log.warning("The broker has forgotten the subscription; subscribing again", { queue });
      model.close().catch(() => {}); // not the channel: one that owes an answer is not closed before it has given it
    });
    tieToConnection(channel, model, log, () => {
      endWatch();
      forget(channel);
    });
    await declareTopology(channel, options.topology);
    await channel.prefetch(Math.min(options.batchSize * 2, MAX_PREFETCH));
    current = channel;
    await channel.consume(queue, (message) => onMessage(channel, message));
    log.info("Subscribed", { queue });
  }

  function onMessage(channel: Channel, message: ConsumeMessage | null): void {
    if (!message) return void closeChannel(channel); // the queue was deleted: connect and declare anew
    ready.push(receive(channel, message, new Date()));
    wakeUp();
  }

  /** What a dead channel delivered cannot be acked any more; the broker delivers it again. */
  function forget(channel: Channel): void {
    if (current === channel) current = null;
    ready = ready.filter((delivery) => delivery.channel !== channel);
    later = later.filter((delivery) => delivery.channel !== channel);
  }

  function moveDueToReady(): void {
    if (later.length === 0) return;
    const now = performance.now();
    ready = [...later.filter((delivery) => delivery.dueMs <= now), ...ready];
    later = later.filter((delivery) => delivery.dueMs > now);
  }

  function untilWork(): Promise<void> {
    return new Promise((resolve) => {
      const dueIn = later.length > 0 ? Math.min(...later.map((d) => d.dueMs)) - performance.now() : null;
      const timer = dueIn === null ? undefined : setTimeout(() => wakeUp(), Math.max(dueIn, 0));
      wakeUp = () => {
        clearTimeout(timer);
        wakeUp = () => {};
        resolve();
      };
    });
  }

  /** The database being away is no message's fault and spends no retries. */
  const patiently = <T>(work: () => Promise<T>) =>
    retryWhileUnavailable(work, { log, stop: stopping.signal, passes: passesInTime });

  async function settle(batch: readonly Delivery[]): Promise<void> {
    const startedMs = performance.now();
    for (const delivery of batch) delivery.takenUpMs ||= startedMs;
    const endBatch = options.spans?.takeUp(batch);
    const verdicts = await patiently(() => judgeBatch(batch, options.types, options.handle));
    const settled: Delivery[] = [];
    const retries: NewRetry[] = [];
    const letters: NewDeadLetter[] = [];
    for (const [delivery, verdict] of verdicts) {
      const step = stepOf(delivery, verdict);
      if (step.kind === "look-again") lookAgain(delivery, step.delayMs);
      else settled.push(delivery);
      const retry = step.kind === "retry" ? retryOf(delivery, queue, step) : undefined;
      if (retry) retries.push(retry);
      if (step.kind === "dead-letter") letters.push(deadLetterOf(delivery, queue, step));
      options.spans?.settle(delivery, verdict, step);
    }
    if (letters.length > 0) await patiently(() => options.keepDeadLetters(letters));
    if (retries.length > 0) await patiently(() => options.keepRetries(retries));
    ackDeliveries(settled, [...ready, ...later]);
    endBatch?.();
    const tookMs = performance.now() - startedMs;
    logBatch(log, verdicts, letters, tookMs);
    if (settled.length > 0) {
      options.onBatch?.(countBatch([...verdicts.values()], retries.length, letters.length));
      options.onSettled?.({ verdicts, settled, retries: retries.length, letters, tookMs });
    }
  }

  /** Settles a message that may be the one that kills its worker: it is alone, and the attempt is on record first. */
  async function settleSuspect(delivery: Delivery): Promise<void> {
    const { content } = delivery.message;
    const startedMs = performance.now();
    const attempts = await patiently(() => options.suspects.count(content));
    if (attempts <= MAX_SUSPECT_ATTEMPTS) await settle([delivery]);
    else {
      const detail = `its worker died each time: taken up alone ${
        attempts - 1
      } times, returned ${delivery.returns} times`;
      const verdict: Verdict = { kind: "rejected", reason: "kills its worker", detail };
      const endBatch = options.spans?.takeUp([delivery]);
      const letter = deadLetterOf(delivery, queue, verdict);
      await patiently(() => options.keepDeadLetters([letter]));
      ackDeliveries([delivery], [...ready, ...later]);
      options.spans?.settle(delivery, verdict, { ...verdict, kind: "dead-letter" });
      endBatch?.();
      logBatch(log, new Map(), [letter], 0);
      options.onBatch?.(countBatch([], 0, 1));
      const verdicts = new Map([[delivery, verdict]]);
      const tookMs = performance.now() - startedMs;
      options.onSettled?.({ verdicts, settled: [delivery], retries: 0, letters: [letter], tookMs });
    }
    await patiently(() => options.suspects.clear(content));
  }

  function stepOf({ past, looks, takenUpMs }: Delivery, verdict: Verdict) {
    const inHandMs = performance.now() - takenUpMs;
    const ageMs = Date.now() - past.firstSeenAt.getTime();
    return nextStep(
      verdict,
      { retries: past.retries, looks, inHandMs, ageMs },
      options.patience,
      Math.random(),
    );
  }

  function lookAgain(delivery: Delivery, delayMs: number): void {
    if (delivery.channel !== current) return; // it was in hand when its channel went; it comes again on the next one
    delivery.dueMs = performance.now() + delayMs;
    delivery.looks++;
    later.push(delivery);
  }

  async function run(): Promise<void> {
    for (let collectMs = 0; !stopping.signal.aborted;) {
      moveDueToReady();
      if (ready.length === 0) {
        await untilWork();
        continue;
      }
      if (collectMs > 0 && ready.length < options.batchSize) {
        const ms = collectMs;
        collectMs = 0;
        await pause(ms, stopping.signal);
        continue; // they may have gone with their channel, and more are due
      }
      const batch = ready.splice(0, sizeOfNextBatch(ready, options.batchSize));
      collectMs = collectingMs(batch.length);
      const [suspect] = batch.filter(isSuspect);
      try {
        if (suspect) await settleSuspect(suspect);
        else await settle(batch);
      } catch (error) {
        if (stopping.signal.aborted) return; // not acked: delivered again to whoever comes next
        throw error;
      }
    }
  }

  const connection = await connectBroker({ url: options.url, name: queue, log, setup: subscribe });
  const running = run();
  running.catch(() => {}); // told to whoever awaits it; nobody has to before it is stopped
  return {
    connection,
    running,
    async stop() {
      stopping.abort();
      wakeUp();
      await running;
      // Closing the channel waits for the broker, behind the last acks; closing the connection at once drops them.
      if (current) await within(CLOSE_MS, closeChannel(current));
      await connection.close();
    },
  };
}

/** How long to collect after a batch of `size` messages, in milliseconds. */
function collectingMs(size: number): number {
  return size < FEW ? 0 : Math.max(size * COLLECT_MS_PER_MESSAGE, MIN_COLLECT_MS);
}

function isSuspect({ returns }: Delivery): boolean {
  return returns >= SUSPECT_RETURNS;
}

/** Up to the first suspect, which is a batch of its own. */
function sizeOfNextBatch(ready: readonly Delivery[], batchSize: number): number {
  const suspect = ready.slice(0, batchSize).findIndex(isSuspect);
  return suspect < 0 ? batchSize : Math.max(suspect, 1);
}

/** Closes a channel, which may be closed already. */
async function closeChannel(channel: Channel): Promise<void> {
  try {
    await channel.close();
  } catch {
    // Closed by the broker, or gone with its connection.
  }
}

/** How often the broker is asked, in milliseconds. */
const SUBSCRIPTION_CHECK_MS = 5000;
/** So often in a row nobody may be subscribed: a queue that has just been made counts its consumers a moment later. */
const MAX_UNKNOWN = 2;

/**
 * Asks again and again with `countConsumers` how many consumers the queue has, every `checkMs` milliseconds, and calls
 * `onForgotten` when twice in a row it has none or there is no answer in that time. Answers with a function that ends it.
 */
export function watchSubscription(
  countConsumers: () => Promise<number>,
  onForgotten: () => void,
  checkMs = SUBSCRIPTION_CHECK_MS,
): () => void {
  let unknown = 0;
  let asking = false;
  const countUnknown = (isUnknown: boolean) => {
    unknown = isUnknown ? unknown + 1 : 0;
    if (unknown < MAX_UNKNOWN) return;
    unknown = 0;
    onForgotten();
  };
  const timer = setInterval(async () => {
    if (asking) return countUnknown(true);
    asking = true;
    const consumers = await countConsumers().catch(() => null); // a channel that is gone comes back by itself
    asking = false;
    countUnknown(consumers === 0);
  }, checkMs);
  return () => clearInterval(timer);
}
