/**
 * Spans, by Deno's own OpenTelemetry (https://docs.deno.com/runtime/fundamentals/open_telemetry/): the runtime records
 * and exports them, this project only says what happens. Where `OTEL_DENO` is off there is no tracer, and whoever would
 * need one does without: the functions that make spans then give back what they wrap.
 *
 * @module
 */
import type * as otel from "@opentelemetry/api";
import { context, ProxyTracerProvider, ROOT_CONTEXT, SpanStatusCode, trace } from "@opentelemetry/api";
import { formatTraceparent, parseTraceparent } from "./trace_context.ts";

/** What makes spans. */
export type Tracer = otel.Tracer;

/** Something that happened, from its start to its end, in one process. */
export type Span = otel.Span;

/** What a span starts with. */
export type SpanOptions = otel.SpanOptions;

/** What is known of a span, by name. */
export type Attributes = otel.Attributes;

/** A span's mention of one that is not its parent. */
export type Link = otel.Link;

/**
 * The tracer of this process; null where the runtime records no traces. To be asked once, at the start: that cannot
 * change while a process lives. The runtime has read `OTEL_DENO` before any permission counts.
 */
export function findTracer(): Tracer | null {
  const provider = trace.getTracerProvider();
  // The placeholder that stands in until somebody registers a provider, which the runtime does before all else.
  return provider instanceof ProxyTracerProvider ? null : provider.getTracer("orderflow");
}

/** The attribute with the id of the order that a span is about. */
export const ORDER_ID = "orderflow.order.id";

/** Starts a span whose parent is the one that `traceparent` names; where it names none, the first of a new trace. */
export function startSpanUnder(
  tracer: Tracer,
  traceparent: string | null,
  name: string,
  options: SpanOptions,
): Span {
  const parent = traceparent === null ? null : parseTraceparent(traceparent);
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
  const links: Link[] = [];
  for (const traceparent of traceparents) {
    const linked = traceparent === null ? null : parseTraceparent(traceparent);
    if (linked) links.push({ context: { ...linked, isRemote: true } });
  }
  return links;
}

/** Marks a span as failed: `type` is one of a few fixed words, `message` says it in full. */
export function failSpan(span: Span, type: string, message: string): void {
  span.setAttribute("error.type", type);
  span.setStatus({ code: SpanStatusCode.ERROR, message });
}
