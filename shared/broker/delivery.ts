/**
 * A message as a consumer holds it, from its delivery to its ack.
 *
 * @module
 */
import { type DomainEvent, parseEvent } from "../events/catalog.ts";
import type { NewDeadLetter } from "../sql/dead_letters.ts";
import type { Channel, ConsumeMessage } from "./connect.ts";
import type { Verdict } from "./next_step.ts";

/** An event as a consumer's handler gets it. */
export interface ReceivedEvent {
  /** The event, checked against the schema of its type. */
  readonly event: DomainEvent;
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
  /** The event, or the verdict on a body that is none. */
  readonly parsed: { readonly ok: true; readonly event: DomainEvent } | {
    readonly ok: false;
    readonly verdict: Extract<Verdict, { kind: "rejected" }>;
  };
  /** W3C trace context from the message's headers; null where they have none. */
  readonly traceparent: string | null;
  /** When it was first looked at, in milliseconds of the monotonic clock; 0 before that. */
  firstSeenMs: number;
  /** When it may be looked at again, on the same clock. */
  dueMs: number;
  /** Retries spent so far. */
  retries: number;
  /** Looks at it that spent none, because it came too early. */
  polls: number;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Reads a message; never throws. */
export function receive(channel: Channel, message: ConsumeMessage): Delivery {
  const traceparent: unknown = message.properties.headers?.traceparent;
  return {
    channel,
    message,
    parsed: parseBody(message.content),
    traceparent: typeof traceparent === "string" ? traceparent : null,
    firstSeenMs: 0,
    dueMs: 0,
    retries: 0,
    polls: 0,
  };
}

/** Reads a body; never throws. */
export function parseBody(content: Uint8Array): Delivery["parsed"] {
  let body: string;
  try {
    body = utf8.decode(content);
  } catch {
    return { ok: false, verdict: { kind: "rejected", reason: "not JSON", detail: "the body is not UTF-8" } };
  }
  const parsed = parseEvent(body);
  if (parsed.ok) return parsed;
  return { ok: false, verdict: { kind: "rejected", reason: parsed.reason, detail: parsed.detail } };
}

/** The dead letter of a delivery that is given up on. */
export function deadLetterOf(
  delivery: Delivery,
  consumer: string,
  why: { readonly reason: string; readonly detail: string },
): NewDeadLetter {
  const event = delivery.parsed.ok ? delivery.parsed.event : null;
  return {
    consumer,
    eventId: event?.eventId ?? null,
    eventType: event?.type ?? null,
    orderId: event?.data.orderId ?? null,
    correlationId: event?.correlationId ?? null,
    body: delivery.message.content,
    reason: why.reason,
    detail: why.detail,
    attempts: delivery.retries + 1,
  };
}
