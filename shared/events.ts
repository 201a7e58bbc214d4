/**
 * What can be said: the envelope, and one schema per type of event. Types, validation and the published JSON Schemas
 * derive from it.
 *
 * @module
 */
import { z } from "zod";
import { v7 as uuidv7 } from "uuid";

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

/** The one version of the envelope that there is. A consumer never retries an unknown one. */
export const EVENT_VERSION = 1;

/** An id as the wire has it: any 8-4-4-4-12 hex string, in lower case from here on. */
export const idSchema: z.ZodType<string> = z
  .guid({ error: 'must be a uuid such as "00000000-0000-0000-0000-000000000001"' })
  .toLowerCase();

/** A correlation id: 1 to 128 visible ASCII characters, so that it can stand in a header and on a log line. */
export const correlationIdSchema: z.ZodType<string> = z.string().regex(/^[\x21-\x7e]{1,128}$/, {
  error: "must be 1 to 128 visible ASCII characters",
});

/**
 * The envelope around the data of an event; each type of event has its own data.
 *
 * @internal
 */
export const envelopeSchema = z.object({
  eventId: idSchema,
  type: z.string().min(1).max(100),
  version: z.literal(EVENT_VERSION),
  occurredAt: z.iso.datetime({ offset: true }),
  correlationId: correlationIdSchema,
});

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
export type EventData<T extends EventType> = z.infer<(typeof eventData)[T]>;

/** An event of type `T`, envelope and data; a union over the types when `T` is one. */
export type DomainEvent<T extends EventType = EventType> = {
  [K in T]: z.infer<typeof envelopeSchema> & { type: K; data: EventData<K> };
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
