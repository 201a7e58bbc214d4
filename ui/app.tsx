// The page: its head with the health of the whole, the orders or the messages below, and the dialogs above.

import { useEffect, useState } from "preact/hooks";
import { formatCount } from "../shared/words.ts";
import { ActionsDialog } from "./actions_dialog.tsx";
import type { ApiClient } from "./api.ts";
import { Button, ThemeToggle, ViewLink } from "./controls.tsx";
import { FaultsDialog } from "./faults_dialog.tsx";
import { sumOf } from "./format.ts";
import { type Health, HealthDialog, healthOf, HealthSentence, useAudit, violationsOf } from "./health.tsx";
import { useView } from "./hooks.ts";
import { type Live, useLive } from "./live.ts";
import { Icon } from "./marks.tsx";
import { EventDialog, LetterDialog } from "./message_dialog.tsx";
import { MessagesView } from "./messages_view.tsx";
import { OrderView } from "./order_view.tsx";
import { OrdersList } from "./orders_list.tsx";
import { PageContext, type PageData, usePage } from "./page_data.ts";
import { Scenarios } from "./scenarios.tsx";
import { EventsDialog, SetDialog } from "./send_again.tsx";
import { titleOf, type ViewState } from "./url_state.ts";

export interface AppProps {
  /** What the first rendering shows, on the server and in the browser. */
  readonly data: PageData;
  readonly api: ApiClient;
}

/** The page; on the server what the data says, in the browser from there on live. */
export function App({ data, api }: AppProps) {
  const { queues, scenarios } = data;
  const [view, navigate] = useView(data.view);
  // Refused may mean that the cookie is gone: what is asked then leads to the form.
  const live = useLive(data.pulse, () => void api.listHolds().catch(() => {}));
  const { pulse, status, now } = live;
  const isStale = status === "offline" || status === "stale";
  const verdict = useAudit(api, now, isStale);
  const health = healthOf(pulse, queues, status, violationsOf(verdict.value));
  // What the page came with is for its first rendering alone: by the time a view is opened again it is old.
  const [isFirst, setFirst] = useState(true);
  useEffect(() => setFirst(false), []);
  useEffect(() => {
    document.title = titleOf(view);
  }, [view]);
  return (
    <PageContext.Provider value={{ api, queues, scenarios, pulse, isStale, now, view, navigate }}>
      <div class={`page${view.order ? " has-order" : ""}${isStale ? " is-stale" : ""}`}>
        {view.tab === "orders" && <a class="skip-link" href="#orders">Skip to the orders</a>}
        <a class="skip-link" href="#view">Skip to the view</a>
        <Head live={live} hasToken={data.hasToken} health={health} />
        <main class={view.tab === "orders" ? "columns" : "one-column"}>
          {view.tab === "orders" && (
            <div class="side">
              <Scenarios />
              <OrdersList initial={isFirst ? data.orders : undefined} />
            </div>
          )}
          <div id="view" tabIndex={-1}>
            {view.tab === "messages"
              ? <MessagesView />
              : <OrderView initial={isFirst ? data.story : undefined} />}
          </div>
        </main>
        {view.panel === "health" ? <HealthDialog health={health} verdict={verdict} /> : <OpenDialog />}
      </div>
    </PageContext.Provider>
  );
}

/** What the address names, above the page. */
function OpenDialog() {
  const { view: { event, letter, set, panel } } = usePage();
  if (panel === "faults") return <FaultsDialog />;
  if (panel === "actions") return <ActionsDialog />;
  if (panel === "replay") return <EventsDialog />;
  if (set) return <SetDialog key={set} id={set} />;
  if (letter) return <LetterDialog key={letter} id={letter} />;
  return event && <EventDialog key={event} id={event} />;
}

interface HeadProps {
  readonly live: Live;
  readonly hasToken: boolean;
  readonly health: Health;
}

const ACTIONS = "What operators did";
const LIVE_WORDS = { connecting: "Connecting", live: "Live", offline: "Offline", stale: "No news" } as const;

function Head({ live: { status, isBack }, hasToken, health }: HeadProps) {
  const { view, pulse } = usePage();
  const letters = sumOf(pulse.deadLetters);
  const current = (tab: ViewState["tab"]) => view.tab === tab ? "page" : undefined;
  return (
    <header class="page-head">
      <h1 class="brand">
        <a href="/">
          <span class="brand-mark">
            <Icon name="flow" />
          </span>
          <span class="brand-name">OrderFlow</span>
        </a>
      </h1>
      <nav class="tabs" aria-label="Views">
        <ViewLink to={{ tab: "orders", cursor: "" }} aria-current={current("orders")}>Orders</ViewLink>
        <ViewLink to={{ tab: "messages" }} aria-current={current("messages")}>
          Messages
          {letters > 0 && (
            <span class="count bad">
              {formatCount(letters)}
              <span class="visually-hidden">dead</span>
            </span>
          )}
        </ViewLink>
      </nav>
      <HealthSentence health={health} />
      <div class="page-tools">
        <span class={`live live-${status} ${status === "live" ? "good" : ""}`} role="status">
          <span class="live-dot" aria-hidden="true" />
          {isBack && status === "live" ? "Connected again" : LIVE_WORDS[status]}
        </span>
        <ViewLink class="button quiet" to={{ panel: "actions" }} aria-label={ACTIONS} title={ACTIONS}>
          <Icon name="log" />
        </ViewLink>
        <ThemeToggle />
        {hasToken && (
          <form method="post" action="/logout">
            <Button type="submit" look="quiet" icon="exit" aria-label="Sign out" title="Sign out" />
          </form>
        )}
      </div>
    </header>
  );
}
