/**
 * The page: its head with the health of the whole, the orders or the messages below, and the dialogs above.
 *
 * @module
 */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { ApiClient } from "./api.ts";
import { ThemeToggle } from "./controls.tsx";
import { FaultsDialog } from "./faults_dialog.tsx";
import { formatCount, sumOf } from "./format.ts";
import { healthOf } from "./health.ts";
import { HealthSentence, useAudit, violationsOf } from "./health_dialog.tsx";
import { type Live, type LiveStore, useLive } from "./live_store.ts";
import { Icon } from "./marks.tsx";
import { EventDialog, LetterDialog } from "./message_dialog.tsx";
import { MessagesView } from "./messages_view.tsx";
import { OrderView } from "./order_view.tsx";
import { OrdersList } from "./orders_list.tsx";
import { PageContext, type PageData, usePage } from "./page_data.ts";
import { Scenarios } from "./scenarios.tsx";
import { LettersDialog, ReplayDialog, type Sending } from "./send_again.tsx";
import { formatView, START_VIEW, titleOf, type ViewState } from "./url_state.ts";
import { useStory } from "./use_story.ts";
import { useView } from "./use_view.ts";

export interface AppProps {
  /** What the first rendering shows, on the server and in the browser. */
  readonly data: PageData;
  readonly api: ApiClient;
  /** The live stream; null on the server. */
  readonly store: LiveStore | null;
}

/** The page; on the server what the data says, in the browser from there on live. */
export function App({ data, api, store }: AppProps) {
  const { queues, scenarios } = data;
  const [view, navigate] = useView(data.view);
  const live = useLive(store, data.pulse);
  const { pulse, status, now } = live;
  const isStale = status === "offline" || status === "stale";
  const [done, setDone] = useState(0);
  const [sending, send] = useState<Sending | null>(null);
  const [isArming, setArming] = useState(false);
  /** The order whose film plays. */
  const [playing, setPlaying] = useState<string | null>(null);
  const followed = useStory(api, view.order, pulse, data.story, done);
  const verdict = useAudit(api, isStale);
  const health = healthOf(pulse, queues, status, violationsOf(verdict.audit));

  useEffect(() => {
    document.title = titleOf(view);
  }, [view]);

  const followPlayed = (order: string, played: string) => {
    setPlaying(order);
    navigate({ ...START_VIEW, order, played, beat: 1 });
  };
  return (
    <PageContext.Provider value={{ api, queues, scenarios, pulse, isStale, now, view, navigate, send, done }}>
      <div class={`page tab-${view.tab}${view.order ? " has-order" : ""}${isStale ? " is-stale" : ""}`}>
        {view.tab === "orders" && <a class="skip-link" href="#orders">Skip to the orders</a>}
        <a class="skip-link" href="#view">Skip to the view</a>
        <Head live={live} hasToken={data.hasToken}>
          <HealthSentence health={health} verdict={verdict} />
        </Head>
        <main class={view.tab === "orders" ? "columns" : "one-column"}>
          {view.tab === "orders" && (
            <div class="side">
              <Scenarios
                onPlayed={followPlayed}
                onFaults={() => setArming(true)}
              />
              <OrdersList initial={data.orders} />
            </div>
          )}
          <div id="view" tabIndex={-1}>
            {view.tab === "messages" ? <MessagesView /> : (
              <OrderView
                followed={followed}
                isPlaying={playing !== null && playing === view.order}
                onPlay={(isPlaying) => setPlaying(isPlaying ? view.order : null)}
              />
            )}
          </div>
        </main>
        {isArming && (
          <FaultsDialog onClose={() => setArming(false)} />
        )}
        <Dialogs sending={sending} onDone={() => setDone((count) => count + 1)} />
      </div>
    </PageContext.Provider>
  );
}

/** What the address names, and what is to be sent again, above the page. */
function Dialogs(
  { sending, onDone }: { readonly sending: Sending | null; readonly onDone: () => void },
) {
  const { view: { event, letter, replay }, navigate, send } = usePage();
  const close = () => navigate({ event: null, letter: null, replay: null }, "replace");
  return (
    <>
      {event && <EventDialog key={event} id={event} onDone={onDone} onClose={close} />}
      {letter && <LetterDialog key={letter} id={letter} onClose={close} />}
      {replay && <ReplayDialog key={replay} id={replay} onDone={onDone} onClose={close} />}
      {sending && <LettersDialog sending={sending} onDone={onDone} onClose={() => send(null)} />}
    </>
  );
}

interface HeadProps {
  readonly live: Live;
  readonly hasToken: boolean;
  readonly children: ComponentChildren;
}

const LIVE_WORDS = { connecting: "Connecting", live: "Live", offline: "Offline", stale: "No news" } as const;

function Head({ live: { status, isBack }, hasToken, children }: HeadProps) {
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
        <a href={formatView({ ...view, tab: "orders", cursor: "" })} aria-current={current("orders")}>
          Orders
        </a>
        <a href={formatView({ ...view, tab: "messages" })} aria-current={current("messages")}>
          Messages
          {letters > 0 && (
            <span class="count bad">
              {formatCount(letters)}
              <span class="visually-hidden">dead</span>
            </span>
          )}
        </a>
      </nav>
      {children}
      <div class="page-tools">
        <span class={`live live-${status} ${status === "live" ? "good" : ""}`} role="status">
          <span class="live-dot" aria-hidden="true" />
          {isBack && status === "live" ? "Connected again" : LIVE_WORDS[status]}
        </span>
        <ThemeToggle />
        {hasToken && (
          <form method="post" action="/logout">
            <button type="submit" class="button quiet" aria-label="Sign out" title="Sign out">
              <Icon name="exit" />
            </button>
          </form>
        )}
      </div>
    </header>
  );
}
