// Where faults strike: around a consumer's handler and transactions, the provider, and the relay's publisher.

import { setTimeout as delay } from "node:timers/promises";
import type { Binding } from "../../shared/broker/connection.ts";
import type { Envelope, Received } from "../../shared/broker/message.ts";
import {
  type OutgoingMessage,
  type Publisher,
  type PublishOutcome,
  type Route,
  toQueue,
} from "../../shared/broker/publish.ts";
import type { HandleBatch } from "../../shared/broker/settle.ts";
import { type ArmedFault, FAULT_POINTS, type FaultPoint, type FaultTarget } from "../../shared/ops/faults.ts";
import { BEFORE_MARK, beforeCommit } from "../../shared/ops/holds.ts";
import { TransientError } from "../../shared/process/errors.ts";
import { aborted, pause } from "../../shared/process/stop.ts";
import { type Atomically, type Sql, type Transaction, transaction } from "../../shared/sql/connect.ts";
import type { PaymentProvider } from "../payments/provider.ts";
import type { Faults, Holds } from "./watch.ts";

/**
 * Makes the seams of the consumer named `consumer`: a transaction that may time out, or end the process before it commits,
 * and a handler that may end it after that. One batch is handled at a time, so a transaction is about the events of the
 * current batch. Where that is held, a transaction stops when all is written and nothing committed. Without faults both are
 * what they wrap.
 */
export function consumerSeams(
  sql: Sql,
  consumer: string,
  faults: Faults | null,
  holds: Pick<Holds, "isHeld" | "stopAt"> | null = null,
) {
  const part = beforeCommit(consumer);
  let current: readonly Received[] = [];
  const targetOf = (events: readonly Received[]) => ({
    consumers: [consumer],
    correlationIds: events.map(({ event }) => event.correlationId),
  });
  const atomically: Atomically = async (work) => {
    // A transaction around the statement costs two round trips more: only while something is armed.
    if (!faults || !holds?.isHeld(part) && !await faults.anyArmed()) return await work(sql);
    return await transaction(sql, async (tx) => {
      if (await faults.strike("database.timeout", targetOf(current))) await timeOut(tx);
      const result = await work(tx);
      await faults.crash("consumer.crash-before-commit", targetOf(current));
      await holds?.stopAt(part);
      return result;
    });
  };
  const handling = <E extends Envelope>(handle: HandleBatch<E>): HandleBatch<E> => {
    if (!faults) return handle;
    return async (events) => {
      current = events;
      const outcomes = await handle(events);
      const committed = events.filter((_, i) => outcomes[i]?.kind === "done");
      await faults.crash("consumer.crash-after-commit", targetOf(committed));
      return outcomes;
    };
  };
  return { atomically, handling };
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

/** Resolves after `ms` or with `signal`, unless the process has ended: one that stops meanwhile loses what it holds. */
function hold(ms: number, signal?: AbortSignal): Promise<void> {
  return delay(ms, undefined, { ref: false, signal }).catch(() => {});
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
  /** What is held back, with what is aborted when a later message of the same order has gone. */
  const held = new Map<OutgoingMessage, AbortController>();

  const consumersOf = (message: OutgoingMessage) =>
    bindings.filter(({ type }) => type === message.type).map(({ consumer }) => consumer);

  const takeDeliveryFault = async (message: OutgoingMessage): Promise<ArmedFault | null> => {
    const target = { ...targetOf([message]), consumers: consumersOf(message) };
    for (const point of DELIVERY_POINTS) {
      if (isHolding(point) && held.size >= MAX_HELD) continue;
      const fault = await faults.strike(point, target);
      if (!fault) continue;
      if (isHolding(point)) held.set(message, new AbortController());
      return fault;
    }
    return null;
  };

  /** Delivers a message as its fault has it. One for a single consumer leaves the others their copy as ever. */
  async function deliver(
    message: OutgoingMessage,
    { point, consumer, delayMs }: ArmedFault,
    route: Route,
    timeoutMs: number,
  ): Promise<PublishOutcome> {
    const send = (to: Route) => publisher.publish([message], to, timeoutMs);
    const struck = consumer === null ? route : toQueue(consumer);
    const others = consumer === null ? [] : consumersOf(message).filter((other) => other !== consumer);
    const now = point === "delivery.duplicate" ? [route, struck] : others.map(toQueue);
    const failed = (await Promise.all(now.map(send))).find(({ confirmed }) => confirmed.length === 0);
    if (failed) {
      held.delete(message);
      return failed;
    }
    const sendLate = async (overtaken: AbortSignal) => {
      if (point === "delivery.reordered") await hold(MAX_HOLD_MS, overtaken);
      await hold(delayMs ?? FAULT_POINTS[point].delayMs ?? 0);
      held.delete(message);
      await send(struck);
    };
    const place = held.get(message);
    if (place) void sendLate(place.signal);
    return { confirmed: [message.id], refused: [], unknown: [], offence: null };
  }

  return {
    async publish(messages, route, timeoutMs) {
      if (held.size === 0 && !holds?.isHeld(BEFORE_MARK) && !await faults.anyArmed()) {
        return await publisher.publish(messages, route, timeoutMs);
      }
      await faults.crash("relay.crash-before-publish", targetOf(messages));
      const struck = new Map<OutgoingMessage, ArmedFault>();
      for (const message of messages) {
        const fault = await takeDeliveryFault(message);
        if (fault) struck.set(message, fault);
      }
      const isCut = await faults.strike("relay.connection-lost", targetOf(messages)) !== null;
      const sending = [
        publisher.publish(messages.filter((message) => !struck.has(message)), route, timeoutMs),
        ...[...struck].map(([message, fault]) => deliver(message, fault, route, timeoutMs)),
      ];
      if (isCut) cut();
      const outcomes = await Promise.all(sending);
      const confirmed = outcomes.flatMap(({ confirmed }) => confirmed);
      const ids = new Set(confirmed);
      const gone = messages.filter(({ id }) => ids.has(id));
      await faults.crash("relay.crash-after-confirm", targetOf(gone));
      const behind = gone.filter((message) => !struck.has(message));
      const orders = new Set(behind.map(({ correlationId }) => correlationId));
      for (const [{ correlationId }, place] of held) if (orders.has(correlationId)) place.abort();
      await holds?.stopAt(BEFORE_MARK);
      return {
        confirmed,
        refused: outcomes.flatMap(({ refused }) => refused),
        unknown: outcomes.flatMap(({ unknown }) => unknown),
        offence: outcomes.find(({ offence }) => offence !== null)?.offence ?? null,
      };
    },
  };
}

function targetOf(messages: readonly OutgoingMessage[]): FaultTarget {
  return { consumers: [], correlationIds: messages.flatMap(({ correlationId }) => correlationId ?? []) };
}
