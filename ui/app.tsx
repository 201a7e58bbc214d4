/**
 * The page: the scenarios and the orders beside the view in front.
 *
 * @module
 */
import { useCallback, useEffect } from "preact/hooks";
import type { ApiClient } from "./api_client.ts";
import { AuditBadge } from "./audit_badge.tsx";
import { DeadLettersTable } from "./dead_letters_table.tsx";
import { FaultsPanel } from "./faults_panel.tsx";
import { InboxTable } from "./inbox_table.tsx";
import { LiveCharts } from "./live_charts.tsx";
import type { LiveStore } from "./live_store.ts";
import { MachineDiagram } from "./machine_diagram.tsx";
import { OrderStory } from "./order_story.tsx";
import { OrdersList } from "./orders_list.tsx";
import { OutboxTable } from "./outbox_table.tsx";
import type { PageData } from "./page_data.ts";
import { LiveBanner, PageHeader } from "./page_header.tsx";
import type { PanelProps } from "./panel_props.ts";
import type { Rendered } from "./rendered.ts";
import { ReplayPanel } from "./replay_panel.tsx";
import { ScenariosPanel } from "./scenarios_panel.tsx";
import { type Tab, titleOf } from "./url_state.ts";
import { useLive } from "./use_live.ts";
import { useOrders } from "./use_orders.ts";
import { useStory } from "./use_story.ts";
import { useView } from "./use_view.ts";

/** What the page is made of. */
export interface AppProps {
  /** What the first rendering shows, on the server and in the browser. */
  readonly data: PageData;
  /** The routes. */
  readonly api: ApiClient;
  /** The live stream; null on the server. */
  readonly store: LiveStore | null;
}

const PANELS: Readonly<Record<Exclude<Tab, "order">, (props: PanelProps) => Rendered>> = {
  machine: MachineDiagram,
  outbox: OutboxTable,
  inbox: InboxTable,
  "dead-letters": DeadLettersTable,
  replay: ReplayPanel,
  faults: FaultsPanel,
};

/** The page; on the server what the data says, in the browser from there on live. */
export function App({ data, api, store }: AppProps): Rendered {
  const [view, navigate] = useView(data.view);
  const live = useLive(store, data.pulse);
  const pulse = live.state.shown;
  const listed = useOrders(api, view, pulse, data.orders);
  const followed = useStory(api, view.order, pulse, data.story);

  const selectOrder = useCallback((order: string) => navigate({ order, event: null, tab: "order" }), [
    navigate,
  ]);
  const followPlayed = useCallback((order: string) => {
    store?.resume(); // a new order is to be followed, not to be held
    navigate({ order, event: null, status: null, search: "", tab: "order" });
  }, [navigate, store]);
  const togglePause = () => live.state.isPaused ? store?.resume() : store?.pause();

  useEffect(() => {
    document.title = titleOf(view);
  }, [view]);

  const isStale = live.status !== "live" && live.status !== "connecting";
  const isBroken = isStale && live.status !== "paused";
  const panel: PanelProps = { api, pulse, isStale, onSelectOrder: selectOrder };
  const Panel = view.tab === "order" ? null : PANELS[view.tab];

  return (
    <div class={`page tab-${view.tab}${view.order ? " has-order" : ""}${isBroken ? " is-stale" : ""}`}>
      <a class="skip-link" href="#orders">Skip to the orders</a>
      <a class="skip-link" href="#view">Skip to the view</a>
      <PageHeader view={view} live={live} onPause={togglePause}>
        <AuditBadge {...panel} />
      </PageHeader>
      <LiveBanner live={live} />
      <main class="columns">
        <div class="side">
          <ScenariosPanel api={api} scenarios={data.scenarios} onPlayed={followPlayed} />
          <OrdersList view={view} listed={listed} now={live.now} navigate={navigate} />
        </div>
        <div class="view" id="view" tabIndex={-1}>
          <div class="chart-strip">
            <LiveCharts {...panel} />
          </div>
          {Panel
            ? <Panel {...panel} />
            : <OrderStory api={api} view={view} followed={followed} now={live.now} navigate={navigate} />}
        </div>
      </main>
    </div>
  );
}
