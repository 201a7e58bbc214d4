/**
 * What the routes of orders, scenarios, outbox and inbox answer with: the schemas by which the API is described and the
 * page reads its answers.
 *
 * @module
 */
import * as z from "zod/mini";
import { ORDER_STATUSES } from "../order_status.ts";
import type { Parsed } from "../schema.ts";
import { count, id, idOrNull, nextCursor, text, textOrNull, time, timeOrNull } from "./fields.ts";

const status = z.enum(ORDER_STATUSES);

/**
 * An order as the public routes show it.
 *
 * @internal
 */
export const orderSchema = z.object({
  id: id("The order's id, a version 7 uuid: the newest order has the highest."),
  userId: id("Who bought."),
  courseId: id("What was bought."),
  amount: text("A decimal string of two places."),
  status: status.check(z.meta({ description: "Where it stands." })),
  createdAt: time("When it was created."),
  updatedAt: time("When its status last changed."),
}).check(z.meta({ ref: "Order" }));

/**
 * An order as ops sees it.
 *
 * @internal
 */
export const opsOrderSchema = z.extend(orderSchema, {
  correlationId: text("The correlation id of all its events."),
}).check(z.meta({ ref: "OpsOrder" }));

const about = {
  at: time("When."),
  eventId: idOrNull(
    "The event that it is about; null for the creation of the order, or where none could be read.",
  ),
  eventType: textOrNull("That event's type."),
  traceId: textOrNull("The trace that it belongs to, 32 hex digits; null where there is none."),
};
const consumer = text("Which consumer, by the name of its queue.");

/**
 * One thing that happened to an order.
 *
 * @internal
 */
export const timelineEntrySchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("emitted"), ...about }),
  z.object({
    kind: z.literal("published"),
    ...about,
    retryCount: count("How often the broker refused it before."),
  }),
  z.object({ kind: z.literal("processed"), ...about, consumer }),
  z.object({
    kind: z.literal("duplicate"),
    ...about,
    consumer,
    duplicates: count("How often it came again and was absorbed."),
  }),
  z.object({
    kind: z.literal("retry"),
    ...about,
    consumer,
    retries: count("Retries so far."),
    error: text("What the last attempt met with."),
    dueAt: timeOrNull("When the consumer gets it again; null when it has been sent."),
  }),
  z.object({ kind: z.literal("status"), ...about, from: z.nullable(status), to: status }),
  z.object({
    kind: z.literal("dead-letter"),
    ...about,
    consumer,
    reason: text("Why, in a few fixed words."),
    deadLetterId: id("The dead letter's id."),
  }),
]).check(z.meta({
  ref: "TimelineEntry",
  description:
    "One thing that happened to an order: an event was appended to the outbox (`emitted`), confirmed by " +
    "the broker (`published`), processed, absorbed as a repeat (`duplicate`), put off (`retry`) or given up on " +
    "(`dead-letter`) by a consumer, or the order moved (`status`).",
}));

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
  name: text("The last part of its path."),
  path: text("Its whole path."),
  group: text("What it belongs to, for people."),
  expect: text("What to expect of it."),
});

/**
 * An event in the outbox.
 *
 * @internal
 */
export const outboxEventSchema = z.object({
  id: id("The event's id."),
  type: text("Its type, which is its routing key."),
  orderId: id("The order that it is about."),
  correlationId: text("Its correlation id."),
  traceparent: textOrNull("W3C trace context; null where there is none."),
  payload: z.unknown().check(z.meta({ description: "The whole envelope, data included, as it is sent." })),
  occurredAt: time("When it happened."),
  publishedAt: timeOrNull("When the broker had confirmed it; null while it waits."),
  retryCount: count("How often the broker has refused it."),
  lastError: textOrNull("What the last refusal said; null where there was none."),
  nextAttemptAt: timeOrNull("When it is tried again; null where it waits for nothing."),
}).check(z.meta({ ref: "OutboxEvent" }));

/**
 * An event that is published once more.
 *
 * @internal
 */
export const republishedSchema = z.extend(outboxEventSchema, {
  alreadyProcessedBy: z.array(z.string()).check(
    z.meta({ description: "The consumers that have processed it, and will absorb the repeat." }),
  ),
}).check(z.meta({ ref: "RepublishedEvent" }));

/**
 * One row of the inbox.
 *
 * @internal
 */
export const processedEventSchema = z.object({
  eventId: id("The event's id."),
  consumer: text("Who has processed it."),
  processedAt: time("When."),
  duplicates: count("How often it came again and was absorbed."),
  lastDuplicateAt: timeOrNull("When it last did; null where it never has."),
}).check(z.meta({ ref: "ProcessedEvent" }));

/**
 * A page of the outbox.
 *
 * @internal
 */
export const outboxPageSchema = z.object({ events: z.array(outboxEventSchema), nextCursor });
/**
 * A page of the inbox.
 *
 * @internal
 */
export const inboxPageSchema = z.object({ processedEvents: z.array(processedEventSchema), nextCursor });
/**
 * A page of orders.
 *
 * @internal
 */
export const ordersPageSchema = z.object({ orders: z.array(opsOrderSchema), nextCursor });
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
