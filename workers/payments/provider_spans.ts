/**
 * Spans around the calls of the payment provider.
 *
 * @module
 */
import { SpanKind } from "@opentelemetry/api";
import { messageOf } from "../../shared/errors.ts";
import { failSpan, ORDER_ID, runUnder, startSpanUnder, type Tracer } from "../../shared/tracing.ts";
import type { ChargeRequest, PaymentProvider, RefundRequest } from "./payment_provider.ts";

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
