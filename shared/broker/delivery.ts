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
} from "../events/catalog.ts";
import type { NewDeadLetter } from "../sql/dead_letters.ts";
import type { Channel, ConsumeMessage } from "./connect.ts";

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
  /** W3C trace context from the message's headers; null where they have none. */
  readonly traceparent: string | null;
  /**
   * How often it was delivered before and came back, because its worker died or stopped: what a quorum queue counts in
   * the header `x-delivery-count` (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).
   */
  readonly returns: number;
  /** When it was first looked at, in milliseconds of the monotonic clock; 0 before that. */
  firstSeenMs: number;
  /** When it may be looked at again, on the same clock. */
  dueMs: number;
  /** Retries spent so far. */
  retries: number;
  /** Looks at it that spent none, because it came too early. */
  polls: number;
}

/** Reads a message; never throws. */
export function receive(channel: Channel, message: ConsumeMessage): Delivery {
  const traceparent: unknown = message.properties.headers?.traceparent;
  const returns: unknown = message.properties.headers?.["x-delivery-count"];
  return {
    channel,
    message,
    parsed: parseEvent(message.content),
    traceparent: typeof traceparent === "string" ? traceparent : null,
    returns: typeof returns === "number" ? returns : 0,
    firstSeenMs: 0,
    dueMs: 0,
    retries: 0,
    polls: 0,
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
    body: delivery.message.content,
    reason: why.reason,
    detail: why.detail,
    attempts: delivery.retries + 1,
  };
}

function aboutOf(parsed: ParsedEvent): EventAbout {
  if (!parsed.ok) return parsed.about;
  const { eventId, type, correlationId, data } = parsed.event;
  return { eventId, type, orderId: data.orderId, correlationId };
}
