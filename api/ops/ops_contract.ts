/**
 * What the routes that look at everything take and answer: `/ops/debug`, `/ops/orders`, `/ops/processed-events`,
 * `/ops/audit`, `/ops/status`.
 *
 * @module
 */
import { z } from "zod";
import * as mini from "zod/mini";
import {
  auditSchema,
  count,
  deadLetterSchema,
  inboxPageSchema,
  opsOrderSchema,
  ordersPageSchema,
  orderStorySchema,
  outboxEventSchema,
  processedEventSchema,
  timelineEntrySchema,
  timeOrNull,
} from "../../shared/ops/answers.ts";
import { idSchema } from "../../shared/events.ts";
import { AUDIT_GRACE_SECONDS } from "../../shared/ops/audit.ts";
import { systemStatusSchema } from "../../shared/ops/live.ts";
import { json, pathId, problems, queryOf } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";
import { EXAMPLE_IDS } from "../openapi/examples.ts";
import { orderQuerySchema } from "./order_search.ts";
import { consumerSchema, pageQuery } from "../paging.ts";

/**
 * The query of `/ops/processed-events`: an event has a row for each of its consumers. The cursor is the event id and the
 * consumer of the last row seen.
 */
export const processedSchema = z.object({
  ...pageQuery,
  cursor: z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}~[\w.:-]{1,200}$/, {
    error: "must be the nextCursor of an earlier answer",
  }).optional().meta({ description: "The `nextCursor` of the page before." }),
  consumer: consumerSchema.optional().meta({
    description: "Only rows of this consumer.",
    example: "payments.order-created.v1",
  }),
  eventId: idSchema.optional().meta({ description: "Only rows of this event.", example: EXAMPLE_IDS.event }),
});

/** The query of `/ops/audit`. */
export const auditQuerySchema = z.object({
  graceSeconds: z.coerce.number({ error: "must be a whole number from 0 to 86400" }).int().min(0).max(86_400)
    .default(AUDIT_GRACE_SECONDS)
    .meta({ description: "How long what follows from an event may take, in seconds.", example: 60 }),
});

const storySchema = mini.extend(opsOrderSchema, { timeline: mini.array(timelineEntrySchema) })
  .check(mini.meta({ ref: "OpsOrderStory" }));

/** `GET /ops/debug`. */
export const readDebug = (): Description => ({
  operationId: "readDebug",
  tags: ["Inspection"],
  summary: "The last ten of everything",
  responses: {
    200: json(
      "The newest orders with their stories, events, inbox rows and dead letters.",
      z.object({
        orders: z.array(storySchema),
        outbox: z.object({
          unpublished: count("Events that wait for the relay."),
          oldestUnpublishedAt: timeOrNull("When the oldest of them happened."),
          events: z.array(outboxEventSchema),
        }),
        processedEvents: z.array(processedEventSchema),
        deadLetters: z.array(deadLetterSchema),
      }),
    ),
  },
});

/** `GET /ops/orders`. */
export const findOrders = (): Description => ({
  operationId: "findOrders",
  tags: ["Inspection"],
  summary: "Orders by status and by id, newest first",
  description:
    "One request looks at 10,000 orders at most. `nextCursor` goes on from there, even from a page that " +
    "is not full.",
  parameters: queryOf(orderQuerySchema),
  responses: {
    200: json("A page of orders.", ordersPageSchema),
    ...problems({ 400: "The query is not valid." }),
  },
});

/** `GET /ops/orders/:id/timeline`. */
export const readOpsTimeline = (): Description => ({
  operationId: "readOpsTimeline",
  tags: ["Inspection"],
  summary: "An order's story, with its correlation id",
  parameters: pathId("The order's id.", EXAMPLE_IDS.order),
  responses: {
    200: json("The order and what happened to it, oldest entry first.", orderStorySchema),
    ...problems({ 400: "The path has no id.", 404: "There is no such order." }),
  },
});

/** `GET /ops/processed-events`. */
export const listProcessedEvents = (): Description => ({
  operationId: "listProcessedEvents",
  tags: ["Inspection"],
  summary: "The inbox: which consumer has processed which event",
  parameters: queryOf(processedSchema),
  responses: {
    200: json("A page of the inbox, newest events first.", inboxPageSchema),
    ...problems({ 400: "The query is not valid." }),
  },
});

/** `GET /ops/audit`. */
export const readAudit = (): Description => ({
  operationId: "readAudit",
  tags: ["Inspection"],
  summary: "What breaks the promises",
  description: "Reads the whole database in one snapshot, so one audit runs at a time.",
  parameters: queryOf(auditQuerySchema),
  responses: {
    200: json("What each check has found.", auditSchema),
    ...problems({
      400: "The query is not valid.",
      503: "An audit with another grace is under way, or the database cannot be reached.",
    }),
  },
});

/** `GET /ops/status`. */
export const readStatus = (): Description => ({
  operationId: "readStatus",
  tags: ["Inspection"],
  summary: "The whole system's state at once",
  description: "Answers while the database is away too, without figures.",
  responses: { 200: json("The state of the system.", systemStatusSchema) },
});
