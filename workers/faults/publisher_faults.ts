/**
 * Faults between the relay and the broker, and those of a broker that delivers twice, late, out of order or not at all.
 *
 * @module
 */
import {
  type OutgoingMessage,
  type Publisher,
  type PublishOutcome,
  type Route,
  toQueue,
} from "../../shared/broker/publish.ts";
import type { Binding } from "../../shared/broker/topology.ts";
import { FAULT_POINTS, type FaultPoint, type FaultTarget } from "../../shared/faults/fault_points.ts";
import type { ArmedFault } from "../../shared/sql/faults.ts";
import type { Faults } from "./armed_faults.ts";

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
