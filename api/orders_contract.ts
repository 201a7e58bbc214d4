/**
 * What the routes under `/orders` take and answer.
 *
 * @module
 */
import { z } from "zod";
import { nextCursor, orderSchema, timelineEntrySchema } from "../shared/ops/answers.ts";
import { amountSchema, idSchema } from "../shared/events.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import { BODY_REFUSALS, json, jsonBody, LOCATION, pathId, problems, queryOf } from "./openapi/describe.ts";
import type { Description } from "./openapi/description.ts";
import { EXAMPLE_IDS } from "./openapi/examples.ts";
import { pageSchema } from "./paging.ts";

/** The request header that carries the key. */
export const IDEMPOTENCY_HEADER = "idempotency-key";
/** The response header that says, with `true`, that the answer is an earlier request's. */
export const REPLAYED_HEADER = "idempotency-replayed";

/** The body of `POST /orders`. */
export const newOrderSchema = z.object(
  {
    userId: idSchema.meta({ description: "Who buys." }),
    courseId: idSchema.meta({ description: "What is bought." }),
    amount: amountSchema.meta({ description: "What it costs: a decimal string, more than zero." }),
  },
  { error: "must be a JSON object with userId, courseId and amount" },
).meta({ ref: "NewOrder" });

/** What an order is asked for with: ids in lower case, the amount a decimal string of two places. */
export type OrderRequest = z.infer<typeof newOrderSchema>;

const NEW_ORDER: OrderRequest = {
  userId: SCENARIO_USER,
  courseId: RESERVED_COURSES.success,
  amount: "49.90",
};

/** `POST /orders`. */
export const placeOrder = (): Description => ({
  operationId: "placeOrder",
  tags: ["Orders"],
  summary: "Buy a course",
  description: "The order is stored together with its first event, and goes its way by itself from here.",
  parameters: [{
    name: IDEMPOTENCY_HEADER,
    in: "header",
    description:
      "Makes the request one that may be repeated, even while the first is under way: the same key and body give " +
      "the first answer again. " +
      "1 to 255 visible ASCII characters, bare or as a quoted string; a new uuid for each new request.",
    schema: { type: "string", minLength: 1 },
    example: "8e03978e-40d5-43e8-bc93-6894a57f9324",
  }],
  requestBody: jsonBody(newOrderSchema, {
    order: { summary: "A course for 49.90", value: NEW_ORDER },
    mistakes: {
      summary: "Two fields at fault: the 400 names both",
      value: { ...NEW_ORDER, userId: "me", amount: "0" },
      "x-status": 400,
    },
  }),
  responses: {
    201: json("The order, pending.", orderSchema, {
      ...LOCATION,
      [REPLAYED_HEADER]: {
        description: "`true` where this is the answer that an earlier request with the key was given.",
        schema: { const: "true" },
      },
    }),
    ...problems({
      ...BODY_REFUSALS,
      400: "The body is not valid, each field at fault is named; or the key is none.",
      422: "The key was used for another request.",
      503: "The database cannot be used or takes too long, or too many orders wait for it.",
    }),
  },
});

/** `GET /orders`. */
export const listOrders = (): Description => ({
  operationId: "listOrders",
  tags: ["Orders"],
  summary: "Orders, newest first",
  parameters: queryOf(pageSchema),
  responses: {
    200: json("A page of orders.", z.object({ orders: z.array(orderSchema), nextCursor })),
    ...problems({ 400: "The query is not valid." }),
  },
});

/** `GET /orders/:id`. */
export const readOrder = (): Description => ({
  operationId: "readOrder",
  tags: ["Orders"],
  summary: "An order as it stands",
  parameters: pathId("The order's id.", EXAMPLE_IDS.order),
  responses: {
    200: json("The order.", orderSchema),
    ...problems({ 400: "The path has no id.", 404: "There is no such order." }),
  },
});

/** `GET /orders/:id/timeline`. */
export const readTimeline = (): Description => ({
  operationId: "readTimeline",
  tags: ["Orders"],
  summary: "An order's story",
  parameters: pathId("The order's id.", EXAMPLE_IDS.order),
  responses: {
    200: json(
      "The order and what happened to it, oldest entry first.",
      z.object({ order: orderSchema, timeline: z.array(timelineEntrySchema) }),
    ),
    ...problems({ 400: "The path has no id.", 404: "There is no such order." }),
  },
});
