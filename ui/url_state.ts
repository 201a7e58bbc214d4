// What the page's address says: which order and beat, which messages with which filters, and what is open. A view can be
// shared, and the back button works.

import { ORDER_STATUSES } from "../shared/order_status.ts";
import { shortId } from "./format.ts";

/** The lists of messages, in the order in which they stand. */
export const LISTS = ["all", "waiting", "queued", "retrying", "dead", "absorbed", "done"] as const;
export type List = (typeof LISTS)[number];

/** How many orders can be listed, smallest first. */
export const PAGE_SIZES = [20, 50, 100] as const;

/** What stands above the page, beside messages. */
export const PANELS = ["", "health", "faults", "actions", "replay"] as const;

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function idOf(text: string): string | null {
  return ID.test(text.toLowerCase()) ? text.toLowerCase() : null;
}

/** How each part of an address is read; what is missing or not understood is read like an empty text. */
const FIELDS = {
  tab: (text: string) => text === "messages" ? text : "orders",
  order: idOf,
  /** The number of the beat of the order's film, from 1; null for the last. */
  beat: (text: string) => /^[1-9]\d{0,3}$/.test(text) ? Number(text) : null,
  /** The scenario that was played for the order. */
  played: (text: string) => /^[a-z-]{1,60}$/.test(text) ? text : null,
  /** Only orders of this status are listed. */
  status: (text: string) => ORDER_STATUSES.find((name) => name === text) ?? null,
  /** Only orders whose id begins like this, or with this correlation id. */
  search: (text: string) => text.slice(0, 128),
  /** How many orders are listed at most. */
  limit: (text: string) => PAGE_SIZES.find((size) => String(size) === text) ?? PAGE_SIZES[0],
  list: (text: string) => LISTS.find((name) => name === text) ?? LISTS[0],
  type: textOf,
  consumer: textOf,
  /** A group of dead letters: why, and the same in full without what differs. */
  reason: textOf,
  pattern: textOf,
  /** An id of an order, an event or a correlation. */
  about: textOf,
  /** Where the page of the list begins. */
  cursor: textOf,
  panel: (text: string) => PANELS.find((name) => name === text) ?? "",
  /** The event, the dead letter, or the set to be sent again, that is open. */
  event: idOf,
  letter: idOf,
  set: idOf,
};

function textOf(text: string): string {
  return text.slice(0, 1000);
}

/** What is being looked at; null and empty texts are what an address does not say. */
export type ViewState = { readonly [K in keyof typeof FIELDS]: ReturnType<(typeof FIELDS)[K]> };

/** Reads a view from an address's query. Never throws: what it does not understand counts as not said. */
export function parseView(query: URLSearchParams): ViewState {
  const read = Object.entries(FIELDS).map(([name, of]) => [name, of((query.get(name) ?? "").trim())]);
  return Object.fromEntries(read);
}

/** The view of an address that says nothing. */
export const START_VIEW: ViewState = parseView(new URLSearchParams());

/** The address of a view, from the page's root: `/` or `/?order=…`. What is as at the start is left out. */
export function formatView(view: ViewState): string {
  const start = new Map<string, unknown>(Object.entries(START_VIEW));
  const said = Object.entries(view).filter(([name, value]) => value !== start.get(name))
    .map(([name, value]): [string, string] => [name, String(value)]);
  return said.length === 0 ? "/" : `/?${new URLSearchParams(said)}`;
}

/** The title of a view, as the browser's history and tabs show it. */
export function titleOf({ order, tab, beat }: ViewState): string {
  if (tab === "messages") return "Messages · OrderFlow";
  if (!order) return "OrderFlow";
  return `Order ${shortId(order)}${beat ? `, beat ${beat}` : ""} · OrderFlow`;
}
