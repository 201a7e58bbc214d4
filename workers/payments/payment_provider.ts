/**
 * The payment provider as the payments module sees it. A real one fits behind this interface.
 *
 * @module
 */
import { messageOf, TransientError } from "../../shared/errors.ts";
import type { Atomically, Sql } from "../../shared/sql/connect.ts";
import type { OutboxWaker } from "../../shared/sql/outbox_wakeup.ts";

/** The variables that say how the provider is called. */
export const PROVIDER_VARIABLES = [
  "PAYMENT_PROVIDER_TIMEOUT_MS",
  "PAYMENT_PROVIDER_CONCURRENCY",
  "PAYMENT_PROVIDER_LATENCY_MS",
] as const;

/** A charge. */
export interface ChargeRequest {
  /** The provider makes one charge per key, however often it is asked; the order's id, so one per order. */
  readonly idempotencyKey: string;
  /** A decimal string of two places. */
  readonly amount: string;
  /** What the provider keeps beside the charge. */
  readonly metadata: { readonly orderId: string; readonly courseId: string; readonly correlationId: string };
  /** W3C trace context, to be sent along as the header of that name; null where `fetch` does so by itself. */
  readonly traceparent: string | null;
}

/** The provider's answer: it charged, or it refused for good. A refusal is an outcome, not an error. */
export type ChargeResult =
  | { readonly kind: "charged"; readonly reference: string }
  | { readonly kind: "declined"; readonly reason: string };

/** A refund of a whole charge. */
export interface RefundRequest {
  /** One refund per key; the payment's id. */
  readonly idempotencyKey: string;
  /** The reference of the charge. */
  readonly chargeReference: string;
  /** The whole charge: a decimal string of two places. */
  readonly amount: string;
  /** What the provider keeps beside the refund. */
  readonly metadata: { readonly orderId: string; readonly correlationId: string };
  /** W3C trace context, to be sent along as the header of that name; null where `fetch` does so by itself. */
  readonly traceparent: string | null;
}

/**
 * A payment provider. Its calls reject when no answer came: with a `TransientError` where asking again may help. They
 * obey `signal`.
 */
export interface PaymentProvider {
  /** Charges, or says why not. */
  charge(request: ChargeRequest, signal: AbortSignal): Promise<ChargeResult>;
  /** Gives a charge back; answers with the refund's reference. */
  refund(request: RefundRequest, signal: AbortSignal): Promise<{ readonly reference: string }>;
}

/** What a bounded call came to. */
export type Answered<T> = { readonly ok: true; readonly value: T } | {
  readonly ok: false;
  readonly error: string;
};

/**
 * Calls the provider with a time-out, or until `stop` is aborted. What may pass (`TransientError`, the time-out) becomes
 * an answer, so that one slow call does not fail its batch.
 *
 * Errors: whatever else `call` rejects with.
 */
export async function callProvider<T>(
  call: (signal: AbortSignal) => Promise<T>,
  timeoutMs: number,
  stop: AbortSignal,
): Promise<Answered<T>> {
  const late = new AbortController();
  // Not AbortSignal.timeout(), which lives on until its time is up: thousands of them in a second are what fills the heap.
  const timer = setTimeout(() => late.abort(), timeoutMs);
  const signal = AbortSignal.any([late.signal, stop]);
  try {
    return { ok: true, value: await call(signal) };
  } catch (error) {
    if (signal.aborted) {
      return { ok: false, error: `the payment provider did not answer within ${timeoutMs} ms` };
    }
    if (error instanceof TransientError) return { ok: false, error: messageOf(error) };
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** What the handlers of the payments module are made of. */
export interface PaymentDeps {
  /** A pool that may write `payments`, the inbox and the outbox. */
  readonly sql: Sql;
  /** Runs a statement that may write the same. */
  readonly atomically: Atomically;
  /** The consumer's name, for the inbox. */
  readonly consumer: string;
  /** Wakes the relay after a batch that recorded something. */
  readonly waker: OutboxWaker;
  /** Who charges and refunds. */
  readonly provider: PaymentProvider;
  /** The most calls to the provider at once. */
  readonly concurrency: number;
  /** How long one call may take, in milliseconds. */
  readonly timeoutMs: number;
  /** Aborted when the process is asked to stop: calls under way are given up, and asked again by the next one. */
  readonly stop: AbortSignal;
}
