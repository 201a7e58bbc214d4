/**
 * The routes under `/orders`.
 *
 * @module
 */
import { Hono } from "hono";
import type { ReadTimelines, TimelineEntry } from "../shared/ops/timeline.ts";
import { ORDER_ID } from "../shared/process/tracing.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { findOrder, listOrders, type OrderRow } from "../shared/sql/orders.ts";
import type { App, CorrelationEnv } from "./correlation.ts";
import { describeRoutes } from "./openapi/describe.ts";
import { HttpProblem, parseOr400 } from "./http.ts";
import * as contract from "./orders_contract.ts";
import { nextCursor, pageSchema } from "./paging.ts";
import { parseId } from "./path_id.ts";
import type { PlaceOrder } from "./place_orders.ts";
import { readJson } from "./read_json.ts";

/** What the routes need; `opsSql` may read the table `orders`. */
export interface OrdersDeps {
  readonly placeOrder: PlaceOrder;
  readonly opsSql: Sql;
  readonly readTimelines: ReadTimelines;
}

/** The routes that create and show orders. */
export function ordersRoutes({ placeOrder, opsSql, readTimelines }: OrdersDeps): App {
  const app = new Hono<CorrelationEnv>();

  app.post("/", async (c) => {
    const key = parseIdempotencyKey(c.req.header(contract.IDEMPOTENCY_HEADER));
    const request = parseOr400(contract.newOrderSchema, await readJson(c), "body");
    const cause = { correlationId: c.get("correlationId"), traceparent: c.get("traceparent") };
    const order = await placeOrder(request, cause, key);
    c.get("span")?.setAttribute(ORDER_ID, order.id);
    return c.json(orderJson(order), 201, {
      location: `/orders/${order.id}`,
      ...(order.isReplay ? { [contract.REPLAYED_HEADER]: "true" } : {}),
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

/** A String of structured fields (RFC 9651, section 3.3.3): in quotes, with `\"` and `\\`. */
const QUOTED = /^"((?:[^"\\]|\\["\\])*)"$/;
const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * The key in the header's value, or undefined where there is no header. The draft wants a quoted string, many clients
 * send the bare key: both are taken, and mean the same. Throws a 400 for a value that is no key.
 */
function parseIdempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = header.startsWith('"') ? QUOTED.exec(header)?.[1]?.replaceAll(/\\(["\\])/g, "$1") : header;
  if (key !== undefined && KEY.test(key)) return key;
  throw new HttpProblem(
    400,
    `The header ${contract.IDEMPOTENCY_HEADER} must be 1 to 255 visible ASCII characters, bare or as a quoted ` +
      "string. Send a new uuid for each new request.",
  );
}

async function orderOr404(sql: Sql, id: string): Promise<OrderRow> {
  const parsed = parseId(id);
  const order = await findOrder(sql, parsed);
  if (!order) throw new HttpProblem(404, `There is no order ${parsed}.`);
  return order;
}

/**
 * The order `id` as ops sees it, with its timeline, oldest entry first; throws a 400 for what is no id, and a 404 where
 * there is no such order.
 */
export async function opsOrderStory(
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
