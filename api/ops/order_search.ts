/**
 * Finds orders by status, and by the beginning of an id or a whole correlation id.
 *
 * @module
 */
import { z } from "zod";
import type { LiveOrder } from "../../shared/ops/live.ts";
import { ORDER_STATUSES } from "../../shared/order_status.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { type FoundOrders, searchOrders } from "../../shared/ops/lists.ts";
import { liveOrder } from "./live_pulse.ts";
import { pageQuery } from "../paging.ts";

/** The query of the route. */
export const orderQuerySchema = z.object({
  ...pageQuery,
  status: z.enum(ORDER_STATUSES, { error: `must be one of ${ORDER_STATUSES.join(", ")}` }).optional()
    .meta({ description: "Only orders of this status.", example: "PENDING" }),
  search: z.string().trim().max(128, { error: "must have at most 128 characters" }).optional()
    .meta({ description: "An id, the beginning of one, or a whole correlation id.", example: "01a20441" }),
});

/** Orders, newest first. */
export interface OrderPage {
  /** The orders; fewer than asked for, or none, where the search stopped at its bound. */
  readonly orders: readonly LiveOrder[];
  /** Where to go on; null where nothing is left to look at. */
  readonly nextCursor: string | null;
}

const ID_SHAPE = "00000000-0000-0000-0000-000000000000";

/** The first and the last id that begin with `text`; null where no id does. */
export function idRange(text: string): [from: string, to: string] | null {
  const prefix = text.toLowerCase();
  const fits = prefix.length <= ID_SHAPE.length &&
    [...prefix].every((char, i) => ID_SHAPE[i] === "-" ? char === "-" : /[0-9a-f]/.test(char));
  if (!fits) return null;
  const rest = ID_SHAPE.slice(prefix.length);
  return [prefix + rest, prefix + rest.replaceAll("0", "f")];
}

/**
 * Looks for orders: by id where `search` can be the beginning of one, and where that finds nothing, or `search` is no
 * such thing, by correlation id. One search looks at 10,000 orders at most, and says where to go on.
 */
export async function findOrders(sql: Sql, query: z.infer<typeof orderQuerySchema>): Promise<OrderPage> {
  const { limit, cursor: before, status, search } = query;
  const filter = { limit, before, status };
  if (!search) return pageOf(await searchOrders(sql, filter));
  const ids = idRange(search);
  const found = ids ? await searchOrders(sql, { ...filter, ids }) : null;
  if (found && (found.orders.length > 0 || found.nextBefore)) return pageOf(found);
  return pageOf(await searchOrders(sql, { ...filter, correlationId: search }));
}

function pageOf({ orders, nextBefore }: FoundOrders): OrderPage {
  return { orders: orders.map(liveOrder), nextCursor: nextBefore };
}
