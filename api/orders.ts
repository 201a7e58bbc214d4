// The routes under `/orders`: create and show orders.

import { z } from "zod";
import { amountSchema, idSchema } from "../shared/events.ts";
import { nextCursor as nextCursorSchema, orderSchema, publicStorySchema } from "../shared/ops/answers.ts";
import { queuesOf, storyText, tellStory } from "../shared/ops/story.ts";
import type { TimelineEntry } from "../shared/ops/timeline.ts";
import { ORDER_ID } from "../shared/process/tracing.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../shared/scenarios.ts";
import { findOrder, listOrders, type OrderRow } from "../shared/sql/orders.ts";
import type { AppDeps } from "./deps.ts";
import { causeOf, IDEMPOTENCY_KEY, idempotencyKeyOf, REPLAYED } from "./headers.ts";
import { type App, byId, found, nextCursor, pageSchema } from "./http.ts";
import { type AnySchema, json, LOCATION, type Route, route, routes } from "./openapi/route.ts";

const newOrderSchema = z.object({
  userId: idSchema.meta({ description: "Who buys." }),
  courseId: idSchema.meta({ description: "What is bought." }),
  amount: amountSchema.meta({ description: "What it costs: a decimal string, more than zero." }),
}, { error: "must be a JSON object with userId, courseId and amount" }).meta({ ref: "NewOrder" });

const NEW_ORDER = { userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" };

/** Bodies of the API's description; a test sends each, and is to get a 201, or what `x-status` says. */
const NEW_ORDERS = {
  order: { summary: "A course for 49.90", value: NEW_ORDER },
  mistakes: {
    summary: "Two fields at fault: the 400 names both",
    value: { ...NEW_ORDER, userId: "me", amount: "0" },
    "x-status": 400,
  },
};

const timelineQuerySchema = z.object({
  as: z.enum(["story", "beats"], { error: 'must be "story" or "beats"' }).optional()
    .meta({
      description: "`story`: as a text, in plain sentences. `beats`: with the same story as JSON.",
      example: "beats",
    }),
});

type StoryDeps = Pick<AppDeps, "opsSql" | "readTimelines" | "bindings">;

/** The routes; `opsSql` may read the table `orders`. */
export function ordersRoutes(deps: StoryDeps & Pick<AppDeps, "placeOrder">): App {
  const { placeOrder, opsSql } = deps;
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
      handle: async ({ query }) => {
        const { limit, cursor } = query();
        const orders = await listOrders(opsSql, { limit, before: cursor });
        return { orders: orders.map(orderJson), nextCursor: nextCursor(orders, limit, byId) };
      },
    }),
    route("GET /:id", "readOrder", "An order as it stands", {
      id: "order",
      answers: [json(200, "The order.", orderSchema)],
      handle: async ({ id }) => orderJson(found(await findOrder(opsSql, id), noOrder(id))),
    }),
    timelineRoute("GET /:id/timeline", "readTimeline", publicStorySchema, deps, orderJson),
  );
}

const noOrder = (id: string) => `There is no order ${id}.`;

/** The order `id` as ops sees it, with its timeline, oldest entry first; null where there is no such order. */
export async function orderStory(
  { opsSql, readTimelines }: Pick<AppDeps, "opsSql" | "readTimelines">,
  id: string,
): Promise<{ order: OrderRow; timeline: readonly TimelineEntry[] } | null> {
  const order = await findOrder(opsSql, id);
  return order ? { order, timeline: (await readTimelines([order])).get(order.id) ?? [] } : null;
}

/** The route of an order's story; `show` is how the order is shown. */
export function timelineRoute(
  on: `GET /${string}`,
  operationId: string,
  schema: AnySchema,
  deps: StoryDeps,
  show: (order: OrderRow) => object,
): Route {
  const answer = json(200, "The order and what happened to it, oldest entry first.", schema);
  return route(on, operationId, "An order's story", {
    id: "order",
    query: timelineQuerySchema,
    answers: [{ ...answer, content: { ...answer.content, "text/plain": null } }],
    handle: async ({ c, id, query }) => {
      const { as } = query();
      const { order, timeline } = found(await orderStory(deps, id), noOrder(id));
      const told = { order: show(order), timeline };
      if (!as) return told;
      const beats = tellStory(timeline, queuesOf(deps.bindings));
      return as === "beats" ? { ...told, beats } : c.text(storyText(order, beats));
    },
  });
}

/** An order as the API shows it; only ops sees its correlation id. */
export function orderJson(order: OrderRow): Omit<OrderRow, "correlationId"> {
  const { id, userId, courseId, amount, status, createdAt, updatedAt } = order;
  return { id, userId, courseId, amount, status, createdAt, updatedAt };
}
