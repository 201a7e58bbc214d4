// The side of the page: the scenarios as buttons, which place an order that goes one of three ways, or break something on
// its way; and the orders, newest first, with their filters.

import { useRef, useState } from "preact/hooks";
import type { OrdersPage, ScenarioInfo } from "../shared/ops/answers.ts";
import type { LiveOrder } from "../shared/ops/live.ts";
import { ORDER_STATUSES } from "../shared/order_status.ts";
import { counted } from "../shared/words.ts";
import { Button, submitted, ViewLink } from "./controls.tsx";
import { courseName, formatAge, formatMoney, shortId } from "./format.ts";
import { useAction, useFresh, usePage, useStill } from "./hooks.ts";
import { Icon, type IconName, Notice, StatusBadge } from "./marks.tsx";
import { formatView, PAGE_SIZES, parseView, START_VIEW } from "./url_state.ts";

interface SideProps {
  /** The orders that the page came with. */
  readonly initial: OrdersPage | undefined;
}

export function Side({ initial }: SideProps) {
  return (
    <div class="side">
      <Scenarios />
      <OrdersList initial={initial} />
    </div>
  );
}

/** The group that stands in front, and the icons of its scenarios. */
const OUTCOMES = "Outcomes";
const OUTCOME_LOOKS: Readonly<Record<string, readonly [icon: IconName, tone: string]>> = {
  "order-success": ["check", "good"],
  "payment-failure": ["cross", "bad"],
  "enrollment-failure": ["back", "warn"],
};

/** Playing one opens its order, whose film starts by itself. */
function Scenarios() {
  const { api, scenarios, navigate } = usePage();
  const [placing, setPlacing] = useState<string | null>(null);
  const { isBusy, problem, act } = useAction();
  const play = (played: string) => {
    if (isBusy) return;
    setPlacing(played);
    void act(async () => {
      const { id } = await api.playScenario(played);
      navigate({ ...START_VIEW, order: id, played, beat: 1 });
    });
  };
  const { [OUTCOMES]: outcomes = [], ...others } = Object.groupBy(scenarios, ({ group }) => group);
  const listOf = (list: readonly ScenarioInfo[]) => (
    <ul class="scenario-list">
      {list.map(({ name, expect }) => {
        const [icon, tone] = OUTCOME_LOOKS[name] ?? ["bolt", ""];
        return (
          <li key={name}>
            <button
              type="button"
              class={`scenario scenario-${name} ${tone}`}
              aria-busy={isBusy && placing === name}
              onClick={() => play(name)}
            >
              <Icon name={icon} />
              <span>
                <b>{isBusy && placing === name ? "Placing the order…" : titleOf(name)}</b>
                <small class="muted">{expect}</small>
              </span>
            </button>
          </li>
        );
      })}
    </ul>
  );
  return (
    <section class="card scenarios" aria-labelledby="scenarios-title">
      <h2 id="scenarios-title" class="card-head">Place an order</h2>
      {listOf(outcomes)}
      {problem !== null && <Notice level="bad">{problem}</Notice>}
      <h3 class="scenario-head">Break it</h3>
      {Object.entries(others).map(([group, list = []]) => (
        <details key={group} class="scenario-group">
          <summary>
            <Icon name="chevron" />
            {group} <span class="muted">{list.length}</span>
          </summary>
          {listOf(list)}
        </details>
      ))}
      <ViewLink class="button quiet accent" to={{ panel: "faults" }}>
        <Icon name="bolt" />Arm a fault for whatever comes
      </ViewLink>
      <p class="card-foot muted">
        To learn with them: twelve lessons, <code>specs/lessons/README.md</code>
      </p>
      <noscript>
        <p class="notice">Scenarios are played by the page's script, which does not run here.</p>
      </noscript>
    </section>
  );
}

/** `payment-failure` as people write it. */
function titleOf(name: string): string {
  const words = name.replaceAll("-", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** They hold still while somebody points at them, and rows change in their places: nothing moves while new ones come. */
function OrdersList({ initial }: SideProps) {
  const { view } = usePage();
  const { isStill, release, handlers } = useStill();
  const { orders: fresh, hasMore, isLoading, problem } = useOrders(initial);
  const key = `${view.status} ${view.search} ${view.limit}`;
  const still = useRef({ key, orders: fresh });
  if (!isStill || still.current.key !== key) still.current = { key, orders: fresh };
  const { shown: orders, newer } = holdStill(still.current.orders, fresh);
  const larger = PAGE_SIZES.find((size) => size > view.limit);
  return (
    <section class="card orders" id="orders" tabIndex={-1} aria-labelledby="orders-title">
      <div class="card-head">
        <h2 id="orders-title">Orders</h2>
        {newer > 0
          ? (
            <Button look="quiet accent" onClick={release}>
              {newer}
              {newer >= orders.length ? "+" : ""} new
            </Button>
          )
          : <span class="muted">newest first</span>}
      </div>
      <OrderFilters />
      {problem && <Notice level="bad">{problem}</Notice>}
      {orders.length === 0
        ? <NoOrders isLoading={isLoading} />
        : (
          <ol class="order-rows" aria-busy={isLoading} {...handlers}>
            {orders.map((order, i) => <OrderRow key={i} order={order} />)}
          </ol>
        )}
      {orders.length > 0 && (
        <p class="card-foot muted">
          {counted(orders.length, "order")}
          {hasMore && larger && <ViewLink to={{ limit: larger }}>Show {larger}</ViewLink>}
          {hasMore && !larger && " and more: search by id to find the others"}
        </p>
      )}
    </section>
  );
}

/** The orders that the filters leave: without any, those of the pulse, which has more than a first page. */
function useOrders(initial: OrdersPage | undefined) {
  const { api, view: { status, search, limit }, pulse } = usePage();
  const isInPulse = status === null && search === "" && limit === START_VIEW.limit;
  const load = () => api.listOrders({ status, search, limit });
  const { value, isLoading, problem } = useFresh<OrdersPage>(load, JSON.stringify([status, search, limit]), {
    tick: pulse.at,
    isHeld: isInPulse,
    initial,
  });
  if (!isInPulse) return { orders: value?.orders ?? [], hasMore: !!value?.nextCursor, isLoading, problem };
  const [orders, hasMore] = [pulse.orders.slice(0, limit), pulse.orders.length > limit];
  return { orders, hasMore, isLoading: false, problem: null };
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
  const apply = (how: "push" | "replace") => (event: Event) => {
    const { status, search } = parseView(new URLSearchParams(submitted(event, "status", "search")));
    navigate({ status, search }, how);
  };
  return (
    <form
      class="order-filters"
      role="search"
      aria-label="Orders"
      action="/"
      onInput={apply("replace")}
      onSubmit={apply("push")}
    >
      {view.order && <input type="hidden" name="order" value={view.order} />}
      <input
        class="field mono"
        name="search"
        type="search"
        aria-label="Order id, its beginning, or a correlation id"
        placeholder="Id"
        autocomplete="off"
        spellcheck={false}
        maxLength={128}
        value={view.search}
      />
      <select class="field" name="status" aria-label="Status" value={view.status ?? ""}>
        <option value="">Any status</option>
        {ORDER_STATUSES.map((status) => <option key={status} value={status}>{status}</option>)}
      </select>
      <Button type="submit" icon="search" aria-label="Search" />
    </form>
  );
}

function NoOrders({ isLoading }: { readonly isLoading: boolean }) {
  const { view } = usePage();
  if (isLoading) return <p class="empty" role="status">Looking…</p>;
  if (view.status === null && view.search === "") {
    return <p class="empty">No orders yet. Place one: its film starts by itself.</p>;
  }
  return (
    <p class="empty">
      No order matches. <ViewLink to={{ status: null, search: "" }}>Show all orders</ViewLink>
    </p>
  );
}

function OrderRow({ order }: { readonly order: LiveOrder }) {
  const { view, now } = usePage();
  const { id, status, amount, courseId, createdAt } = order;
  const { status: ofStatus, search, limit } = view;
  const href = formatView({ ...START_VIEW, status: ofStatus, search, limit, order: id });
  return (
    <li>
      <a
        class="order-row"
        href={href}
        aria-current={view.order === id ? "true" : undefined}
        title={`${id}: ${courseName(courseId)}`}
      >
        <span class="mono">{shortId(id)}</span>
        <b>{formatMoney(amount)}</b>
        <StatusBadge status={status} />
        <time class="muted" dateTime={createdAt}>{formatAge(createdAt, now)}</time>
      </a>
    </li>
  );
}
