/**
 * What the page's address says: which order and beat, which list with which filters, and what is open. A view can be shared,
 * and the back button works.
 *
 * @module
 */
import { ORDER_STATUSES, type OrderStatus } from "../shared/order_status.ts";

/** The lists of messages, in the order in which they stand. */
export const LISTS = ["all", "waiting", "queued", "retrying", "dead", "done", "again"] as const;
export type List = (typeof LISTS)[number];

/** How many orders can be listed, smallest first. */
export const PAGE_SIZES = [20, 50, 100] as const;

/** What is being looked at; null and empty texts are what an address does not say. */
export interface ViewState {
  readonly tab: "orders" | "messages";
  readonly order: string | null;
  /** The number of the beat of the order's film, from 1; null for the last. */
  readonly beat: number | null;
  /** The scenario that was played for the order. */
  readonly played: string | null;
  /** Only orders of this status are listed. */
  readonly status: OrderStatus | null;
  /** Only orders whose id begins like this, or with this correlation id. */
  readonly search: string;
  /** How many orders are listed at most. */
  readonly limit: number;
  readonly list: List;
  /** The messages' filters. */
  readonly type: string;
  readonly consumer: string;
  readonly reason: string;
  readonly state: "" | "REDRIVEN" | "DISCARDED";
  /** The whole id of an order or an event, as the list needs it. */
  readonly about: string;
  /** Times as fields of local times have them, taken as UTC. */
  readonly from: string;
  readonly to: string;
  readonly correlation: string;
  /** Where the page of the list begins. */
  readonly cursor: string;
  /** The event, dead letter or replay that is open. */
  readonly event: string | null;
  readonly letter: string | null;
  readonly replay: string | null;
}

/** The view of an address that says nothing. */
export const START_VIEW: ViewState = {
  tab: "orders",
  order: null,
  beat: null,
  played: null,
  status: null,
  search: "",
  limit: PAGE_SIZES[0],
  list: "all",
  type: "",
  consumer: "",
  reason: "",
  state: "",
  about: "",
  from: "",
  to: "",
  correlation: "",
  cursor: "",
  event: null,
  letter: null,
  replay: null,
};

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const MAX_TEXT = 200;

/** Reads a view from an address's query. Never throws: what it does not understand counts as not said. */
export function parseView(query: URLSearchParams): ViewState {
  const text = (name: string) => (query.get(name) ?? "").trim().slice(0, MAX_TEXT);
  const one = <T extends string>(name: string, values: readonly T[]) =>
    values.find((value) => value === query.get(name));
  const id = (name: string) => {
    const value = text(name).toLowerCase();
    return ID.test(value) ? value : null;
  };
  const beat = Number(query.get("beat"));
  return {
    tab: one("tab", ["messages"]) ?? START_VIEW.tab,
    order: id("order"),
    beat: Number.isInteger(beat) && beat > 0 ? beat : null,
    played: /^[a-z-]{1,60}$/.exec(text("played"))?.[0] ?? null,
    status: one("status", ORDER_STATUSES) ?? null,
    search: text("search").slice(0, 128),
    limit: PAGE_SIZES.find((size) => String(size) === query.get("limit")) ?? START_VIEW.limit,
    list: one("list", LISTS) ?? START_VIEW.list,
    type: text("type"),
    consumer: text("consumer"),
    reason: text("reason"),
    state: one("state", ["REDRIVEN", "DISCARDED"]) ?? "",
    about: id("about") ?? "",
    from: text("from"),
    to: text("to"),
    correlation: text("correlation"),
    cursor: text("cursor"),
    event: id("event"),
    letter: id("letter"),
    replay: id("replay"),
  };
}

/** The address of a view, from the page's root: `/` or `/?order=…`. What is as at the start is left out. */
export function formatView(view: ViewState): string {
  const said = Object.entries(view).filter(([name, value]) => value !== START_VIEW[name as keyof ViewState])
    .map(([name, value]): [string, string] => [name, String(value)]);
  return said.length === 0 ? "/" : `/?${new URLSearchParams(said)}`;
}

/** The title of a view, as the browser's history and tabs show it. */
export function titleOf({ order, tab, beat }: ViewState): string {
  if (tab === "messages") return "Messages · OrderFlow";
  if (!order) return "OrderFlow";
  return `Order ${order.slice(0, 8)}…${order.slice(-4)}${beat ? `, beat ${beat}` : ""} · OrderFlow`;
}
