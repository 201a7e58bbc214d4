// A message as the engine sees it: the envelope around an event, and a delivery from its arrival to its ack.

import type { Channel, ConsumeMessage } from "amqplib";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { v7 as uuidv7 } from "uuid";
import { parseTraceparent, type Span, tracestateOf } from "../process/tracing.ts";
import type { NewDeadLetter, NewRetry } from "../sql/set_aside.ts";

/** The one version of the envelope that there is. A consumer never retries an unknown one. */
export const EVENT_VERSION = 1;

/** The envelope around an event. What its data are is its catalogue's business. */
export interface Envelope {
  readonly eventId: string;
  /** Also the routing key. */
  readonly type: string;
  readonly version: typeof EVENT_VERSION;
  readonly occurredAt: string;
  readonly correlationId: string;
  readonly data: object;
}

/** An event that is to be told. Its envelope is made when it is known what caused it. */
export interface Tell {
  readonly type: string;
  readonly data: object;
  /** The id of what the event is about: a uuid. */
  readonly aggregateId: string;
}

/** The trace context that travels beside an event: of what it causes. */
export interface Traced {
  readonly traceparent: string | null;
  readonly tracestate?: string | null | undefined;
}

/** What an event hands on to the events that it causes. */
export interface Cause extends Traced {
  /** Shared by all that is about one aggregate: 1 to 128 visible ASCII characters. */
  readonly correlationId: string;
}

export interface OutgoingEvent<E extends Envelope = Envelope> extends Traced {
  readonly event: E;
  readonly aggregateId: string;
}

/** Puts the envelope around what is to be told: it happened at `now`; its id is a new, time-ordered uuid. */
export function inEnvelope(
  { type, data, aggregateId }: Tell,
  { correlationId, traceparent, tracestate }: Cause,
  now: Date,
): OutgoingEvent {
  const occurredAt = now.toISOString();
  const event = { eventId: uuidv7(), type, version: EVENT_VERSION, occurredAt, correlationId, data } as const;
  return { event, aggregateId, traceparent, tracestate };
}

/** What could be read of a message, to find it again; null what could not. */
export type EventAbout = Readonly<
  Record<"eventId" | "type" | "aggregateId" | "correlationId", string | null>
>;

/** The result of reading a body: an event, or the reason why it can never be read. */
export type ParsedEvent<E extends Envelope = Envelope> =
  | { readonly ok: true; readonly event: E; readonly aggregateId: string }
  | { readonly ok: false; readonly reason: string; readonly detail: string; readonly about: EventAbout };

/** Reads an event of a catalogue from a message body. Never throws. */
export type ParseEvent<E extends Envelope = Envelope> = (body: Uint8Array) => ParsedEvent<E>;

export interface Received<E extends Envelope = Envelope> extends Traced {
  readonly event: E;
  readonly attempt: number;
  /**
   * Whether the consumer may have had the event before: it was delivered again, retried or republished, it came past the
   * exchange (as what is redriven, replayed or reconciled does), or it is old. For effects that cannot be undone.
   */
  readonly mayBeRepeat: boolean;
}

/** A message that is delivered and not yet settled. */
export interface Delivery<E extends Envelope = Envelope> {
  readonly channel: Channel;
  readonly message: ConsumeMessage;
  /** How long the body was, in bytes, where `message` has only the beginning of it; null where it has all. */
  readonly cutFrom: number | null;
  readonly parsed: ParsedEvent<E>;
  /** Of its processing; null before it is taken up, and without a tracer. */
  span: Span | null;
  /** Of what it causes: that of the message's headers, or of `span`. */
  traceparent: string | null;
  readonly tracestate?: string | null | undefined;
  /**
   * How often it came back from a consumer that did not ack it, as quorum queues count in `x-delivery-count`
   * (https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling).
   */
  readonly returns: number;
  readonly mayBeRepeat: boolean;
  readonly retryState: RetryState;
  /** When this delivery was first taken up, by `performance.now()`; 0 before that. */
  takenUpMs: number;
  /** When it may be looked at again, by the same clock. */
  dueMs: number;
  /** How often this delivery was taken up without being settled. */
  looks: number;
}

/** What a consumer has been through with a message: it travels with a delayed retry, in the message's headers. */
export interface RetryState {
  readonly retries: number;
  /** How long ago it was first looked at, when the retry was sent. Not a time, which two clocks would take for two. */
  readonly ageMs: number;
}

const RETRIES_HEADER = "x-retries";
/** Anybody may write the header, and the database counts attempts in an integer. */
const MAX_RETRIES_READ = 1000;
const AGE_HEADER = "x-age-ms";
/** Set on an event that an operator had published again. */
export const REPUBLISHED_HEADER = "x-republished";
/** An event this old may be a copy of one that was processed long ago. */
const OLD_MS = 3_600_000;

/** The headers in which a message carries its retry state, for {@linkcode receive} to find. */
export function headersOf({ retries, ageMs }: RetryState): Record<string, number> {
  return { [RETRIES_HEADER]: retries, [AGE_HEADER]: Math.round(ageMs) };
}

/** A count in a header, which anybody may have written. */
function countIn(headers: ConsumeMessage["properties"]["headers"], name: string): number {
  const value: unknown = headers?.[name];
  return Number.isSafeInteger(value) ? Math.max(Number(value), 0) : 0;
}

/** Of a body that is too large, so many bytes are kept. */
const KEPT_BYTES = 4096;

/**
 * The beginning of a body, and a line that says what is missing: its hash tells bodies apart that begin alike. A copy, so
 * that the whole need not stay in memory until the message is acked.
 */
function beginningOf(body: Buffer): Buffer {
  const sha256 = createHash("sha256").update(body).digest("hex");
  const rest = `\n[cut here: ${body.length} bytes in all, sha256 ${sha256}]`;
  return Buffer.concat([body.subarray(0, KEPT_BYTES), Buffer.from(rest)]);
}

/** What is known of a message that is too large: it is not looked into. */
function tooLarge(bytes: number, maxBytes: number): ParsedEvent<never> {
  const detail = `too large: ${bytes} bytes, and ${maxBytes} is the most (CONSUMER_MAX_MESSAGE_BYTES)`;
  const about = { eventId: null, type: null, aggregateId: null, correlationId: null };
  return { ok: false, reason: "invalid payload", detail, about };
}

/** Reads a message that arrives at `now`; never throws. Of one with more than `maxBytes` only the beginning is kept. */
export function receive<E extends Envelope>(
  channel: Channel,
  whole: ConsumeMessage,
  { parse, maxBytes }: { readonly parse: ParseEvent<E>; readonly maxBytes: number },
  now: Date,
): Delivery<E> {
  const { properties: { headers }, fields: { redelivered, exchange }, content: { length } } = whole;
  const isTooLarge = length > maxBytes;
  const message = isTooLarge ? { ...whole, content: beginningOf(whole.content) } : whole;
  const parsed = isTooLarge ? tooLarge(length, maxBytes) : parse(message.content);
  const given: unknown = headers?.traceparent;
  const traceparent = typeof given === "string" && parseTraceparent(given) ? given : null;
  const returns = countIn(headers, "x-delivery-count");
  const retries = Math.min(countIn(headers, RETRIES_HEADER), MAX_RETRIES_READ);
  // From the future counts as old: then one of two clocks is wrong, and nobody knows how old it is.
  const isOld = parsed.ok && !(Math.abs(now.getTime() - Date.parse(parsed.event.occurredAt)) < OLD_MS);
  return {
    channel,
    message,
    cutFrom: isTooLarge ? length : null,
    parsed,
    span: null,
    traceparent,
    tracestate: traceparent === null ? null : tracestateOf(headers?.tracestate),
    returns,
    mayBeRepeat: redelivered || returns > 0 || retries > 0 || exchange === "" || isOld ||
      headers?.[REPUBLISHED_HEADER] === true,
    retryState: { retries, ageMs: countIn(headers, AGE_HEADER) },
    takenUpMs: 0,
    dueMs: 0,
    looks: 0,
  };
}

/** How long ago a delivery's message was first looked at, at this delivery or an earlier one; not counted is its way. */
export function ageOf({ retryState: { ageMs }, takenUpMs }: Pick<Delivery, "retryState" | "takenUpMs">) {
  return ageMs + performance.now() - takenUpMs;
}

/** What is set aside of a delivery: whose it is, what it causes belongs to, and its body as it came. */
function keptOf({ message: { content: body }, traceparent, tracestate }: Delivery, consumer: string) {
  return { consumer, traceparent, tracestate, body };
}

/** The delayed retry of a delivery; undefined for a body that is no event, which is never tried again. */
export function retryOf(
  delivery: Delivery,
  consumer: string,
  { error, retries, delayMs }: Pick<NewRetry, "error" | "retries" | "delayMs">,
): NewRetry | undefined {
  if (!delivery.parsed.ok) return undefined;
  const { event: { eventId, type: eventType, correlationId }, aggregateId } = delivery.parsed;
  const about = { ...keptOf(delivery, consumer), eventId, eventType, aggregateId, correlationId };
  return { ...about, error, retries, ageMs: ageOf(delivery), delayMs };
}

/** The row of a dead letter: the message as it came, with why `consumer` gave up on it. */
export function deadLetterOf(
  delivery: Delivery,
  consumer: string,
  { reason, detail }: Pick<NewDeadLetter, "reason" | "detail">,
): NewDeadLetter {
  const { cutFrom, parsed, retryState: { retries } } = delivery;
  const { eventId, type: eventType, aggregateId, correlationId } = aboutOf(parsed);
  const about = { ...keptOf(delivery, consumer), eventId, eventType, aggregateId, correlationId };
  return { ...about, cutFrom, isMalformed: !parsed.ok, reason, detail, attempts: retries + 1 };
}

/** What could be read of a message, whether or not it is an event. */
export function aboutOf(parsed: ParsedEvent): EventAbout {
  return parsed.ok ? { ...parsed.event, aggregateId: parsed.aggregateId } : parsed.about;
}
