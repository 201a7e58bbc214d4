/**
 * What the API's routes answer with, as the page reads it: JSON, so every time is an ISO 8601 string. Schemas of
 * zod/mini, which costs the browser a fraction of zod.
 *
 * @module
 */
import * as z from "zod/mini";
import { ORDER_STATUSES } from "../shared/order_status.ts";
import type { Parsed } from "../shared/schema.ts";

const count = z.number();
const text = z.nullable(z.string());
const status = z.enum(ORDER_STATUSES);

/**
 * An order as the public routes show it.
 *
 * @internal
 */
export const orderSchema = z.object({
  /** The order's id. */
  id: z.string(),
  /** Who bought. */
  userId: z.string(),
  /** What was bought. */
  courseId: z.string(),
  /** A decimal string of two places. */
  amount: z.string(),
  /** Where it stands. */
  status,
  /** When it was created. */
  createdAt: z.string(),
  /** When its status last changed. */
  updatedAt: z.string(),
});

/**
 * An order as ops sees it.
 *
 * @internal
 */
export const opsOrderSchema = z.extend(orderSchema, {
  /** The correlation id of all its events. */
  correlationId: z.string(),
});

const about = { at: z.string(), eventId: text, eventType: text };

/**
 * One thing that happened to an order; `api/order_timeline.ts` says what each kind means.
 *
 * @internal
 */
export const timelineEntrySchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("emitted"), ...about }),
  z.object({ kind: z.literal("published"), ...about, retryCount: count }),
  z.object({ kind: z.literal("processed"), ...about, consumer: z.string() }),
  z.object({ kind: z.literal("duplicate"), ...about, consumer: z.string(), duplicates: count }),
  z.object({
    kind: z.literal("retry"),
    ...about,
    consumer: z.string(),
    retries: count,
    error: z.string(),
    dueAt: text,
  }),
  z.object({ kind: z.literal("status"), ...about, from: z.nullable(status), to: status }),
  z.object({
    kind: z.literal("dead-letter"),
    ...about,
    consumer: z.string(),
    reason: z.string(),
    deadLetterId: z.string(),
  }),
]);

/**
 * An order and what happened to it, oldest entry first.
 *
 * @internal
 */
export const orderStorySchema = z.object({ order: opsOrderSchema, timeline: z.array(timelineEntrySchema) });

/**
 * A scenario that can be played.
 *
 * @internal
 */
export const scenarioSchema = z.object({
  /** The last part of its path. */
  name: z.string(),
  /** Its whole path. */
  path: z.string(),
  /** What it belongs to, for people. */
  group: z.string(),
  /** What to expect of it. */
  expect: z.string(),
});

/**
 * An event in the outbox.
 *
 * @internal
 */
export const outboxEventSchema = z.object({
  /** The event's id. */
  id: z.string(),
  /** Its type, which is its routing key. */
  type: z.string(),
  /** The order that it is about. */
  orderId: z.string(),
  /** Its correlation id. */
  correlationId: z.string(),
  /** W3C trace context; null where there is none. */
  traceparent: text,
  /** The whole envelope, data included. */
  payload: z.unknown(),
  /** When it happened. */
  occurredAt: z.string(),
  /** When the broker had confirmed it; null while it waits. */
  publishedAt: text,
  /** How often the broker has refused it. */
  retryCount: count,
  /** What the last refusal said; null where there was none. */
  lastError: text,
  /** When it is tried again; null where it waits for nothing. */
  nextAttemptAt: text,
});

/**
 * An event that is published once more.
 *
 * @internal
 */
export const republishedSchema = z.extend(outboxEventSchema, {
  /** The consumers that have processed it, and will absorb the repeat. */
  alreadyProcessedBy: z.array(z.string()),
});

/**
 * One row of the inbox.
 *
 * @internal
 */
export const processedEventSchema = z.object({
  /** The event's id. */
  eventId: z.string(),
  /** Who has processed it. */
  consumer: z.string(),
  /** When. */
  processedAt: z.string(),
  /** How often it came again and was absorbed. */
  duplicates: count,
  /** When it last did; null where it never has. */
  lastDuplicateAt: text,
});

/**
 * A page of the outbox; `nextCursor` is that of the page behind it, null on the last one.
 *
 * @internal
 */
export const outboxPageSchema = z.object({ events: z.array(outboxEventSchema), nextCursor: text });
/**
 * A page of the inbox.
 *
 * @internal
 */
export const inboxPageSchema = z.object({ processedEvents: z.array(processedEventSchema), nextCursor: text });
/**
 * A page of orders.
 *
 * @internal
 */
export const ordersPageSchema = z.object({ orders: z.array(opsOrderSchema), nextCursor: text });
/**
 * The scenarios on offer.
 *
 * @internal
 */
export const scenariosSchema = z.object({ scenarios: z.array(scenarioSchema) });

/** An order as the public routes show it. */
export type OrderJson = Parsed<typeof orderSchema>;
/** One thing that happened to an order. */
export type TimelineEntryJson = Parsed<typeof timelineEntrySchema>;
/** An order and what happened to it. */
export type OrderStoryJson = Parsed<typeof orderStorySchema>;
/** A scenario that can be played. */
export type ScenarioInfo = Parsed<typeof scenarioSchema>;
/** An event in the outbox. */
export type OutboxEventJson = Parsed<typeof outboxEventSchema>;
/** An event that is published once more. */
export type RepublishedJson = Parsed<typeof republishedSchema>;
/** One row of the inbox. */
export type ProcessedEventJson = Parsed<typeof processedEventSchema>;
/** A page of orders. */
export type OrdersPage = Parsed<typeof ordersPageSchema>;
/** A page of the outbox. */
export type OutboxPage = Parsed<typeof outboxPageSchema>;
/** A page of the inbox. */
export type InboxPage = Parsed<typeof inboxPageSchema>;
