/**
 * Consumes one queue in batches: what is waiting is settled together, acks follow the commit.
 *
 * @module
 */
import type { Channel, ChannelModel, ConsumeMessage } from "amqplib";
import { kindOfError, messageOf } from "../errors.ts";
import type { EventType } from "../events/catalog.ts";
import type { Logger } from "../log.ts";
import type { NewDeadLetter } from "../sql/dead_letters.ts";
import { pause, within } from "../stop.ts";
import { ackDeliveries } from "./ack.ts";
import { type BrokerConnection, CLOSE_MS, connectBroker, tieToConnection } from "./connect.ts";
import { declareTopology } from "./declare.ts";
import { deadLetterOf, type Delivery, receive } from "./delivery.ts";
import { type HandleBatch, judgeBatch } from "./judge_batch.ts";
import { logBatch } from "./log_batch.ts";
import { nextStep, type Verdict } from "./next_step.ts";
import type { Topology } from "./topology.ts";

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
  /** How often one message is tried again before it becomes a dead letter; 0 is never. */
  readonly maxRetries: number;
  /** The types of event that the consumer takes; any other is a dead letter. */
  readonly types: readonly T[];
  /** Processes a batch, and answers with a verdict on each of its events. */
  readonly handle: HandleBatch<T>;
  /** Keeps what is given up on. The message is acked only after this has resolved. */
  readonly keepDeadLetters: (letters: readonly NewDeadLetter[]) => Promise<void>;
  /** Tells which message it is that kills its worker. */
  readonly suspects: SuspectLedger;
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
 * A message that came back this often is taken up alone: a worker that dies takes the good name of all that it had in
 * its hands, and only alone can the one at fault be told. Well below 20, where RabbitMQ 4 drops a message by default.
 */
const SUSPECT_RETURNS = 3;
/** Taken up alone this often without being settled, it is the one. */
const MAX_SUSPECT_ATTEMPTS = 3;

const OUTAGE_BACKOFF_MIN_MS = 100;
const OUTAGE_BACKOFF_MAX_MS = 1000;

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
    tieToConnection(channel, model, log, () => forget(channel));
    await declareTopology(channel, options.topology);
    await channel.prefetch(Math.min(options.batchSize * 2, MAX_PREFETCH));
    current = channel;
    await channel.consume(queue, (message) => onMessage(channel, message));
    log.info("Subscribed", { queue });
  }

  function onMessage(channel: Channel, message: ConsumeMessage | null): void {
    if (!message) return void closeChannel(channel); // the queue was deleted: connect and declare anew
    ready.push(receive(channel, message));
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

  /** Runs `work`, again and again while the database is away: that is no message's fault and spends no retries. */
  async function throughOutages<T>(work: () => Promise<T>): Promise<T> {
    for (let backoffMs = OUTAGE_BACKOFF_MIN_MS, told = false;;) {
      try {
        const result = await work();
        if (told) log.info("The database is back");
        return result;
      } catch (error) {
        if (kindOfError(error) === "permanent" || stopping.signal.aborted) throw error;
        if (!told) {
          log.warning("The database cannot be used; pausing until it can", { error: messageOf(error) });
        }
        told = true;
        await pause(backoffMs, stopping.signal);
        backoffMs = Math.min(backoffMs * 2, OUTAGE_BACKOFF_MAX_MS);
      }
    }
  }

  async function settle(batch: readonly Delivery[]): Promise<void> {
    const startedMs = performance.now();
    for (const delivery of batch) delivery.firstSeenMs ||= startedMs;
    const verdicts = await throughOutages(() => judgeBatch(batch, options.types, options.handle));
    const settled: Delivery[] = [];
    const letters: NewDeadLetter[] = [];
    for (const [delivery, verdict] of verdicts) {
      const step = stepOf(delivery, verdict);
      if (step.kind === "retry") postpone(delivery, step.delayMs, step.spent);
      else settled.push(delivery);
      if (step.kind === "dead-letter") letters.push(deadLetterOf(delivery, queue, step));
    }
    if (letters.length > 0) await throughOutages(() => options.keepDeadLetters(letters));
    ackDeliveries(settled, [...ready, ...later]);
    logBatch(log, verdicts, letters, performance.now() - startedMs);
  }

  /** Settles a message that may be the one that kills its worker: it is alone, and the attempt is on record first. */
  async function settleSuspect(delivery: Delivery): Promise<void> {
    const { content } = delivery.message;
    const attempts = await throughOutages(() => options.suspects.count(content));
    if (attempts <= MAX_SUSPECT_ATTEMPTS) await settle([delivery]);
    else {
      const detail = `its worker died each time: taken up alone ${
        attempts - 1
      } times, returned ${delivery.returns} times`;
      const letter = deadLetterOf(delivery, queue, { reason: "kills its worker", detail });
      await throughOutages(() => options.keepDeadLetters([letter]));
      ackDeliveries([delivery], [...ready, ...later]);
      logBatch(log, new Map(), [letter], 0);
    }
    await throughOutages(() => options.suspects.clear(content));
  }

  function stepOf(delivery: Delivery, verdict: Verdict) {
    const { retries, polls, firstSeenMs } = delivery;
    const past = { retries, polls, ageMs: performance.now() - firstSeenMs };
    return nextStep(verdict, past, options.maxRetries, Math.random());
  }

  function postpone(delivery: Delivery, delayMs: number, spent: boolean): void {
    if (delivery.channel !== current) return; // it was in hand when its channel went; it comes again on the next one
    delivery.dueMs = performance.now() + delayMs;
    if (spent) delivery.retries++;
    else delivery.polls++;
    later.push(delivery);
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      moveDueToReady();
      if (ready.length === 0) {
        await untilWork();
        continue;
      }
      const batch = ready.splice(0, sizeOfNextBatch(ready, options.batchSize));
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
