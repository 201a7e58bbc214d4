// The trace context that travels beside every event: the header `traceparent` of
// https://www.w3.org/TR/trace-context/#traceparent-header.

import type { Link, Span, SpanContext, SpanOptions, Tracer } from "@opentelemetry/api";
import { context, ProxyTracerProvider, ROOT_CONTEXT, SpanStatusCode, trace } from "@opentelemetry/api";
export type { Attributes, Link, Span, SpanOptions, Tracer } from "@opentelemetry/api";

/** Ids in lower-case hex, not all zero. */
type TraceContext = Pick<SpanContext, "traceId" | "spanId" | "traceFlags">;

/**
 * Version 00 ends with the flags; a later one may go on, and is read that far; ff is forbidden. What follows is kept as it
 * is, so it must be what a header and a column can hold: visible ASCII, and not much of it.
 */
const TRACEPARENT =
  /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-(?<!^00.*)[\x21-\x7e]{0,200})?$/;

/**
 * The `tracestate` that goes with a valid `traceparent`: what tracing systems say to one another, passed on as it is. Null
 * for what is none, or more than they may expect to be kept.
 */
export function tracestateOf(value: unknown): string | null {
  return typeof value === "string" && /^[\x20-\x7e]{1,512}$/.test(value) ? value : null;
}

/** Reads a `traceparent`; null for what is none. */
export function parseTraceparent(text: string | null): TraceContext | null {
  const [, traceId, spanId, flags] = TRACEPARENT.exec(text ?? "") ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return null;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) };
}

/** Writes a `traceparent` of version 00. */
export function formatTraceparent({ traceId, spanId, traceFlags }: TraceContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}

/** The trace id in a `traceparent`; null where there is none. */
export function traceIdOf(traceparent: string | null): string | null {
  return parseTraceparent(traceparent)?.traceId ?? null;
}

/**
 * The tracer of this process; null where the runtime records no traces. To be asked once, at the start: that cannot
 * change while a process lives. The runtime has read `OTEL_DENO` before any permission counts.
 */
export function findTracer(): Tracer | null {
  const provider = trace.getTracerProvider();
  // The placeholder that stands in until somebody registers a provider, which the runtime does before all else.
  return provider instanceof ProxyTracerProvider ? null : provider.getTracer("orderflow");
}

export const ORDER_ID = "orderflow.order.id";

/** Starts a span whose parent is the one that `traceparent` names; where it names none, the first of a new trace. */
export function startSpanUnder(
  tracer: Tracer,
  traceparent: string | null,
  name: string,
  options: SpanOptions,
): Span {
  const parent = parseTraceparent(traceparent);
  return parent
    ? tracer.startSpan(name, options, trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true }))
    : startRootSpan(tracer, name, options);
}

/** Starts a span that is the first of a trace of its own, whatever is under way. */
export function startRootSpan(tracer: Tracer, name: string, options: SpanOptions): Span {
  return tracer.startSpan(name, { ...options, root: true }, ROOT_CONTEXT);
}

/** Runs `work` so that what the runtime records in it, such as a `fetch`, comes below `span`. */
export function runUnder<T>(span: Span, work: () => T): T {
  return context.with(trace.setSpan(ROOT_CONTEXT, span), work);
}

/** The trace context of what `span` causes. */
export function traceparentOf(span: Span): string {
  return formatTraceparent(span.spanContext());
}

/** Links to the spans that `traceparents` name, for a span of many; what names none is left out. */
export function linksTo(traceparents: Iterable<string | null>): Link[] {
  return [...traceparents].flatMap((traceparent) => {
    const linked = parseTraceparent(traceparent);
    return linked ? [{ context: { ...linked, isRemote: true } }] : [];
  });
}

/** Marks a span as failed: `type` is one of a few fixed words, `message` says it in full. */
export function failSpan(span: Span, type: string, message: string): void {
  span.setAttribute("error.type", type);
  span.setStatus({ code: SpanStatusCode.ERROR, message });
}
