/**
 * What happens to a message after a consumer has looked at it.
 *
 * @module
 */

/** What a consumer's handler says of one message. */
export type Verdict =
  /** Processed: its effects are committed. `note` says what it did, for the log. */
  | { readonly kind: "done"; readonly note?: string }
  /** Processed before: nothing changed. */
  | { readonly kind: "duplicate" }
  /** Legal, but not yet: what it builds on (`awaits`) has not been seen. */
  | { readonly kind: "early"; readonly awaits: string }
  /** What it needs from elsewhere is on its way, in this very process. */
  | { readonly kind: "waiting" }
  /** Its processing met something that passes. */
  | { readonly kind: "failed"; readonly error: string }
  /** It can never be processed. */
  | { readonly kind: "rejected"; readonly reason: string; readonly detail: string };

/** What is to be done with the message. */
export type NextStep =
  | { readonly kind: "ack" }
  /** Keep it in hand, and look at it again after `delayMs`. */
  | { readonly kind: "look-again"; readonly delayMs: number }
  /** Let go of it, and have it delivered once more after `delayMs`; `retries` are then spent. */
  | { readonly kind: "retry"; readonly delayMs: number; readonly retries: number; readonly error: string }
  | { readonly kind: "dead-letter"; readonly reason: string; readonly detail: string };

/**
 * How long an event that came too early is kept in hand and looked at every few milliseconds: what it builds on is on
 * its way through another queue, and mostly there at once. It takes up room among the unacked messages meanwhile.
 */
const EARLY_IN_HAND_MS = 1000;
const LOOK_AGAIN_MIN_MS = 2;
const LOOK_AGAIN_MAX_MS = 50;
/** An early event is delivered again after as long as it has waited already, but so long at most. */
const EARLY_RETRY_MAX_MS = 15_000;
const FIRST_RETRY_MS = 500;
const RETRY_FACTOR = 4;
const RETRY_MAX_MS = 60_000;

/** What is known of the message's past. */
export interface Attempts {
  /** Retries spent so far. */
  readonly retries: number;
  /** Looks at it since it was delivered. */
  readonly looks: number;
  /** Milliseconds since this delivery was first looked at. */
  readonly inHandMs: number;
  /** Milliseconds since its consumer first looked at it, over all deliveries. */
  readonly ageMs: number;
}

/** How patient a consumer is. */
export interface Patience {
  /** How often a message that fails is tried again; 0 is never. */
  readonly maxRetries: number;
  /** How old, in milliseconds, an event that comes too early may become before its retries are spent. */
  readonly earlyMs: number;
}

/** Decides the next step of a message. `random` is from [0, 1) and spreads the delays of many by a fifth each way. */
export function nextStep(verdict: Verdict, past: Attempts, patience: Patience, random: number): NextStep {
  switch (verdict.kind) {
    case "done":
    case "duplicate":
      return { kind: "ack" };
    case "rejected":
      return { kind: "dead-letter", reason: verdict.reason, detail: verdict.detail };
    case "waiting":
      return lookAgain(past.looks);
    case "early":
      return stepOfEarly(`too early, awaits ${verdict.awaits}`, past, patience, random);
    case "failed":
      return retryOrGiveUp("retries exhausted", verdict.error, past, patience, random);
    default:
      return verdict satisfies never;
  }
}

function stepOfEarly(error: string, past: Attempts, patience: Patience, random: number): NextStep {
  const { retries, looks, inHandMs, ageMs } = past;
  if (inHandMs < EARLY_IN_HAND_MS) return lookAgain(looks);
  if (ageMs >= patience.earlyMs) return retryOrGiveUp("too early", error, past, patience, random);
  return { kind: "retry", delayMs: spread(Math.min(ageMs, EARLY_RETRY_MAX_MS), random), retries, error };
}

function lookAgain(looks: number): NextStep {
  return { kind: "look-again", delayMs: Math.min(LOOK_AGAIN_MIN_MS * 2 ** looks, LOOK_AGAIN_MAX_MS) };
}

function retryOrGiveUp(
  reason: string,
  error: string,
  { retries }: Attempts,
  { maxRetries }: Patience,
  random: number,
): NextStep {
  if (retries < maxRetries) {
    return { kind: "retry", delayMs: retryDelayMs(retries, random), retries: retries + 1, error };
  }
  return { kind: "dead-letter", reason, detail: error };
}

/** The delay before retry number `retries` + 1: 0.5 s, 2 s, 8 s, …, at most a minute, give or take a fifth. */
export function retryDelayMs(retries: number, random: number): number {
  return spread(Math.min(FIRST_RETRY_MS * RETRY_FACTOR ** retries, RETRY_MAX_MS), random);
}

function spread(delayMs: number, random: number): number {
  return Math.round(delayMs * (0.8 + 0.4 * random));
}
