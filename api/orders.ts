/**
 * The routes under `/orders`: create and show orders.
 *
 * @module
 */
import { z } from "zod";
import { amountSchema, idSchema } from "../shared/events.ts";
import {
  nextCursor as nextCursorSchema,
  orderSchema,
  text,
  timelineEntrySchema,
} from "../shared/ops/answers.ts";
import { queuesOf, storyText, tellStory } from "../shared/ops/story.ts";
import type { ReadTimelines, TimelineEntry } from "../shared/ops/timeline.ts";
import { ORDER_ID } from "../shared/process/tracing.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { findOrder, listOrders, type OrderRow } from "../shared/sql/orders.ts";
import { causeOf } from "./correlation.ts";
import type { AppDeps } from "./deps.ts";
import { type App, byId, found, nextCursor, pageSchema } from "./http.ts";
import { IDEMPOTENCY_KEY, idempotencyKeyOf, REPLAYED } from "./idempotency_key.ts";
import { NEW_ORDERS } from "./openapi/examples.ts";
import { json, LOCATION, route, routes } from "./openapi/route.ts";

/** What an order is asked for with: ids in lower case, the amount a decimal string of two places. */
const newOrderSchema = z.object({
  userId: idSchema.meta({ description: "Who buys." }),
  courseId: idSchema.meta({ description: "What is bought." }),
  amount: amountSchema.meta({ description: "What it costs: a decimal string, more than zero." }),
}, { error: "must be a JSON object with userId, courseId and amount" }).meta({ ref: "NewOrder" });

const timelineQuerySchema = z.object({
  as: z.enum(["story", "beats"], { error: 'must be "story" or "beats"' }).optional()
    .meta({
      description: "`story`: as a text, in plain sentences. `beats`: with the same story as JSON.",
      example: "beats",
    }),
});

/** A beat of an order's story, as `shared/ops/story.ts` has it. */
const beatSchema = z.object({
  kind: z.enum(["placed", "appended", "published", "processed", "absorbed", "failed", "dead"])
    .meta({ description: "What happened." }),
  at: z.int().meta({ description: "When, in milliseconds since 1970." }),
  place: text("Where: `api`, `outbox`, `relay`, `exchange`, `queue:` or `consumer:` and the queue's name."),
  where: text("The same in a word."),
  eventId: z.string().nullable().meta({ description: "The event that it is about." }),
  eventType: z.string().nullable().meta({ description: "That event's type." }),
  title: text("What happened, in a few words."),
  text: text("The same in full."),
  ways: z.array(z.array(z.string())).meta({ description: "What moved: each way from place to place." }),
  messages: z.array(
    z.object({
      id: text("The event's id."),
      type: text("Its type."),
      place: text("As above."),
      state: z.enum(["waits", "done", "retry", "dead"]),
    }),
  )
    .meta({ description: "Where each message of the order is by then." }),
  tables: z.array(
    z.object({ table: text("Its name."), holds: text("What it holds."), isChanged: z.boolean() }),
  )
    .meta({
      description: "What each table holds for the order by then, and whether this beat has changed it.",
    }),
  deadLetterId: z.string().optional().meta({ description: "The dead letter that was written." }),
}).meta({ ref: "Beat" });

const timeline = json(
  200,
  "The order and what happened to it, oldest entry first.",
  z.object({
    order: orderSchema,
    timeline: z.array(timelineEntrySchema),
    beats: z.array(beatSchema).optional(),
  }),
);
const TIMELINE = { ...timeline, content: { ...timeline.content, "text/plain": null } };

/** The routes; `opsSql` may read the table `orders`. */
export function ordersRoutes(
  { placeOrder, opsSql, readTimelines, bindings }: Pick<
    AppDeps,
    "placeOrder" | "opsSql" | "readTimelines" | "bindings"
  >,
): App {
  return routes(
    "Orders",
    route("POST /", "placeOrder", "Buy a course", {
      description: "The order is stored together with its first event, and goes its way by itself from here.",
      parameters: [IDEMPOTENCY_KEY],
      body: { schema: newOrderSchema, examples: NEW_ORDERS },
      answers: [json(201, "The order, pending.", orderSchema, { ...LOCATION, ...REPLAYED })],
      refusals: {
        400: "The body is not valid, each field at fault is named; or the key is none.",
        422: "The key was used for another request.",
        503: "The database cannot be used or takes too long, or too many orders wait for it.",
      },
      handle: async ({ c, body }) => {
        const key = idempotencyKeyOf(c);
        const request = await body();
        const cause = causeOf(c);
        const order = await placeOrder(request, cause, key);
        c.get("span")?.setAttribute(ORDER_ID, order.id);
        c.header("location", `/orders/${order.id}`);
        if (order.isReplay) c.header("idempotency-replayed", "true");
        return orderJson(order);
      },
    }),
    route("GET /", "listOrders", "Orders, newest first", {
      query: pageSchema,
      answers: [
        json(
          200,
          "A page of orders.",
          z.object({ orders: z.array(orderSchema), nextCursor: nextCursorSchema }),
        ),
      ],
      handle: async ({ query: { limit, cursor } }) => {
        const orders = await listOrders(opsSql, { limit, before: cursor });
        return { orders: orders.map(orderJson), nextCursor: nextCursor(orders, limit, byId) };
      },
    }),
    route("GET /:id", "readOrder", "An order as it stands", {
      id: "order",
      answers: [json(200, "The order.", orderSchema)],
      handle: async ({ id }) => orderJson(await orderOr404(opsSql, id)),
    }),
    route("GET /:id/timeline", "readTimeline", "An order's story", {
      id: "order",
      query: timelineQuerySchema,
      answers: [TIMELINE],
      handle: async ({ c, id, query }) => {
        const { order, timeline } = await orderStory(opsSql, readTimelines, id);
        const told = { order: orderJson(order), timeline };
        if (!query.as) return told;
        const beats = tellStory(timeline, queuesOf(bindings));
        return query.as === "beats" ? { ...told, beats } : c.text(storyText(order, beats));
      },
    }),
  );
}

async function orderOr404(sql: Sql, id: string): Promise<OrderRow> {
  return found(await findOrder(sql, id), `There is no order ${id}.`);
}

/** The order `id` as ops sees it, with its timeline, oldest entry first; throws a 404 where there is no such order. */
export async function orderStory(
  sql: Sql,
  readTimelines: ReadTimelines,
  id: string,
): Promise<{ order: OrderRow; timeline: readonly TimelineEntry[] }> {
  const order = await orderOr404(sql, id);
  const timelines = await readTimelines([order]);
  return { order, timeline: timelines.get(order.id) ?? [] };
}

/** An order as the API shows it; only ops sees its correlation id. */
export function orderJson(order: OrderRow): Omit<OrderRow, "correlationId"> {
  const { id, userId, courseId, amount, status, createdAt, updatedAt } = order;
  return { id, userId, courseId, amount, status, createdAt, updatedAt };
}
