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
  /** Its processing met something that passes. */
  | { readonly kind: "failed"; readonly error: string }
  /** It can never be processed. */
  | { readonly kind: "rejected"; readonly reason: string; readonly detail: string };

/** What is to be done with the message. */
export type NextStep =
  | { readonly kind: "ack" }
  /** Keep it, and try it again after `delayMs`; `spent` when that counts as one of its retries. */
  | { readonly kind: "retry"; readonly delayMs: number; readonly spent: boolean }
  | { readonly kind: "dead-letter"; readonly reason: string; readonly detail: string };

/**
 * How long an event that came too early is looked at again every few milliseconds before its retries are spent: longer
 * than the other queue's worker takes to come back after a crash, or to catch up.
 */
export const EARLY_PATIENCE_MS = 60_000;

const EARLY_POLL_MIN_MS = 2;
const EARLY_POLL_MAX_MS = 50;
const FIRST_RETRY_MS = 500;
const RETRY_FACTOR = 4;

/** What is known of the message's past. */
export interface Attempts {
  /** Retries spent so far. */
  readonly retries: number;
  /** Looks at it that spent none. */
  readonly polls: number;
  /** Milliseconds since it was first looked at. */
  readonly ageMs: number;
}

/** Decides the next step of a message. `random` is from [0, 1) and spreads the retries of many by a fifth each way. */
export function nextStep(verdict: Verdict, past: Attempts, maxRetries: number, random: number): NextStep {
  switch (verdict.kind) {
    case "done":
    case "duplicate":
      return { kind: "ack" };
    case "rejected":
      return { kind: "dead-letter", reason: verdict.reason, detail: verdict.detail };
    case "early": {
      if (past.ageMs < EARLY_PATIENCE_MS) {
        const delayMs = Math.min(EARLY_POLL_MIN_MS * 2 ** past.polls, EARLY_POLL_MAX_MS);
        return { kind: "retry", delayMs, spent: false };
      }
      const detail = `still too early after ${past.retries} retries: awaits ${verdict.awaits}`;
      return retryOrGiveUp("too early", detail, past, maxRetries, random);
    }
    case "failed":
      return retryOrGiveUp("retries exhausted", verdict.error, past, maxRetries, random);
    default:
      return verdict satisfies never;
  }
}

function retryOrGiveUp(
  reason: string,
  detail: string,
  past: Attempts,
  maxRetries: number,
  random: number,
): NextStep {
  if (past.retries >= maxRetries) return { kind: "dead-letter", reason, detail };
  return { kind: "retry", delayMs: retryDelayMs(past.retries, random), spent: true };
}

/** The delay before retry number `retries` + 1: 0.5 s, 2 s, 8 s, …, at most a minute, give or take a fifth. */
export function retryDelayMs(retries: number, random: number): number {
  const delay = Math.min(FIRST_RETRY_MS * RETRY_FACTOR ** retries, 60_000);
  return Math.round(delay * (0.8 + 0.4 * random));
}
