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
import type { Faults, Holds } from "./watch.ts";
import { BEFORE_MARK, beforeCommit } from "../../shared/ops/holds.ts";
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
  readonly atomically: Atomically;
  handling<E extends Envelope>(handle: HandleBatch<E>): HandleBatch<E>;
}

/**
 * Makes the seams of the consumer named `consumer`: a transaction that may time out, or end the process before it commits,
 * and a handler that may end it after that. One batch is handled at a time, so a transaction is about the events of the
 * current batch. Where that is held, a transaction stops when all is written and nothing committed.
 */
export function consumerSeams(
  sql: Sql,
  consumer: string,
  faults: Faults | null,
  holds: Pick<Holds, "isHeld" | "stopAt"> | null = null,
): ConsumerSeams {
  if (!faults) return { atomically: atomicallyOn(sql), handling: (handle) => handle };
  const part = beforeCommit(consumer);
  let current: readonly Received[] = [];
  const targetOf = (events: readonly Received[]) => ({
    consumers: [consumer],
    correlationIds: events.map(({ event }) => event.correlationId),
  });
  return {
    async atomically(work) {
      // A transaction around the statement costs two round trips more: only while something is armed.
      if (!holds?.isHeld(part) && !await faults.anyArmed()) return await work(sql);
      return await transaction(sql, async (tx) => {
        if (await faults.strike("database.timeout", targetOf(current))) await timeOut(tx);
        const result = await work(tx);
        await faults.crash("consumer.crash-before-commit", targetOf(current));
        await holds?.stopAt(part);
        return result;
      });
    },
    handling: (handle) => async (events) => {
      current = events;
      try {
        const outcomes = await handle(events);
        const committed = events.filter((_, i) => outcomes[i]?.kind === "done");
        await faults.crash("consumer.crash-after-commit", targetOf(committed));
        return outcomes;
      } finally {
        current = [];
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

  const before = async (
    { metadata }: { readonly metadata: { readonly correlationId: string } },
    signal: AbortSignal,
  ): Promise<void> => {
    if (!await faults.anyArmed()) return;
    const target = { consumers: [consumer], correlationIds: [metadata.correlationId] };
    if (await faults.strike("provider.failing", target)) {
      throw new TransientError("the payment provider cannot now");
    }
    if (await faults.strike("provider.timeout", target)) await aborted(signal);
    const slow = await faults.strike("provider.slow", target);
    if (slow) await pause(slow.delayMs ?? FAULT_POINTS["provider.slow"].delayMs, signal);
    signal.throwIfAborted();
  };
  return {
    charge: (request, signal) => before(request, signal).then(() => provider.charge(request, signal)),
    refund: (request, signal) => before(request, signal).then(() => provider.refund(request, signal)),
  };
}

const DELIVERY_POINTS = [
  "delivery.lost",
  "delivery.delayed",
  "delivery.reordered",
  "delivery.duplicate",
] as const satisfies readonly FaultPoint[];

const isHolding = (point: FaultPoint) => point === "delivery.delayed" || point === "delivery.reordered";

/** Messages that are held back at once; a fault beyond them does not strike. */
export const MAX_HELD = 1000;
/** How long a reordered message waits for a later one; then it goes anyway. */
const MAX_HOLD_MS = 10_000;

/** Runs `then` after `ms`, unless the process has ended: one that stops meanwhile loses what it holds. */
function later(ms: number, then: () => void): ReturnType<typeof setTimeout> {
  const timer = setTimeout(then, ms);
  Deno.unrefTimer(timer);
  return timer;
}

/**
 * A publisher that obeys what is armed; without faults the one it wraps. What is held back has been reported as
 * confirmed, as a broker would: a relay that ends meanwhile loses it, and reconciliation puts that right. `cut` takes the
 * connection away. Where that is held, the answer is kept back: the broker has confirmed, and nothing is marked yet.
 */
export function withPublisherFaults(
  publisher: Publisher,
  { faults, holds = null, bindings, cut }: {
    readonly faults: Faults | null;
    readonly holds?: Pick<Holds, "isHeld" | "stopAt"> | null;
    readonly bindings: readonly Binding[];
    readonly cut: () => void;
  },
): Publisher {
  if (!faults) return publisher;
  /** What is held back, with what lets a message go that waits for a later one. */
  const held = new Map<OutgoingMessage, (() => void) | null>();

  const consumersOf = (message: OutgoingMessage) =>
    bindings.filter(({ type }) => type === message.type).map(({ consumer }) => consumer);

  async function deliveryFault(message: OutgoingMessage): Promise<ArmedFault | null> {
    const target = { ...targetOf([message]), consumers: consumersOf(message) };
    for (const point of DELIVERY_POINTS) {
      if (isHolding(point) && held.size >= MAX_HELD) continue;
      const fault = await faults?.strike(point, target);
      if (!fault) continue;
      if (isHolding(point)) held.set(message, null);
      return fault;
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
    const send = (to: Route) => publisher.publish([message], to, timeoutMs);
    const struck = consumer === null ? route : toQueue(consumer);
    const others = consumersOf(message).filter((other) => consumer !== null && other !== consumer).map(
      toQueue,
    );
    const outcomes = await Promise.all((point === "delivery.duplicate" ? [route, struck] : others).map(send));
    const failed = outcomes.find(({ confirmed }) => confirmed.length === 0);
    if (failed) {
      held.delete(message);
      return failed;
    }
    const sendLate = () =>
      later(delayMs ?? FAULT_POINTS[point].delayMs ?? 0, () => {
        held.delete(message);
        void send(struck);
      });
    if (point === "delivery.delayed") sendLate();
    if (point === "delivery.reordered") {
      const release = () => {
        clearTimeout(timer);
        held.set(message, null);
        sendLate();
      };
      const timer = later(MAX_HOLD_MS, release);
      held.set(message, release);
    }
    return { confirmed: [message.id], refused: [], unknown: [], offence: null };
  }

  function releaseBehind(gone: readonly OutgoingMessage[]): void {
    const ids = new Set(gone.map(({ correlationId }) => correlationId));
    for (const [{ correlationId }, release] of held) if (ids.has(correlationId)) release?.();
  }

  return {
    async publish(messages, route, timeoutMs) {
      if (held.size === 0 && !holds?.isHeld(BEFORE_MARK) && !await faults.anyArmed()) {
        return await publisher.publish(messages, route, timeoutMs);
      }
      await faults.crash("relay.crash-before-publish", targetOf(messages));
      const struck = new Map<OutgoingMessage, ArmedFault>();
      for (const message of messages) {
        const fault = await deliveryFault(message);
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
      await holds?.stopAt(BEFORE_MARK);
      return outcome;
    },
  };
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
