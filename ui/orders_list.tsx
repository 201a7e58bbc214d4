/**
 * The orders, newest first, with their filters.
 *
 * @module
 */
import { useRef } from "preact/hooks";
import type { LiveOrder } from "../shared/ops/live.ts";
import { ORDER_STATUSES } from "../shared/order_status.ts";
import { CopyButton } from "./copy_button.tsx";
import { courseName, formatAge, formatMoney, plural, shortId } from "./format.ts";
import { Icon } from "./icon.tsx";
import type { Rendered } from "./rendered.ts";
import { StatusBadge } from "./status_badge.tsx";
import { formatView, PAGE_SIZES, parseIdPrefix, START_VIEW, type ViewState } from "./url_state.ts";
import type { ListedOrders } from "./use_orders.ts";
import type { Navigate } from "./use_view.ts";

/** What the list needs. */
export interface OrdersListProps {
  /** The view, whose filters are shown and whose order is marked. */
  readonly view: ViewState;
  /** The orders. */
  readonly listed: ListedOrders;
  /** The time at the server, in epoch milliseconds. */
  readonly now: number;
  /** Changes the view. */
  readonly navigate: Navigate;
}

/** Lists orders; each row is a link to its story. */
export function OrdersList({ view, listed, now, navigate }: OrdersListProps): Rendered {
  const { orders, hasMore, isLoading, error } = listed;
  const larger = PAGE_SIZES.find((size) => size > view.limit);
  return (
    <section class="card orders" id="orders" tabIndex={-1} aria-labelledby="orders-title">
      <div class="card-head">
        <h2 id="orders-title">Orders</h2>
        <span class="muted">newest first</span>
      </div>
      <OrderFilters view={view} navigate={navigate} />
      {error && <p class="notice bad" role="alert">{error}</p>}
      {orders.length === 0
        ? <NoOrders view={view} isLoading={isLoading} />
        : (
          <ol class="order-rows" aria-busy={isLoading}>
            {orders.map((order) => <OrderRow key={order.id} order={order} view={view} now={now} />)}
          </ol>
        )}
      {orders.length > 0 && (
        <p class="orders-foot muted">
          {plural(orders.length, "order")}
          {hasMore && larger && (
            <a class="button quiet small" href={formatView({ ...view, limit: larger })}>Show {larger}</a>
          )}
          {hasMore && !larger && " and more: search by id to find the others"}
        </p>
      )}
    </section>
  );
}

/** A form, so that it works without any script; with it, each change is at once. */
function OrderFilters({ view, navigate }: Pick<OrdersListProps, "view" | "navigate">): Rendered {
  const form = useRef<HTMLFormElement>(null);
  const apply = (how: "push" | "replace") => {
    if (!form.current) return;
    const fields = new FormData(form.current);
    const status = ORDER_STATUSES.find((name) => name === fields.get("status")) ?? null;
    navigate({ status, search: parseIdPrefix(String(fields.get("search") ?? "")) }, how);
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
      <label class="visually-hidden" for="order-search">Order id, or its beginning</label>
      <input
        class="field mono"
        id="order-search"
        name="search"
        type="search"
        placeholder="Order id"
        autocomplete="off"
        spellcheck={false}
        maxLength={36}
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

function NoOrders(
  { view, isLoading }: { readonly view: ViewState; readonly isLoading: boolean },
): Rendered {
  if (isLoading) return <p class="empty" role="status">Looking…</p>;
  const isFiltered = view.status !== null || view.search !== "";
  return (
    <div class="empty">
      <Icon name="inbox" />
      {isFiltered
        ? (
          <>
            <p>No order matches.</p>
            <a href={formatView({ ...view, ...START_FILTERS })}>Show all orders</a>
          </>
        )
        : <p>No orders yet. Play a scenario: its order is followed from here.</p>}
    </div>
  );
}

const START_FILTERS = { status: START_VIEW.status, search: START_VIEW.search, limit: START_VIEW.limit };

function OrderRow(
  { order, view, now }: { readonly order: LiveOrder; readonly view: ViewState; readonly now: number },
): Rendered {
  const { id, status, amount, courseId, correlationId, createdAt } = order;
  const isSelected = view.order === id;
  return (
    <li class={`order-row${isSelected ? " is-selected" : ""}`}>
      <StatusBadge status={status} />
      <a
        class="order-link mono"
        href={formatView({ ...view, order: id, event: null, tab: "order" })}
        aria-current={isSelected ? "true" : undefined}
        title={id}
      >
        {shortId(id)}
      </a>
      <span class="order-amount">{formatMoney(amount)}</span>
      <span class="order-about">
        <time dateTime={createdAt}>{formatAge(createdAt, now)}</time> · {courseName(courseId)}
      </span>
      <CopyButton label="correlation id" value={correlationId} shown={shortId(correlationId)} />
    </li>
  );
}
