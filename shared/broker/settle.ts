// What becomes of each delivery of a batch: its outcome, what is done next about it, and its ack.

import { bisect, isLockTimeout, kindOfError, messageOf } from "../process/errors.ts";
import type { Delivery, Envelope, Received } from "./message.ts";

/** The outcome of processing one message. */
export type Outcome =
  /** Processed: its effects are committed. `note` says what it did, for the log. */
  | { readonly kind: "done"; readonly note?: string }
  /** Processed before: nothing changed. */
  | { readonly kind: "duplicate" }
  /** Legal, but not yet: what it builds on (`awaits`) has not been seen. */
  | { readonly kind: "early"; readonly awaits: string }
  /** What it needs from elsewhere is on its way, in this very process. */
  | { readonly kind: "waiting" }
  /** Its processing met something that passes; where that is a lock, it is nobody's fault. */
  | { readonly kind: "failed"; readonly error: string; readonly isLocked?: boolean }
  /** It can never be processed. */
  | { readonly kind: "rejected"; readonly reason: string; readonly detail: string };

/**
 * Processes a batch of events in one transaction, and answers with the outcome of each, in their order. No event id
 * appears twice. When it throws, nothing of the batch may have been committed.
 */
export type HandleBatch<E extends Envelope = Envelope> = (
  events: readonly Received<E>[],
) => Promise<readonly Outcome[]>;

export type OfType<E extends Envelope, T extends E["type"]> = Extract<E, { readonly type: T }>;

export type Processable<E extends Envelope> = Pick<
  Delivery<E>,
  "parsed" | "traceparent" | "tracestate" | "retryState" | "mayBeRepeat"
>;

/**
 * Processes every delivery: what is no event, or none of `types`, is rejected; an event delivered twice in the batch is
 * handled first once, then as the repeat that it is; and a batch that fails is bisected until the event at fault stands
 * alone: one bad message harms only itself.
 *
 * Errors: only those of kind "outage", which are no message's fault.
 */
export async function processBatch<D extends Processable<E>, E extends Envelope, T extends E["type"]>(
  batch: readonly (D & Processable<E>)[],
  types: readonly T[],
  handle: HandleBatch<OfType<E, T>>,
): Promise<Map<D, Outcome>> {
  const isExpected = (event: E): event is OfType<E, T> => types.some((type) => type === event.type);
  const outcomes = new Map<D, Outcome>();
  const first = new Map<string, { readonly delivery: D; readonly received: Received<OfType<E, T>> }>();
  const repeats: [repeat: D, original: D][] = [];
  for (const delivery of batch) {
    const { parsed, traceparent, tracestate, retryState, mayBeRepeat } = delivery;
    if (!parsed.ok) {
      outcomes.set(delivery, { kind: "rejected", reason: parsed.reason, detail: parsed.detail });
      continue;
    }
    const { event } = parsed;
    if (!isExpected(event)) {
      const detail = `${event.type} is not for this consumer`;
      outcomes.set(delivery, { kind: "rejected", reason: "unexpected type", detail });
      continue;
    }
    const original = first.get(event.eventId);
    if (original) repeats.push([delivery, original.delivery]);
    else {
      const received = { event, traceparent, tracestate, attempt: retryState.retries + 1, mayBeRepeat };
      first.set(event.eventId, { delivery, received });
    }
  }
  // What has failed before is tried apart: where that waits for a lock once more, what is fresh does not.
  const { fresh = [], tried = [] } = Object.groupBy(first.values(), ({ delivery: { retryState } }) => {
    return retryState.ageMs > 0 ? "tried" : "fresh";
  });
  for (const part of [fresh, tried]) {
    const results = await bisect(part.map(({ received }) => received), handle);
    results.forEach((result, i) => {
      const delivery = part[i]?.delivery;
      if (!delivery) return;
      outcomes.set(delivery, result.status === "fulfilled" ? result.value : outcomeOfError(result.reason));
    });
  }
  const absorbed: D[] = []; // the inbox counts them; a repeat of anything else shares its fate
  for (const [repeat, original] of repeats) {
    const outcome = outcomes.get(original);
    if (outcome?.kind === "done" || outcome?.kind === "duplicate") absorbed.push(repeat);
    else if (outcome) outcomes.set(repeat, outcome);
  }
  if (absorbed.length === 0) return outcomes;
  return new Map([...outcomes, ...await processBatch(absorbed, types, handle)]);
}

/** The outcome of an event whose handling failed although it was alone. Errors: an outage, which is none. */
function outcomeOfError(error: unknown): Outcome {
  const [kind, detail] = [kindOfError(error), messageOf(error)];
  if (kind === "outage") throw error;
  if (kind === "permanent") return { kind: "rejected", reason: "handler failed", detail };
  return { kind: "failed", error: detail, isLocked: isLockTimeout(error) };
}

export type NextStep =
  | { readonly kind: "ack" }
  /** Keep it unacked, and look at it again after `delayMs`. */
  | { readonly kind: "look-again"; readonly delayMs: number }
  /** Ack it, and have it delivered once more after `delayMs`; `retries` are then spent. */
  | { readonly kind: "retry"; readonly delayMs: number; readonly retries: number; readonly error: string }
  | { readonly kind: "dead-letter"; readonly reason: string; readonly detail: string };

/**
 * How long an event that came too early stays unacked and is looked at every few milliseconds: what it builds on is on
 * its way through another queue, and mostly there at once. It takes up room in the prefetch meanwhile.
 */
const EARLY_UNACKED_MS = 1000;
const LOOK_AGAIN_MIN_MS = 2;
const LOOK_AGAIN_MAX_MS = 50;
/** An early event is delivered again after as long as it has waited already, but no later than this. */
const EARLY_RETRY_MAX_MS = 15_000;
const FIRST_RETRY_MS = 500;
const RETRY_FACTOR = 4;
const RETRY_MAX_MS = 60_000;

/** What is known of a message when its next step is decided. */
export interface Attempts {
  /** Spent so far. */
  readonly retries: number;
  /** At this delivery, so far. */
  readonly looks: number;
  /** Since the first look at this delivery. */
  readonly unackedMs: number;
  /** Since the first look over all deliveries. */
  readonly ageMs: number;
}

export interface RetryPolicy {
  readonly maxRetries: number;
  /** How old an event that comes too early may become before its retries are spent. */
  readonly earlyMs: number;
}

/** Decides the next step of a message. `random` is from [0, 1) and spreads the delays of many by a fifth each way. */
export function nextStep(
  outcome: Outcome,
  { retries, looks, unackedMs, ageMs }: Attempts,
  { maxRetries, earlyMs }: RetryPolicy,
  random: number,
): NextStep {
  const lookAgain = (): NextStep => {
    return { kind: "look-again", delayMs: Math.min(LOOK_AGAIN_MIN_MS * 2 ** looks, LOOK_AGAIN_MAX_MS) };
  };
  /** After as long as it has waited already, but no later than `atMostMs`. */
  const retryUnspent = (error: string, atMostMs: number): NextStep => {
    return { kind: "retry", delayMs: spread(Math.min(ageMs, atMostMs), random), retries, error };
  };
  const retryOrGiveUp = (reason: string, error: string): NextStep => {
    if (retries >= maxRetries) return { kind: "dead-letter", reason, detail: error };
    return { kind: "retry", delayMs: retryDelayMs(retries, random), retries: retries + 1, error };
  };
  switch (outcome.kind) {
    case "done":
    case "duplicate":
      return { kind: "ack" };
    case "rejected":
      return { kind: "dead-letter", reason: outcome.reason, detail: outcome.detail };
    case "waiting":
      return lookAgain();
    case "early": {
      if (unackedMs < EARLY_UNACKED_MS) return lookAgain();
      const error = `too early, awaits ${outcome.awaits}`;
      return ageMs < earlyMs ? retryUnspent(error, EARLY_RETRY_MAX_MS) : retryOrGiveUp("too early", error);
    }
    case "failed":
      if (outcome.isLocked) return retryUnspent(outcome.error, RETRY_MAX_MS);
      return retryOrGiveUp("retries exhausted", outcome.error);
    default:
      return outcome satisfies never;
  }
}

/** The delay before retry number `retries` + 1: 0.5 s, 2 s, 8 s, …, at most a minute, give or take a fifth. */
export function retryDelayMs(retries: number, random: number): number {
  return spread(Math.min(FIRST_RETRY_MS * RETRY_FACTOR ** retries, RETRY_MAX_MS), random);
}

function spread(delayMs: number, random: number): number {
  return Math.round(delayMs * (0.8 + 0.4 * random));
}

/**
 * The acks for the delivery tags `settled` of a channel on which `outstanding` stay unacked: one for all that lie
 * below the lowest outstanding tag, one each for the rest. A quorum queue logs every ack as a command of its own, so a
 * batch that is settled whole should cost one. A `multiple` one is of its tag and of every lower one that is unacked.
 */
export function planAcks(settled: readonly number[], outstanding: readonly number[]) {
  const lowest = outstanding.reduce((low, tag) => Math.min(low, tag), Infinity);
  const below = settled.filter((tag) => tag < lowest);
  const top = below.reduce((high, tag) => Math.max(high, tag), 0);
  const rest = settled.filter((tag) => tag > lowest).map((tag) => ({ tag, multiple: false }));
  return below.length > 0 ? [{ tag: top, multiple: below.length > 1 }, ...rest] : rest;
}

type Acked = Pick<Delivery, "channel" | "message">;

/**
 * Acks what is settled; `outstanding` is what is not. On a channel that is gone this does nothing: the broker requeues,
 * and the inbox absorbs.
 */
export function ackDeliveries(settled: readonly Acked[], outstanding: readonly Acked[]): void {
  for (const [channel, ours] of Map.groupBy(settled, (delivery) => delivery.channel)) {
    const byTag = new Map(ours.map(({ message }) => [message.fields.deliveryTag, message]));
    const others = outstanding.filter((delivery) => delivery.channel === channel);
    for (const ack of planAcks([...byTag.keys()], others.map(({ message }) => message.fields.deliveryTag))) {
      const message = byTag.get(ack.tag);
      try {
        if (message) channel.ack(message, ack.multiple);
      } catch (error) {
        if (!(error instanceof Error) || error.name !== "IllegalOperationError") throw error;
      }
    }
  }
}
