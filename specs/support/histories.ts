/**
 * Histories of orders, generated: what is placed, what is delivered to whom, and who dies over it.
 *
 * @module
 */
import fc from "fast-check";
import type { Generator } from "./bad_messages.ts";
import { type Way, WAYS } from "./hand_broker.ts";

/** How an order is to go. */
export type Story = "success" | "declined" | "noSeat";

/** A consumer that is handed a batch: numbers that pick among what is there at that time. */
export interface Hand {
  /** Picks the consumer, among those for whom something waits. */
  readonly consumer: number;
  /** Pick messages that wait; one may be picked twice. */
  readonly pending: readonly number[];
  /** Pick messages that the consumer has acked. */
  readonly repeats: readonly number[];
  /** How the delivery goes. */
  readonly way: Way;
}

/** One step of a history: orders are placed, the relay runs, then some consumers get a batch each, all at once. */
export interface Step {
  /** The orders that are placed. */
  readonly place: readonly Story[];
  /** Whether the relay publishes what there is, and lives to mark it. */
  readonly relay: "works" | "dies" | "sleeps";
  /** The batches that are delivered at once; of two for the same consumer, each is for a copy of it. */
  readonly hands: readonly Hand[];
}

const weighted = <T>(...values: readonly (readonly [weight: number, value: T])[]) =>
  fc.oneof(...values.map(([weight, value]) => ({ weight, arbitrary: fc.constant(value) })));
const stories = fc.constantFrom<Story[]>("success", "declined", "noSeat");

const hand: Generator<Hand> = fc.record({
  consumer: fc.nat(5),
  pending: fc.array(fc.nat(20), { maxLength: 8, size: "max" }),
  repeats: fc.array(fc.nat(20), { maxLength: 2 }),
  way: weighted<Way>([5, WAYS[0]], [2, WAYS[1]], [1, WAYS[2]], [1, WAYS[3]]),
});

/** A history: the orders at its start, and what happens then. */
export interface History {
  /** How the orders are to go that are there from the start. */
  readonly first: readonly Story[];
  /** What happens to them, and to those that join them. */
  readonly steps: readonly Step[];
}

/** A generator of histories, of 20 steps at most. */
export const history: Generator<History> = fc.record({
  first: fc.array(stories, { minLength: 1, maxLength: 4 }),
  steps: fc.array(
    fc.record<Step>({
      place: fc.oneof({ weight: 4, arbitrary: fc.constant([]) }, fc.array(stories, { maxLength: 2 })),
      relay: weighted<Step["relay"]>([6, "works"], [1, "dies"], [2, "sleeps"]),
      hands: fc.array(hand, { minLength: 1, maxLength: 4, size: "max" }),
    }),
    { maxLength: 20, size: "max" },
  ),
});
