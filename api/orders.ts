/**
 * The routes under `/orders`.
 *
 * @module
 */
import { Hono } from "hono";
import type { Sql } from "../shared/sql/connect.ts";
import { findOrder, listOrders, type OrderRow } from "../shared/sql/orders.ts";
import { ORDER_ID } from "../shared/process/tracing.ts";
import type { App, CorrelationEnv } from "./correlation.ts";
import { describeRoutes } from "./describe.ts";
import { HttpProblem, parseOr400 } from "./http_errors.ts";
import { IDEMPOTENCY_HEADER, parseIdempotencyKey, type PlaceOrder, REPLAYED_HEADER } from "./place_orders.ts";
import type { ReadTimelines, TimelineEntry } from "../shared/ops/timeline.ts";
import * as contract from "./orders_contract.ts";
import { nextCursor, pageSchema } from "./paging.ts";
import { parseId } from "./path_id.ts";
import { readJson } from "./read_json.ts";

/** What the routes need. */
export interface OrdersDeps {
  /** Stores a new order together with its `order.created`. */
  readonly placeOrder: PlaceOrder;
  /** A pool that may read the table `orders`. */
  readonly opsSql: Sql;
  /** Tells an order's story for `/orders/:id/timeline`. */
  readonly readTimelines: ReadTimelines;
}

/** The routes that create and show orders. */
export function ordersRoutes({ placeOrder, opsSql, readTimelines }: OrdersDeps): App {
  const app = new Hono<CorrelationEnv>();

  app.post("/", async (c) => {
    const key = parseIdempotencyKey(c.req.header(IDEMPOTENCY_HEADER));
    const request = parseOr400(contract.newOrderSchema, await readJson(c), "body");
    const cause = { correlationId: c.get("correlationId"), traceparent: c.get("traceparent") };
    const order = await placeOrder(request, cause, key);
    c.get("span")?.setAttribute(ORDER_ID, order.id);
    return c.json(orderJson(order), 201, {
      location: `/orders/${order.id}`,
      ...(order.isReplay ? { [REPLAYED_HEADER]: "true" } : {}),
    });
  });

  app.get("/", async (c) => {
    const { limit, cursor } = parseOr400(pageSchema, c.req.query(), "query");
    const orders = await listOrders(opsSql, { limit, before: cursor });
    return c.json({ orders: orders.map(orderJson), nextCursor: nextCursor(orders, limit) });
  });

  app.get("/:id", async (c) => c.json(orderJson(await orderOr404(opsSql, c.req.param("id")))));

  app.get("/:id/timeline", async (c) => {
    const { order, timeline } = await opsOrderStory(opsSql, readTimelines, c.req.param("id"));
    return c.json({ order: orderJson(order), timeline });
  });

  return describeRoutes(app, {
    "POST /": contract.placeOrder,
    "GET /": contract.listOrders,
    "GET /:id": contract.readOrder,
    "GET /:id/timeline": contract.readTimeline,
  });
}

/** The order `id`; throws a 400 for what is no id, and a 404 where there is no such order. */
async function orderOr404(sql: Sql, id: string): Promise<OrderRow> {
  const parsed = parseId(id);
  const order = await findOrder(sql, parsed);
  if (!order) throw new HttpProblem(404, `There is no order ${parsed}.`);
  return order;
}

/**
 * The order `id` as ops sees it, with its timeline; throws a 400 for what is no id, and a 404 where there is no such
 * order.
 */
export async function opsOrderStory(
  sql: Sql,
  readTimelines: ReadTimelines,
  id: string,
): Promise<OrderStory<OrderRow>> {
  const order = await orderOr404(sql, id);
  const timelines = await readTimelines([order]);
  return { order, timeline: timelines.get(order.id) ?? [] };
}

/** An order and what happened to it. */
export interface OrderStory<Order> {
  /** The order; only ops sees its correlation id. */
  readonly order: Order;
  /** Its timeline, oldest entry first. */
  readonly timeline: readonly TimelineEntry[];
}

/** An order as the API shows it. */
export function orderJson(order: OrderRow): Omit<OrderRow, "correlationId"> {
  const { id, userId, courseId, amount, status, createdAt, updatedAt } = order;
  return { id, userId, courseId, amount, status, createdAt, updatedAt };
}
