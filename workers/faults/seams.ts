/**
 * Where faults strike: around a consumer's handler and transactions, the provider, and the relay's publisher.
 *
 * @module
 */
import type { Envelope, Received } from "../../shared/broker/message.ts";
import type { HandleBatch } from "../../shared/broker/settle.ts";
import {
  type Atomically,
  atomicallyOn,
  type Sql,
  type Transaction,
  transaction,
} from "../../shared/sql/connect.ts";
import type { Faults } from "./armed.ts";
import { TransientError } from "../../shared/process/errors.ts";
import { type ArmedFault, FAULT_POINTS, type FaultPoint, type FaultTarget } from "../../shared/ops/faults.ts";
import { aborted, pause } from "../../shared/process/stop.ts";
import type { PaymentProvider } from "../payments/provider.ts";
import {
  type OutgoingMessage,
  type Publisher,
  type PublishOutcome,
  type Route,
  toQueue,
} from "../../shared/broker/publish.ts";
import type { Binding } from "../../shared/broker/connection.ts";

/** A consumer's seams. Without faults both are what they wrap. */
export interface ConsumerSeams {
  /** Runs a statement as a transaction of its own, which may time out, or end the process before it commits. */
  readonly atomically: Atomically;
  /** The handler: it may end the process after its transaction has committed. */
  handling<E extends Envelope>(handle: HandleBatch<E>): HandleBatch<E>;
}

/**
 * Makes the seams of the consumer named `consumer`. One batch is handled at a time, so a transaction is about the
 * events of the batch in hand.
 */
export function consumerSeams(sql: Sql, consumer: string, faults: Faults | null): ConsumerSeams {
  if (!faults) return { atomically: atomicallyOn(sql), handling: (handle) => handle };
  let inHand: readonly Received[] = [];
  const targetOf = (events: readonly Received[]) => ({
    consumers: [consumer],
    correlationIds: events.map(({ event }) => event.correlationId),
  });
  return {
    atomically: (work) =>
      transaction(sql, async (tx) => {
        if (await faults.strike("database.timeout", targetOf(inHand))) await timeOut(tx);
        const result = await work(tx);
        await faults.crash("consumer.crash-before-commit", targetOf(inHand));
        return result;
      }),
    handling: (handle) => async (events) => {
      inHand = events;
      try {
        const outcomes = await handle(events);
        const committed = events.filter((_, i) => outcomes[i]?.kind === "done");
        await faults.crash("consumer.crash-after-commit", targetOf(committed));
        return outcomes;
      } finally {
        inHand = [];
      }
    },
  };
}

/** Has the database cancel a statement: the very error of a real time-out, with a transaction that is broken by it. */
async function timeOut(tx: Transaction): Promise<void> {
  await tx`set local statement_timeout = '1ms'`;
  await tx`select pg_sleep(1)`;
}

/** A provider that is slow, failing or silent where that is armed for `consumer`; without faults the one it wraps. */
export function withProviderFaults(
  provider: PaymentProvider,
  consumer: string,
  faults: Faults | null,
): PaymentProvider {
  if (!faults) return provider;

  async function before(correlationId: string, signal: AbortSignal): Promise<void> {
    if (!await faults?.anyArmed()) return;
    const target = { consumers: [consumer], correlationIds: [correlationId] };
    if (await faults?.strike("provider.failing", target)) {
      throw new TransientError("the payment provider cannot now");
    }
    if (await faults?.strike("provider.timeout", target)) await aborted(signal);
    const slow = await faults?.strike("provider.slow", target);
    if (slow) await pause(slow.delayMs ?? FAULT_POINTS["provider.slow"].delayMs, signal);
    signal.throwIfAborted();
  }

  return {
    async charge(request, signal) {
      await before(request.metadata.correlationId, signal);
      return await provider.charge(request, signal);
    },
    async refund(request, signal) {
      await before(request.metadata.correlationId, signal);
      return await provider.refund(request, signal);
    },
  };
}

/** What the seam is made of. */
export interface PublisherSeam {
  /** What is armed; null where faults are off. */
  readonly faults: Faults | null;
  /** Who gets which types of event. */
  readonly bindings: readonly Binding[];
  /** Takes the connection away. */
  readonly cut: () => void;
}

/** Messages that are held back at once; a fault beyond them does not strike. */
const MAX_HELD = 1000;
/** How long a reordered message waits for a later one, in milliseconds; then it goes anyway. */
const MAX_HOLD_MS = 10_000;

const DELIVERY_POINTS = [
  "delivery.lost",
  "delivery.delayed",
  "delivery.reordered",
  "delivery.duplicate",
] as const satisfies readonly FaultPoint[];

interface Held {
  readonly correlationId: string | null;
  /** Has it sent. */
  readonly release: () => void;
}

/**
 * A publisher that obeys what is armed; without faults the one it wraps. What is held back has been reported as
 * confirmed, as a broker would: a relay that ends meanwhile loses it, and reconciliation puts that right.
 */
export function withPublisherFaults(
  publisher: Publisher,
  { faults, bindings, cut }: PublisherSeam,
): Publisher {
  if (!faults) return publisher;
  const reordered = new Set<Held>();
  let held = 0;

  const consumersOf = (message: OutgoingMessage) =>
    bindings.filter(({ type }) => type === message.type).map(({ consumer }) => consumer);

  async function publish(
    messages: readonly OutgoingMessage[],
    route: Route,
    timeoutMs: number,
  ): Promise<PublishOutcome> {
    if (!faults || (reordered.size === 0 && !await faults.anyArmed())) {
      return await publisher.publish(messages, route, timeoutMs);
    }
    await faults.crash("relay.crash-before-publish", targetOf(messages));
    const struck = new Map<OutgoingMessage, ArmedFault>();
    for (const message of messages) {
      const fault = await deliveryFault(faults, message);
      if (fault) struck.set(message, fault);
    }
    const isCut = await faults.strike("relay.connection-lost", targetOf(messages)) !== null;
    const sending = [
      publisher.publish(messages.filter((message) => !struck.has(message)), route, timeoutMs),
      ...[...struck].map(([message, fault]) => deliver(message, fault, route, timeoutMs)),
    ];
    if (isCut) cut();
    const outcome = merged(await Promise.all(sending));
    const confirmed = new Set(outcome.confirmed);
    const gone = messages.filter(({ id }) => confirmed.has(id));
    await faults.crash("relay.crash-after-confirm", targetOf(gone));
    releaseBehind(gone.filter((message) => !struck.has(message)));
    return outcome;
  }

  async function deliveryFault(faults: Faults, message: OutgoingMessage): Promise<ArmedFault | null> {
    const target = { ...targetOf([message]), consumers: consumersOf(message) };
    for (const point of DELIVERY_POINTS) {
      const holds = point === "delivery.delayed" || point === "delivery.reordered";
      if (holds && held + reordered.size >= MAX_HELD) continue;
      const fault = await faults.strike(point, target);
      if (fault) return fault;
    }
    return null;
  }

  /** Delivers a message as its fault has it. One for a single consumer leaves the others their copy as ever. */
  async function deliver(
    message: OutgoingMessage,
    { point, consumer, delayMs }: ArmedFault,
    route: Route,
    timeoutMs: number,
  ): Promise<PublishOutcome> {
    const others = consumersOf(message).filter((other) => other !== consumer).map(toQueue);
    const struck = consumer === null ? route : toQueue(consumer);
    const send = (to: Route) => publisher.publish([message], to, timeoutMs);
    const outcomes = await Promise.all(
      point === "delivery.duplicate"
        ? [send(route), send(struck)]
        : consumer === null
        ? []
        : others.map(send),
    );
    const failed = outcomes.find(({ confirmed }) => confirmed.length === 0);
    if (failed) return failed;
    const wait = delayMs ?? FAULT_POINTS[point].delayMs ?? 0;
    const late = () => void send(struck);
    if (point === "delivery.delayed") hold(wait, late);
    if (point === "delivery.reordered") holdBehindLater(message.correlationId, () => hold(wait, late));
    return { confirmed: [message.id], refused: [], unknown: [], offence: null };
  }

  /** Runs `then` after `ms`. It keeps no process alive: one that stops meanwhile loses what it holds. */
  function hold(ms: number, then: () => void): void {
    held++;
    Deno.unrefTimer(setTimeout(() => {
      held--;
      then();
    }, ms));
  }

  /** Runs `then` once a later message of the correlation id has gone, or after a while. */
  function holdBehindLater(correlationId: string | null, then: () => void): void {
    const release = () => {
      clearTimeout(timer);
      reordered.delete(one);
      then();
    };
    const one = { correlationId, release };
    const timer = setTimeout(release, MAX_HOLD_MS);
    Deno.unrefTimer(timer);
    reordered.add(one);
  }

  function releaseBehind(gone: readonly OutgoingMessage[]): void {
    const ids = new Set(gone.map(({ correlationId }) => correlationId));
    for (const one of reordered) {
      if (ids.has(one.correlationId)) one.release();
    }
  }

  return { publish };
}

function targetOf(messages: readonly OutgoingMessage[]): FaultTarget {
  return { consumers: [], correlationIds: messages.flatMap(({ correlationId }) => correlationId ?? []) };
}

function merged(outcomes: readonly PublishOutcome[]): PublishOutcome {
  return {
    confirmed: outcomes.flatMap(({ confirmed }) => confirmed),
    refused: outcomes.flatMap(({ refused }) => refused),
    unknown: outcomes.flatMap(({ unknown }) => unknown),
    offence: outcomes.find(({ offence }) => offence !== null)?.offence ?? null,
  };
}
