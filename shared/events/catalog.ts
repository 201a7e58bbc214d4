/**
 * The catalogue of events: one schema per type. Types, validation and the published JSON Schemas derive from it.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import { z } from "zod";
import { amountSchema } from "../money.ts";
import type { Parsed } from "../schema.ts";
import { correlationIdSchema, envelopeSchema, EVENT_VERSION, idSchema } from "./envelope.ts";

const reason = z.string().min(1).max(500);

/** What a notification can be about: each final outcome of an order once. */
export const NOTIFICATION_TYPES = ["ORDER_COMPLETED", "PAYMENT_FAILED", "ORDER_REFUNDED"] as const;

/** The data of each type of event; `orderId` is always there. */
export const eventData = {
  "order.created": z.object({
    orderId: idSchema,
    userId: idSchema,
    courseId: idSchema,
    amount: amountSchema,
  }),
  "payment.succeeded": z.object({
    orderId: idSchema,
    paymentId: idSchema,
    courseId: idSchema,
    amount: amountSchema,
  }),
  "payment.failed": z.object({ orderId: idSchema, paymentId: idSchema, reason }),
  "enrollment.granted": z.object({ orderId: idSchema, enrollmentId: idSchema, courseId: idSchema }),
  "enrollment.failed": z.object({ orderId: idSchema, courseId: idSchema, reason }),
  "refund.requested": z.object({ orderId: idSchema, paymentId: idSchema.optional(), reason }),
  "refund.succeeded": z.object({ orderId: idSchema, paymentId: idSchema }),
  "notification.sent": z.object({
    orderId: idSchema,
    notificationId: idSchema,
    notificationType: z.enum(NOTIFICATION_TYPES),
  }),
} as const;

/** The name of an event type, which is also its routing key. */
export type EventType = keyof typeof eventData;

/** All event types. */
export const EVENT_TYPES = Object.keys(eventData) as readonly EventType[];

/** The data of an event of type `T`. */
export type EventData<T extends EventType> = Parsed<(typeof eventData)[T]>;

/** An event of type `T`, envelope and data; a union over the types when `T` is one. */
export type DomainEvent<T extends EventType = EventType> = {
  [K in T]: Parsed<typeof envelopeSchema> & { type: K; data: EventData<K> };
}[T];

/** Whether `type` is in the catalogue. */
export function isEventType(type: string): type is EventType {
  return Object.hasOwn(eventData, type);
}

/** What an event hands on to the events that it causes. */
export interface Cause {
  /** Shared by all that is about one order: 1 to 128 visible ASCII characters. */
  readonly correlationId: string;
  /** W3C trace context (https://www.w3.org/TR/trace-context/), null where there is none. */
  readonly traceparent: string | null;
}

/** An event on its way to the outbox, with the trace context that travels beside its envelope. */
export interface OutgoingEvent<T extends EventType = EventType> {
  /** The envelope with its data, as it will be sent. */
  readonly event: DomainEvent<T>;
  /** W3C trace context; null where there is none. */
  readonly traceparent: string | null;
}

/** Makes an event that happened at `now` because of `cause`; its id is a new, time-ordered uuid. */
export function makeEvent<T extends EventType>(
  type: T,
  data: EventData<T>,
  cause: Cause,
  now: Date,
): OutgoingEvent<T> {
  const event = {
    eventId: uuidv7(),
    type,
    version: EVENT_VERSION,
    occurredAt: now.toISOString(),
    correlationId: cause.correlationId,
    data,
  } as DomainEvent<T>;
  return { event, traceparent: cause.traceparent };
}

/** What could be read of an event, for those who have to find it again; null what could not. */
export interface EventAbout {
  /** The event's id. */
  readonly eventId: string | null;
  /** The event's type, of the catalogue or not. */
  readonly type: string | null;
  /** The id of the order that it is about. */
  readonly orderId: string | null;
  /** The correlation id that it carries. */
  readonly correlationId: string | null;
}

/** What came of reading an event: the event, or the reason why it can never be read. */
export type ParsedEvent = { readonly ok: true; readonly event: DomainEvent } | {
  readonly ok: false;
  readonly reason: "not JSON" | "unknown version" | "unknown type" | "invalid payload";
  readonly detail: string;
  readonly about: EventAbout;
};

/** The whole event of each type. What is right, and nearly all is, is checked in one go. */
const wholeEvents: ReadonlyMap<string, z.ZodType> = new Map(
  Object.entries(eventData).map(([type, data]) => [
    type,
    envelopeSchema.extend({ type: z.literal(type), data }),
  ]),
);

/** The envelope around data that is yet to be checked. Made once: schemas are costly to make, cheap to use. */
const openEnvelope = envelopeSchema.extend({ data: z.unknown() });

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Reads an event from a message body. Never throws: what cannot be read is told by its reason. */
export function parseEvent(body: Uint8Array): ParsedEvent {
  let json: unknown;
  try {
    json = JSON.parse(utf8.decode(body));
  } catch (error) {
    const detail = error instanceof SyntaxError ? error.message : "the body is not UTF-8";
    return { ok: false, reason: "not JSON", detail, about: aboutOf(null) };
  }
  const whole = wholeEvents.get(typeOf(json))?.safeParse(json);
  return whole?.success ? { ok: true, event: whole.data as DomainEvent } : parseInParts(json);
}

/** As `parseEvent`, part by part: what is wrong with an event is told by the first part that is. */
function parseInParts(json: unknown): ParsedEvent {
  const refuse = (
    reason: "unknown version" | "unknown type" | "invalid payload",
    detail: string,
  ): ParsedEvent => ({
    ok: false,
    reason,
    detail,
    about: aboutOf(json),
  });
  const envelope = openEnvelope.safeParse(json);
  if (!envelope.success) {
    // Told apart first: a later version may well have another shape.
    const version = versionOf(json);
    if (version !== undefined && version !== EVENT_VERSION) {
      return refuse("unknown version", `version ${JSON.stringify(version)}`);
    }
    return refuse("invalid payload", describe(envelope.error));
  }
  const { type } = envelope.data;
  if (!isEventType(type)) return refuse("unknown type", `type ${JSON.stringify(type)}`);
  const data = eventData[type].safeParse(envelope.data.data);
  if (!data.success) return refuse("invalid payload", describe(data.error, "data"));
  return { ok: true, event: { ...envelope.data, type, data: data.data } as DomainEvent };
}

function typeOf(json: unknown): string {
  return typeof json === "object" && json !== null && "type" in json ? String(json.type) : "";
}

/** Each part by itself, so that one that is broken hides no other. */
const aboutSchema = z.object({
  eventId: idSchema.nullable().catch(null),
  type: z.string().max(100).regex(/^[^\0]*$/).nullable().catch(null),
  correlationId: correlationIdSchema.nullable().catch(null),
  data: z.object({ orderId: idSchema.nullable().catch(null) }).catch({ orderId: null }),
});

function aboutOf(json: unknown): EventAbout {
  const read = aboutSchema.safeParse(json);
  if (!read.success) return { eventId: null, type: null, orderId: null, correlationId: null };
  const { eventId, type, correlationId, data } = read.data;
  return { eventId, type, orderId: data.orderId, correlationId };
}

const versionSchema = z.object({ version: z.unknown() });

function versionOf(json: unknown): unknown {
  return versionSchema.safeParse(json).data?.version;
}

function describe(error: z.ZodError, under?: string): string {
  return error.issues
    .map((issue) => `${[...(under ? [under] : []), ...issue.path].join(".") || "body"}: ${issue.message}`)
    .join("; ");
}

/** The JSON Schema of every type of event, for readers in other languages. */
export function eventJsonSchemas(): Record<string, unknown> {
  return Object.fromEntries(
    [...wholeEvents].map(([type, schema]) => [type, z.toJSONSchema(schema, { io: "input" })]),
  );
}
