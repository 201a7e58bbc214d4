/**
 * The payment provider as the payments module sees it, a fake one, and calls that outlive their batch.
 *
 * @module
 */
import pLimit from "p-limit";
import { SpanKind } from "@opentelemetry/api";
import { messageOf, TransientError } from "../../shared/process/errors.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import type { Inbox } from "../../shared/sql/inbox.ts";
import { RESERVED_COURSES } from "../../shared/scenarios.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { failSpan, ORDER_ID, runUnder, startSpanUnder, type Tracer } from "../../shared/process/tracing.ts";

export const PROVIDER_VARIABLES = [
  "PAYMENT_PROVIDER_TIMEOUT_MS",
  "PAYMENT_PROVIDER_CONCURRENCY",
  "PAYMENT_PROVIDER_LATENCY_MS",
] as const;

interface ProviderRequest {
  /** The provider does one thing per key, however often it is asked. */
  readonly idempotencyKey: string;
  /** A decimal string of two places. */
  readonly amount: string;
  readonly metadata: { readonly orderId: string; readonly correlationId: string };
  /** W3C trace context, to be sent along as the header of that name; null where `fetch` does so by itself. */
  readonly traceparent: string | null;
}

/** A charge; its key is the order's id. */
export interface ChargeRequest extends ProviderRequest {
  readonly metadata: ProviderRequest["metadata"] & { readonly courseId: string };
}

/** A refund of a whole charge; its key is the payment's id. */
export interface RefundRequest extends ProviderRequest {
  readonly chargeReference: string;
}

/** The provider's answer: it charged, or it refused permanently. A refusal is an outcome, not an error. */
export type ChargeResult =
  | { readonly kind: "charged"; readonly reference: string }
  | { readonly kind: "declined"; readonly reason: string };

export interface Refunded {
  readonly reference: string;
}

/**
 * A payment provider. Its calls reject when no answer came: with a `TransientError` where asking again may help. They
 * obey `signal`.
 */
export interface PaymentProvider {
  charge(request: ChargeRequest, signal: AbortSignal): Promise<ChargeResult>;
  refund(request: RefundRequest, signal: AbortSignal): Promise<Refunded>;
}

export interface PaymentDeps extends PendingCallsOptions {
  readonly sql: Sql;
  readonly inbox: Inbox;
  readonly provider: PaymentProvider;
}

/**
 * Makes a provider that declines the reserved course for payment failures and charges everything else. Its references
 * are made from the idempotency key, so that, like a real one, it gives the same answer to the same key from every
 * process and after every crash.
 */
export function createFakeProvider(options: { readonly latencyMs: number }): PaymentProvider {
  return {
    async charge({ idempotencyKey, metadata }, signal) {
      await think(options.latencyMs, signal);
      if (metadata.courseId === RESERVED_COURSES.paymentFailure) {
        return { kind: "declined", reason: "card declined" };
      }
      return { kind: "charged", reference: `fake_charge_${idempotencyKey}` };
    },
    async refund({ idempotencyKey }, signal) {
      await think(options.latencyMs, signal);
      return { reference: `fake_refund_${idempotencyKey}` };
    },
  };
}

function think(ms: number, signal: AbortSignal): Promise<void> {
  if (ms === 0) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** The provider's answer, or why there is none for now. */
export type Answered<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: string };

export interface PendingCallsOptions {
  /** The most calls at once; the others wait for their turn. */
  readonly concurrency: number;
  readonly timeoutMs: number;
  /** Aborted, calls are given up and nothing is waited for any more: what has no answer goes back to the queue. */
  readonly stop: AbortSignal;
}

/** How long a batch waits for answers: most are there by then, and are recorded together. */
const BATCH_WAIT_MS = 100;
/** How long an answer is kept that nobody asks for any more, because its message went to another worker. */
const UNUSED_MS = 60_000;

interface Call<T> {
  readonly done: Promise<void>;
  result: PromiseSettledResult<Answered<T>> | null;
  settledAtMs: number;
}

/** Keeps calls under way, and answers that nobody has used yet. */
export function createPendingCalls<T>({ concurrency, timeoutMs, stop }: PendingCallsOptions) {
  const limit = pLimit(concurrency);
  const register = new Map<string, Call<T>>();

  function start(make: (signal: AbortSignal) => Promise<T>): Call<T> {
    const settle = (result: PromiseSettledResult<Answered<T>>) => {
      if (stop.aborted) return; // its time-out was cut short
      call.result = result;
      call.settledAtMs = performance.now();
    };
    const call: Call<T> = {
      done: limit(() => callBounded(make, timeoutMs, stop)).then(
        (value) => settle({ status: "fulfilled", value }),
        (reason) => settle({ status: "rejected", reason }),
      ),
      result: null,
      settledAtMs: Infinity,
    };
    return call;
  }

  function dropUnused(): void {
    const before = performance.now() - UNUSED_MS;
    for (const [key, { settledAtMs }] of register) if (settledAtMs < before) register.delete(key);
  }

  return {
    /**
     * Makes each of `calls` unless one with its key is under way or has its answer already; resolves with the answers that
     * are there after a moment, at once when all are. The other calls go on: ask again. What may pass (a `TransientError`,
     * the time-out) is an answer as well, so that one slow call does not fail its batch.
     *
     * Errors: what else a call rejected with.
     */
    async answers(
      calls: ReadonlyMap<string, (signal: AbortSignal) => Promise<T>>,
    ): Promise<Map<string, Answered<T>>> {
      dropUnused();
      for (const [key, make] of calls) if (!register.has(key)) register.set(key, start(make));
      const asked = [...calls.keys()].flatMap((key) => {
        const call = register.get(key);
        return call ? [{ key, call }] : [];
      });
      await withTimeout(BATCH_WAIT_MS, Promise.all(asked.map(({ call }) => call.done)));
      const found = new Map<string, Answered<T>>();
      for (const { key, call: { result } } of asked) {
        if (result?.status === "rejected") {
          register.delete(key);
          throw result.reason;
        }
        if (result) found.set(key, result.value);
      }
      return found;
    },
    /** Forgets answers that have been used: the next call with that key is a new one. */
    forget(keys: Iterable<string>): void {
      for (const key of keys) register.delete(key);
    },
  };
}

/** Calls with a time-out, or until `stop` is aborted. */
async function callBounded<T>(
  call: (signal: AbortSignal) => Promise<T>,
  timeoutMs: number,
  stop: AbortSignal,
): Promise<Answered<T>> {
  // Neither AbortSignal.timeout(), which lives on until its time is up, so that thousands of them in a second fill the
  // heap, nor AbortSignal.any(): a charge at rest took 0.32 ms with them, and takes 0.22.
  const ending = new AbortController();
  const end = () => ending.abort();
  const timer = setTimeout(end, timeoutMs);
  stop.addEventListener("abort", end, { once: true });
  if (stop.aborted) end();
  try {
    return { ok: true, value: await call(ending.signal) };
  } catch (error) {
    if (ending.signal.aborted) {
      return { ok: false, error: `the payment provider did not answer within ${timeoutMs} ms` };
    }
    if (error instanceof TransientError) return { ok: false, error: messageOf(error) };
    throw error;
  } finally {
    clearTimeout(timer);
    stop.removeEventListener("abort", end);
  }
}

/**
 * A provider whose calls have a span each, below that of the message that asks for them; without a tracer the one it
 * wraps. A card that is declined is an answer, not an error. The request has no trace context any more: under a span, the
 * runtime adds the header to what is fetched, and behind one that is there already.
 */
export function withProviderSpans(provider: PaymentProvider, tracer: Tracer | null): PaymentProvider {
  if (!tracer) return provider;
  return {
    charge: (request, signal) =>
      inSpan(tracer, "charge", request, (traced) => provider.charge(traced, signal)),
    refund: (request, signal) =>
      inSpan(tracer, "refund", request, (traced) => provider.refund(traced, signal)),
  };
}

async function inSpan<R extends ChargeRequest | RefundRequest, T>(
  tracer: Tracer,
  name: string,
  request: R,
  call: (request: R) => Promise<T>,
): Promise<T> {
  const attributes = { [ORDER_ID]: request.metadata.orderId };
  const span = startSpanUnder(tracer, request.traceparent, name, { kind: SpanKind.CLIENT, attributes });
  try {
    return await runUnder(span, () => call({ ...request, traceparent: null }));
  } catch (error) {
    failSpan(span, error instanceof Error ? error.name : "_OTHER", messageOf(error));
    throw error;
  } finally {
    span.end();
  }
}
