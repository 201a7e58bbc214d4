// What can be said: the envelope, and one schema per type of event. Types, validation and the published JSON Schemas
// derive from it.

import { z } from "zod";
import {
  type Cause,
  EVENT_VERSION,
  type EventAbout,
  inEnvelope,
  type OutgoingEvent,
  type ParsedEvent,
  type Received,
  type Tell,
} from "./broker/message.ts";

/**
 * A positive amount of at most two decimal places that fits `numeric(12,2)`. What comes out has exactly two places,
 * so that the API, the events and the tables show one and the same string.
 */
export const amountSchema: z.ZodType<string> = z
  .string({ error: 'must be a decimal string such as "49.90"' })
  .regex(/^(0|[1-9]\d{0,9})(\.\d{1,2})?$/, {
    error: 'must be a decimal string such as "49.90": digits, at most two decimal places, below 10000000000',
  })
  .refine((amount) => /[1-9]/.test(amount), { error: "must be greater than zero" })
  .transform(twoPlaces);

function twoPlaces(amount: string): string {
  const [whole = "0", fraction = ""] = amount.split(".");
  return `${whole}.${fraction.padEnd(2, "0")}`;
}

/** An id as the wire has it: any 8-4-4-4-12 hex string, in lower case from here on. */
export const idSchema: z.ZodType<string> = z
  .guid({ error: 'must be a uuid such as "00000000-0000-0000-0000-000000000001"' })
  .toLowerCase();

/** A correlation id: 1 to 128 visible ASCII characters, so that it can stand in a header and on a log line. */
export const correlationIdSchema: z.ZodType<string> = z.string().regex(/^[\x21-\x7e]{1,128}$/, {
  error: "must be 1 to 128 visible ASCII characters",
});

const envelopeSchema = z.object({
  eventId: idSchema,
  type: z.string().min(1).max(100),
  version: z.literal(EVENT_VERSION),
  occurredAt: z.iso.datetime({ offset: true }),
  correlationId: correlationIdSchema,
});

const reason = z.string().min(1).max(500);

/** What a notification can be about: each final outcome of an order once. */
export const NOTIFICATION_TYPES = ["ORDER_COMPLETED", "PAYMENT_FAILED", "ORDER_REFUNDED"] as const;

/** The data of each type of event. What every event is about is an order: `orderId` is always there. */
export const eventData = {
  "order.created": z.object({
    orderId: idSchema,
    userId: idSchema,
    courseId: idSchema,
    amount: amountSchema,
  }).describe("An order was placed."),
  "payment.succeeded": z.object({
    orderId: idSchema,
    paymentId: idSchema,
    courseId: idSchema,
    amount: amountSchema,
  }).describe("The card was charged."),
  "payment.failed": z.object({ orderId: idSchema, paymentId: idSchema, reason })
    .describe("The card was declined; the order ends here."),
  "enrollment.granted": z.object({ orderId: idSchema, enrollmentId: idSchema, courseId: idSchema })
    .describe("The seat was granted."),
  "enrollment.failed": z.object({ orderId: idSchema, courseId: idSchema, reason })
    .describe("No seat was left; the payment is to be given back."),
  "refund.requested": z.object({ orderId: idSchema, paymentId: idSchema.optional(), reason })
    .describe("The payment is to be given back."),
  "refund.succeeded": z.object({ orderId: idSchema, paymentId: idSchema })
    .describe("The payment was given back."),
  "notification.sent": z.object({
    orderId: idSchema,
    notificationId: idSchema,
    notificationType: z.enum(NOTIFICATION_TYPES),
  }).describe("The buyer was told how the order ended."),
} as const;

/** Also the routing key. */
export type EventType = keyof typeof eventData;

export const EVENT_TYPES = Object.keys(eventData) as readonly EventType[];

export type EventData<T extends EventType> = z.infer<(typeof eventData)[T]>;

/** An event of type `T`, envelope and data; a union over the types when `T` is one. */
export type DomainEvent<T extends EventType = EventType> = {
  [K in T]: z.infer<typeof envelopeSchema> & { type: K; data: EventData<K> };
}[T];

function isEventType(type: string): type is EventType {
  return Object.hasOwn(eventData, type);
}

/** An event of type `T` as its consumer's handler gets it. */
export type ReceivedEvent<T extends EventType = EventType> = Received<DomainEvent<T>>;

/** Says what is to be told: an event of type `type` about the order in its data. */
export function tell<T extends EventType>(type: T, data: EventData<T>): Tell {
  return { type, data, aggregateId: data.orderId };
}

/** Makes an event that happened at `now` because of `cause`. */
export function makeEvent<T extends EventType>(type: T, data: EventData<T>, cause: Cause, now: Date) {
  return inEnvelope(tell(type, data), cause, now) as OutgoingEvent<DomainEvent<T>>;
}

/** The whole event of each type. What is right, and nearly all is, is checked in one go. */
const wholeEvents: ReadonlyMap<string, z.ZodType> = new Map(
  Object.entries(eventData).map(([type, data]) => [
    type,
    envelopeSchema.extend({ type: z.literal(type), data }),
  ]),
);

/** The envelope around data that is yet to be checked. Made once: schemas are costly to make, cheap to use. */
const openEnvelope = envelopeSchema.extend({ data: z.unknown() });

const versionSchema = z.object({ version: z.unknown() });

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Reads an event from a message body. Never throws: what cannot be read is told by its reason. */
export function parseEvent(body: Uint8Array): ParsedEvent<DomainEvent> {
  let json: unknown;
  try {
    json = JSON.parse(utf8.decode(body));
  } catch (error) {
    const detail = error instanceof SyntaxError ? error.message : "the body is not UTF-8";
    return { ok: false, reason: "not JSON", detail, about: aboutOf(null) };
  }
  const whole = wholeEvents.get(typeOf(json))?.safeParse(json);
  if (!whole?.success) return { ok: false, ...whyNot(json), about: aboutOf(json) };
  const event = whole.data as DomainEvent;
  return { ok: true, event, aggregateId: event.data.orderId };
}

/** Why what is no event is none: the first part of it that is wrong. */
function whyNot(json: unknown): { reason: string; detail: string } {
  const version = versionSchema.safeParse(json).data?.version;
  // Told apart first: a later version may well have another shape.
  if (version !== undefined && version !== EVENT_VERSION) {
    return { reason: "unknown version", detail: `version ${JSON.stringify(version)}` };
  }
  const envelope = openEnvelope.safeParse(json);
  if (!envelope.success) return { reason: "invalid payload", detail: describe(envelope.error) };
  const { type, data } = envelope.data;
  if (!isEventType(type)) return { reason: "unknown type", detail: `type ${JSON.stringify(type)}` };
  const { error } = eventData[type].safeParse(data);
  return { reason: "invalid payload", detail: error ? describe(error, "data") : "not an event" };
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
  if (!read.success) return { eventId: null, type: null, aggregateId: null, correlationId: null };
  const { eventId, type, correlationId, data } = read.data;
  return { eventId, type, aggregateId: data.orderId, correlationId };
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
