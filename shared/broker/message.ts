/**
 * A message as a consumer holds it, from its delivery to its ack.
 *
 * @module
 */
import {
  type DomainEvent,
  type EventAbout,
  type EventType,
  type ParsedEvent,
  parseEvent,
} from "../events.ts";
import type { NewDeadLetter, NewRetry } from "../sql/set_aside.ts";
import { isTraceparent, type Span } from "../process/tracing.ts";
import type { Channel, ConsumeMessage } from "./connection.ts";

/** An event as a consumer's handler gets it. */
export interface ReceivedEvent<T extends EventType = EventType> {
  /** The event, checked against the schema of its type. */
  readonly event: DomainEvent<T>;
  /** W3C trace context from the message's headers. */
  readonly traceparent: string | null;
  /** Which attempt at this delivery it is, from 1. */
  readonly attempt: number;
}

/** A message that is delivered and not yet settled. */
export interface Delivery {
  /** The channel that delivered it, the only one on which it can be acked. */
  readonly channel: Channel;
  /** The message as the client has it: body, properties and delivery tag. */
  readonly message: ConsumeMessage;
  /** The event, or why the body is none. */
  readonly parsed: ParsedEvent;
  /** The span of its processing, from when it is taken up until it is settled; null before that, and without a tracer. */
  span: Span | null;
  /** W3C trace context of what it causes: that of the message's headers, or of `span`; null where there is neither. */
  traceparent: string | null;
  /**
   * How often it was delivered before and came back, because its worker died or stopped: what a quorum queue counts in
   * the header `x-delivery-count` (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).
   */
  readonly returns: number;
  /** What its consumer has been through with it, over earlier deliveries. */
  readonly past: Past;
  /** When this delivery was first looked at, in milliseconds of the monotonic clock; 0 before that. */
  takenUpMs: number;
  /** When it may be looked at again, on the same clock. */
  dueMs: number;
  /** Looks at it so far, since it was delivered. */
  looks: number;
}

/** What a consumer has been through with a message: it travels with a delayed retry, in the message's headers. */
export interface Past {
  /** Retries spent. */
  readonly retries: number;
  /** When the consumer first looked at the message. */
  readonly firstSeenAt: Date;
}

const RETRIES_HEADER = "x-retries";
/** Anybody may write the header, and the database counts attempts in an integer. */
const MAX_RETRIES_READ = 1000;
const FIRST_SEEN_HEADER = "x-first-seen";

/** The headers that carry a message's past: retries, and milliseconds since 1970. */
export function headersOf({ retries, firstSeenAt }: Past): Record<string, number> {
  return { [RETRIES_HEADER]: retries, [FIRST_SEEN_HEADER]: firstSeenAt.getTime() };
}

/** A whole number from a header that anybody may have written; 0 for anything else. */
function countIn(headers: ConsumeMessage["properties"]["headers"], name: string): number {
  const value: unknown = headers?.[name];
  return Number.isSafeInteger(value) ? Math.max(Number(value), 0) : 0;
}

/** The trace context from a header that anybody may have written; null for anything else. */
function traceparentIn(headers: ConsumeMessage["properties"]["headers"]): string | null {
  const value: unknown = headers?.traceparent;
  return typeof value === "string" && isTraceparent(value) ? value : null;
}

/** Reads a message that arrives at `now`; never throws. */
export function receive(channel: Channel, message: ConsumeMessage, now: Date): Delivery {
  const { headers } = message.properties;
  const firstSeenMs = countIn(headers, FIRST_SEEN_HEADER);
  return {
    channel,
    message,
    parsed: parseEvent(message.content),
    span: null,
    traceparent: traceparentIn(headers),
    returns: countIn(headers, "x-delivery-count"),
    past: {
      retries: Math.min(countIn(headers, RETRIES_HEADER), MAX_RETRIES_READ),
      firstSeenAt: firstSeenMs > 0 && firstSeenMs < now.getTime() ? new Date(firstSeenMs) : now,
    },
    takenUpMs: 0,
    dueMs: 0,
    looks: 0,
  };
}

/** The delayed retry of a delivery; undefined for a body that is no event, which is never tried again. */
export function retryOf(
  { message, parsed, traceparent, past }: Delivery,
  consumer: string,
  step: { readonly error: string; readonly retries: number; readonly delayMs: number },
): NewRetry | undefined {
  if (!parsed.ok) return undefined;
  const { eventId, type, correlationId, data } = parsed.event;
  return {
    consumer,
    eventId,
    eventType: type,
    orderId: data.orderId,
    correlationId,
    traceparent,
    body: message.content,
    error: step.error,
    retries: step.retries,
    firstSeenAt: past.firstSeenAt,
    delayMs: step.delayMs,
  };
}

/** The dead letter of a delivery that is given up on. */
export function deadLetterOf(
  delivery: Delivery,
  consumer: string,
  why: { readonly reason: string; readonly detail: string },
): NewDeadLetter {
  const { eventId, type, orderId, correlationId } = aboutOf(delivery.parsed);
  return {
    consumer,
    eventId,
    eventType: type,
    orderId,
    correlationId,
    traceparent: delivery.traceparent,
    body: delivery.message.content,
    reason: why.reason,
    detail: why.detail,
    attempts: delivery.past.retries + 1,
  };
}

function aboutOf(parsed: ParsedEvent): EventAbout {
  if (!parsed.ok) return parsed.about;
  const { eventId, type, correlationId, data } = parsed.event;
  return { eventId, type, orderId: data.orderId, correlationId };
}
