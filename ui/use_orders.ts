/**
 * The orders that the filters leave, kept up to date by the live stream.
 *
 * @module
 */
import { useEffect, useRef, useState } from "preact/hooks";
import type { LiveOrder, LivePulse } from "../shared/ops/live.ts";
import type { ApiClient } from "./api_client.ts";
import { createLatestOnly } from "./latest_only.ts";
import type { OrderPage } from "./page_data.ts";
import { START_VIEW, type ViewState } from "./url_state.ts";

/** Between two requests for the list at least, in milliseconds. */
const RELIST_MS = 1000;

/** The filters of a view. */
export type OrderFilter = Pick<ViewState, "status" | "search" | "limit">;

/** The orders to show. */
export interface ListedOrders {
  /** The orders, newest first. */
  readonly orders: readonly LiveOrder[];
  /** Whether there are more behind them. */
  readonly hasMore: boolean;
  /** Whether the filters have changed and the answer is not there yet. */
  readonly isLoading: boolean;
  /** Why they could not be read the last time, in words. */
  readonly error: string | null;
}

/** Whether the view shows nothing but the newest orders: a pulse has more of them than a first page. */
export function isInPulse({ status, search, limit }: OrderFilter): boolean {
  return status === null && search === "" && limit === START_VIEW.limit;
}

/** The listed orders as the pulse knows them by now, without those that have left the filter. */
export function withPulse(
  orders: readonly LiveOrder[],
  pulse: LivePulse,
  status: ViewState["status"],
): LiveOrder[] {
  const newest = new Map(pulse.orders.map((order) => [order.id, order]));
  return orders
    .map((order) => {
      const live = newest.get(order.id);
      return live && live.updatedAt > order.updatedAt ? live : order;
    })
    .filter((order) => status === null || order.status === status);
}

/** Lists the orders of a view. `initial` is what the page came with. */
export function useOrders(
  api: ApiClient,
  { status, search, limit }: OrderFilter,
  pulse: LivePulse,
  initial: OrderPage,
): ListedOrders {
  const key = `${status} ${search} ${limit}`;
  const [listed, setListed] = useState({ key, page: initial, error: null as string | null });
  const latestOnly = useRef(createLatestOnly());
  const readAt = useRef({ key, at: -Infinity, pulse: pulse.at });
  const isWhole = isInPulse({ status, search, limit });

  useEffect(() => {
    const last = readAt.current;
    if (isWhole || (last.key === key && last.pulse === pulse.at)) return;
    const wait = last.key === key ? Math.max(0, last.at + RELIST_MS - performance.now()) : 0;
    const timer = setTimeout(async () => {
      readAt.current = { key, at: performance.now(), pulse: pulse.at };
      try {
        const page = await latestOnly.current(() => api.listOrders({ status, search, limit }));
        if (page) setListed({ key, page, error: null });
      } catch (error) {
        const words = error instanceof Error ? error.message : String(error);
        setListed((old) => ({ ...old, key, error: words }));
      }
    }, wait);
    return () => clearTimeout(timer);
  }, [key, pulse.at, isWhole, api]);

  if (isWhole) {
    return {
      orders: pulse.orders.slice(0, limit),
      hasMore: pulse.orders.length > limit,
      isLoading: false,
      error: null,
    };
  }
  return {
    orders: withPulse(listed.page.orders, pulse, status),
    hasMore: listed.page.nextCursor !== null,
    isLoading: listed.key !== key,
    error: listed.error,
  };
}
