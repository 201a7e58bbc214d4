/**
 * What the page's address says: which order, which filters, which tab. A view can be shared, and the back button works.
 *
 * @module
 */
import { ORDER_STATUSES, type OrderStatus } from "../shared/order_status.ts";

/** The tabs of the page, in the order in which they stand. */
export const TABS = ["order", "machine", "outbox", "inbox", "dead-letters", "replay", "faults"] as const;

/** One tab of the page. */
export type Tab = (typeof TABS)[number];

/** What is being looked at. */
export interface ViewState {
  /** The id of the order whose story is told; null for none. */
  readonly order: string | null;
  /** The id of the event that is shown in detail; null for none. */
  readonly event: string | null;
  /** Only orders of this status are listed; null for all. */
  readonly status: OrderStatus | null;
  /** Only orders whose id begins like this are listed: lower case hex and hyphens; empty for all. */
  readonly search: string;
  /** How many orders are listed at most: one of `PAGE_SIZES`. */
  readonly limit: number;
  /** The tab in front. */
  readonly tab: Tab;
}

/** How many orders can be listed, smallest first. */
export const PAGE_SIZES = [20, 50, 100] as const;

/** The view of an address that says nothing. */
export const START_VIEW: ViewState = {
  order: null,
  event: null,
  status: null,
  search: "",
  limit: PAGE_SIZES[0],
  tab: "order",
};

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Reads a view from an address's query. Never throws: what it does not understand counts as not said. */
export function parseView(search: URLSearchParams): ViewState {
  return {
    order: idOf(search.get("order")),
    event: idOf(search.get("event")),
    status: ORDER_STATUSES.find((status) => status === search.get("status")) ?? null,
    search: parseIdPrefix(search.get("search") ?? ""),
    limit: PAGE_SIZES.find((size) => String(size) === search.get("limit")) ?? START_VIEW.limit,
    tab: TABS.find((tab) => tab === search.get("tab")) ?? START_VIEW.tab,
  };
}

/** The address of a view, from the page's root: `/` or `/?order=…`. What is as at the start is left out. */
export function formatView(view: ViewState): string {
  const query = new URLSearchParams();
  if (view.tab !== START_VIEW.tab) query.set("tab", view.tab);
  if (view.order) query.set("order", view.order);
  if (view.event) query.set("event", view.event);
  if (view.status) query.set("status", view.status);
  if (view.search) query.set("search", view.search);
  if (view.limit !== START_VIEW.limit) query.set("limit", String(view.limit));
  return query.size === 0 ? "/" : `/?${query}`;
}

/** The title of a view, as the browser's history and tabs show it. */
export function titleOf({ order, tab }: ViewState): string {
  const what = tab !== "order"
    ? tab.replace("-", " ")
    : order
    ? `order ${order.slice(0, 8)}…${order.slice(-4)}`
    : null;
  return what ? `${what[0]?.toUpperCase()}${what.slice(1)} · OrderFlow` : "OrderFlow";
}

/** The beginning of an id as it can be searched for: at most 36 lower case hex digits and hyphens. */
export function parseIdPrefix(text: string): string {
  return text.toLowerCase().replace(/[^0-9a-f-]/g, "").slice(0, 36);
}

function idOf(text: string | null): string | null {
  const id = text?.toLowerCase() ?? "";
  return ID.test(id) ? id : null;
}
