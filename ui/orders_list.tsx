/**
 * The orders, newest first, with their filters. The list holds still while somebody points at it.
 *
 * @module
 */
import { useRef } from "preact/hooks";
import type { LiveOrder } from "../shared/ops/live.ts";
import { ORDER_STATUSES } from "../shared/order_status.ts";
import { counted, courseName, formatAge, formatMoney, shortId } from "./format.ts";
import { Icon, Notice, StatusBadge } from "./marks.tsx";
import { type OrderPage, usePage } from "./page_data.ts";
import { formatView, PAGE_SIZES, START_VIEW } from "./url_state.ts";
import { useHold, useRows } from "./use_rows.ts";

/** `initial` is what the page came with. */
export function OrdersList({ initial }: { readonly initial: OrderPage }) {
  const { view } = usePage();
  const { isHeld, release, handlers } = useHold();
  const { rows, hasMore, isLoading, error } = useOrders(initial);
  const { orders, newer } = useStill(rows, isHeld, `${view.status} ${view.search} ${view.limit}`);
  const larger = PAGE_SIZES.find((size) => size > view.limit);
  return (
    <section class="card orders" id="orders" tabIndex={-1} aria-labelledby="orders-title">
      <div class="card-head">
        <h2 id="orders-title">Orders</h2>
        {newer > 0
          ? (
            <button type="button" class="button quiet accent" onClick={release}>
              {newer}
              {newer >= orders.length ? "+" : ""} new
            </button>
          )
          : <span class="muted">newest first</span>}
      </div>
      <OrderFilters />
      {error && <Notice level="bad">{error}</Notice>}
      {orders.length === 0
        ? <NoOrders isLoading={isLoading} />
        : (
          <ol class="order-rows" aria-busy={isLoading} {...handlers}>
            {orders.map((order) => <OrderRow key={order.id} order={order} />)}
          </ol>
        )}
      {orders.length > 0 && (
        <p class="card-foot muted">
          {counted(orders.length, "order")}
          {hasMore && larger && <a href={formatView({ ...view, limit: larger })}>Show {larger}</a>}
          {hasMore && !larger && " and more: search by id to find the others"}
        </p>
      )}
    </section>
  );
}

/** The orders that the filters leave: without any, those of the pulse, which has more than a first page. */
function useOrders({ orders, nextCursor }: OrderPage) {
  const { api, view: { status, search, limit }, pulse } = usePage();
  const isInPulse = status === null && search === "" && limit === START_VIEW.limit;
  const load = async () => {
    const page = await api.listOrders({ status, search, limit });
    return { rows: page.orders, nextCursor: page.nextCursor };
  };
  const listed = useRows<LiveOrder>(load, JSON.stringify([status, search, limit, isInPulse]), {
    tick: pulse.at,
    isHeld: isInPulse,
    initial: { rows: orders, nextCursor },
  });
  if (isInPulse) {
    return {
      rows: pulse.orders.slice(0, limit),
      hasMore: pulse.orders.length > limit,
      isLoading: false,
      error: null,
    };
  }
  const { rows, isLoading, problem: error } = listed;
  return { rows: rows ?? [], hasMore: listed.nextCursor !== null, isLoading, error };
}

/** The orders; while they are held those that stood there, as they are now, and how many have come since. */
function useStill(orders: readonly LiveOrder[], isHeld: boolean, key: string) {
  const still = useRef({ key, orders });
  if (!isHeld || still.current.key !== key) still.current = { key, orders };
  const { shown, newer } = holdStill(still.current.orders, orders);
  return { orders: shown, newer };
}

/** Held rows with what is known of them by now, and how many newer orders there are above them. */
export function holdStill(
  held: readonly LiveOrder[],
  now: readonly LiveOrder[],
): { shown: readonly LiveOrder[]; newer: number } {
  const known = new Map(now.map((order) => [order.id, order]));
  const first = held[0]?.id ?? "";
  return {
    shown: held.map((order) => known.get(order.id) ?? order),
    newer: held === now ? 0 : now.filter(({ id }) => id > first).length,
  };
}

/** A form, so that it works without any script; with it, each change is at once. */
function OrderFilters() {
  const { view, navigate } = usePage();
  const form = useRef<HTMLFormElement>(null);
  const apply = (how: "push" | "replace") => {
    if (!form.current) return;
    const fields = new FormData(form.current);
    const status = ORDER_STATUSES.find((name) => name === fields.get("status")) ?? null;
    navigate({ status, search: String(fields.get("search") ?? "").trim() }, how);
  };
  return (
    <form
      class="order-filters"
      role="search"
      aria-label="Orders"
      method="get"
      action="/"
      ref={form}
      onSubmit={(event) => {
        event.preventDefault();
        apply("push");
      }}
    >
      {view.order && <input type="hidden" name="order" value={view.order} />}
      <label class="visually-hidden" for="order-search">Order id, its beginning, or a correlation id</label>
      <input
        class="field mono"
        id="order-search"
        name="search"
        type="search"
        placeholder="Order id"
        autocomplete="off"
        spellcheck={false}
        maxLength={128}
        value={view.search}
        onInput={() => apply("replace")}
      />
      <label class="visually-hidden" for="order-status">Status</label>
      <select
        class="field"
        id="order-status"
        name="status"
        value={view.status ?? ""}
        onChange={() => apply("push")}
      >
        <option value="">Any status</option>
        {ORDER_STATUSES.map((status) => <option key={status} value={status}>{status}</option>)}
      </select>
      <button class="button" type="submit" aria-label="Search">
        <Icon name="search" />
      </button>
    </form>
  );
}

function NoOrders({ isLoading }: { readonly isLoading: boolean }) {
  const { view } = usePage();
  if (isLoading) return <p class="empty" role="status">Looking…</p>;
  const { status, search, limit } = START_VIEW;
  if (view.status === null && view.search === "") {
    return <p class="empty">No orders yet. Place one: its film starts by itself.</p>;
  }
  return (
    <p class="empty">
      No order matches. <a href={formatView({ ...view, status, search, limit })}>Show all orders</a>
    </p>
  );
}

function OrderRow({ order }: { readonly order: LiveOrder }) {
  const { view, now } = usePage();
  const { id, status, amount, courseId, createdAt } = order;
  const isSelected = view.order === id;
  const href = formatView({
    ...view,
    tab: "orders",
    order: id,
    beat: null,
    played: null,
    event: null,
    letter: null,
  });
  return (
    <li>
      <a class="order-row" href={href} aria-current={isSelected ? "true" : undefined} title={id}>
        <span class="mono">{shortId(id)}</span>
        <StatusBadge status={status} />
        <span class="muted">
          <time dateTime={createdAt}>{formatAge(createdAt, now)}</time> · {courseName(courseId)}
        </span>
        <b>{formatMoney(amount)}</b>
      </a>
    </li>
  );
}
