/**
 * What the routes under `/ops/outbox` take and answer.
 *
 * @module
 */
import { z } from "zod";
import { count, outboxEventSchema, outboxPageSchema, republishedSchema } from "../../shared/ops/answers.ts";
import { EVENT_TYPES, idSchema } from "../../shared/events.ts";
import { json, pathId, problems, queryOf } from "../openapi/describe.ts";
import type { Description } from "../openapi/description.ts";
import { EXAMPLE_IDS } from "../openapi/examples.ts";
import { pageQuery } from "../paging.ts";

/** The query of `GET /ops/outbox`. */
export const listSchema = z.object({
  ...pageQuery,
  type: z.enum(EVENT_TYPES, { error: `must be one of ${EVENT_TYPES.join(", ")}` }).optional()
    .meta({ description: "Only events of this type.", example: "order.created" }),
  orderId: idSchema.optional().meta({
    description: "Only events about this order.",
    example: EXAMPLE_IDS.order,
  }),
  published: z.enum(["true", "false"], { error: "must be true or false" }).transform((v) => v === "true")
    .optional()
    .meta({
      description: "Only events that the broker has confirmed, or only those that wait.",
      example: "true",
    }),
});

const NO_EVENT = { 400: "The path has no id.", 404: "There is no such event; it may have been pruned." };

/** `GET /ops/outbox`. */
export const listEvents = (): Description => ({
  operationId: "listEvents",
  tags: ["Outbox"],
  summary: "Events, newest first",
  parameters: queryOf(listSchema),
  responses: {
    200: json("A page of the outbox.", outboxPageSchema),
    ...problems({ 400: "The query is not valid." }),
  },
});

/** `POST /ops/outbox/tick`. */
export const tick = (): Description => ({
  operationId: "tick",
  tags: ["Outbox"],
  summary: "Have the relay look now",
  description: "Even a relay that is switched off publishes then. The answer waits for it, 2 s at most.",
  responses: {
    200: json(
      "What waited, and what still does.",
      z.object({
        unpublishedBefore: count("Events that waited before."),
        unpublishedAfter: count("Events that wait now."),
      }),
    ),
  },
});

/** `GET /ops/outbox/:id`. */
export const readEvent = (): Description => ({
  operationId: "readEvent",
  tags: ["Outbox"],
  summary: "One event",
  parameters: pathId("The event's id.", EXAMPLE_IDS.event),
  responses: { 200: json("The event.", outboxEventSchema), ...problems(NO_EVENT) },
});

/** `POST /ops/outbox/:id/republish`. */
export const republish = (): Description => ({
  operationId: "republish",
  tags: ["Outbox"],
  summary: "Publish an event once more",
  description: "Consumers that have processed it absorb the repeat.",
  parameters: pathId("The event's id.", EXAMPLE_IDS.event),
  responses: {
    202: json("The event; the relay publishes it as soon as it can.", republishedSchema),
    ...problems(NO_EVENT),
  },
});
