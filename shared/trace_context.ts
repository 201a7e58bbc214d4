/**
 * The trace context that travels beside every event: the header `traceparent` of
 * https://www.w3.org/TR/trace-context/#traceparent-header. Pure.
 *
 * @module
 */

/** Which span of which trace something belongs to: what OpenTelemetry calls a span context. */
export interface TraceContext {
  /** 32 lower-case hex digits, not all of them zero. */
  readonly traceId: string;
  /** 16 lower-case hex digits, not all of them zero. */
  readonly spanId: string;
  /** One byte; its lowest bit says that the trace is recorded. */
  readonly traceFlags: number;
}

/** A later version may go on behind the flags, and is read as far as version 00 goes; ff is forbidden. */
const TRACEPARENT =
  /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/s;
/** Version 00 has so many characters. */
const LENGTH_00 = 55;

/** Whether `text` is a valid `traceparent`. */
export function isTraceparent(text: string): boolean {
  return TRACEPARENT.test(text) && (text.length === LENGTH_00 || !text.startsWith("00"));
}

/** Reads a `traceparent`; null for what is none. */
export function parseTraceparent(text: string): TraceContext | null {
  if (!isTraceparent(text)) return null;
  const [, traceId, spanId, flags] = TRACEPARENT.exec(text) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return null;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) };
}

/** Writes a `traceparent` of version 00. */
export function formatTraceparent({ traceId, spanId, traceFlags }: TraceContext): string {
  return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, "0")}`;
}

/** The trace id in a `traceparent`; null where there is none. */
export function traceIdOf(traceparent: string | null): string | null {
  return traceparent === null ? null : parseTraceparent(traceparent)?.traceId ?? null;
}
