// The payment provider as the payments module sees it, and a fake one.

import { SpanKind } from "@opentelemetry/api";
import { messageOf } from "../../shared/process/errors.ts";
import { pause } from "../../shared/process/stop.ts";
import { failSpan, ORDER_ID, runUnder, startSpanUnder, type Tracer } from "../../shared/process/tracing.ts";
import { RESERVED_COURSES } from "../../shared/scenarios.ts";
import type { HandlerDeps } from "../consumer.ts";
import { withProviderFaults } from "../faults/seams.ts";
import type { PaymentDeps } from "./ask_provider.ts";

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

async function think(ms: number, signal: AbortSignal): Promise<void> {
  if (ms === 0) return;
  await pause(ms, signal);
  signal.throwIfAborted();
}

/** Adds the provider to what every handler gets: the fake one, called as the configuration says. */
export function paymentDeps(
  { sql, inbox, stop, faults, tracer, config }: HandlerDeps<(typeof PROVIDER_VARIABLES)[number]>,
): PaymentDeps {
  const provider = createFakeProvider({ latencyMs: config.PAYMENT_PROVIDER_LATENCY_MS });
  return {
    sql,
    inbox,
    provider: withProviderSpans(withProviderFaults(provider, inbox.consumer, faults), tracer),
    concurrency: config.PAYMENT_PROVIDER_CONCURRENCY,
    timeoutMs: config.PAYMENT_PROVIDER_TIMEOUT_MS,
    stop,
  };
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
