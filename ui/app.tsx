// The page: its head with the health of the whole, the orders or the messages below, and the dialogs above; that of what
// operators did is here, too.

import { useEffect, useState } from "preact/hooks";
import type { OperationJson } from "../shared/ops/answers.ts";
import { formatCount } from "../shared/words.ts";
import type { ApiClient } from "./api.ts";
import { Button, type Column, Dialog, Table, ViewLink, When } from "./controls.tsx";
import { FaultsDialog } from "./faults_dialog.tsx";
import { type Health, HealthDialog, healthOf, HealthSentence, useAudit, violationsOf } from "./health.tsx";
import { PageContext, useFresh, usePage, useView } from "./hooks.ts";
import { type Live, useLive } from "./live.ts";
import { Icon } from "./marks.tsx";
import { EventDialog, LetterDialog } from "./message_dialog.tsx";
import { MessagesView } from "./messages_view.tsx";
import { OrderView } from "./order_view.tsx";
import type { PageData } from "./page.tsx";
import { EventsDialog, SetDialog } from "./send_again.tsx";
import { Side } from "./side.tsx";
import { titleOf, type ViewState } from "./url_state.ts";

interface AppProps {
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
          {view.tab === "orders" && <Side initial={isFirst ? data.orders : undefined} />}
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
  const letters = Object.values(pulse.deadLetters).reduce((total, count) => total + count, 0);
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

const THEME_ICONS = { system: "system", light: "sun", dark: "moon" } as const;
const NEXT_THEMES = { system: "light", light: "dark", dark: "system" } as const;
type Theme = keyof typeof NEXT_THEMES;
const THEME_KEY = "orderflow-theme";

/** Changes between light, dark, and as the system has it; this browser keeps it. */
function ThemeToggle() {
  const [theme, setTheme] = useState<Theme>("system");
  useEffect(() => setTheme(storedTheme()), []);
  const next = NEXT_THEMES[theme];
  const change = () => {
    setTheme(next);
    applyTheme(next);
    try {
      localStorage.setItem(THEME_KEY, next);
    } catch {
      // denied: it lasts as long as the page
    }
  };
  const label = `Theme: ${theme}. Change to ${next}`;
  const title = `Theme: ${theme}`;
  return <Button look="quiet" icon={THEME_ICONS[theme]} aria-label={label} title={title} onClick={change} />;
}

/** Gives the document a theme; by default the one that was chosen in this browser, before the island's first paint. */
export function applyTheme(theme: Theme = storedTheme()): void {
  document.documentElement.style.colorScheme = theme === "system" ? "" : theme;
}

function storedTheme(): Theme {
  try {
    const stored = localStorage.getItem(THEME_KEY);
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system"; // storage may be denied
  }
}

/** The newest first. */
function ActionsDialog() {
  const { api, pulse } = usePage();
  const fresh = useFresh(() => api.listOperations(), "actions", { tick: pulse.at });
  const operations = fresh.value?.operations;
  return (
    <Dialog title={ACTIONS} of={fresh}>
      <p class="muted">Each act that changed something, from the page, the API or a task: the newest 50.</p>
      {operations && (
        <Table
          caption="Actions"
          columns={ACTION_COLUMNS}
          rows={operations}
          empty="Nobody has done anything yet."
        />
      )}
    </Dialog>
  );
}

const ACTION_COLUMNS: readonly Column<OperationJson>[] = [
  ["When", ({ at }) => <When at={at} />],
  ["What", ({ action }) => <b>{action}</b>],
  ["On what", ({ subject }) => Object.entries(subject).map(subjectLine)],
  ["Why", ({ reason }) => reason ?? <span class="muted">nothing was said</span>],
  ["From where", ({ source }) => <span class="muted">{source}</span>],
];

function subjectLine([name, value]: readonly [string, unknown]) {
  const words = typeof value === "string" ? value : JSON.stringify(value);
  const isSet = name === "setId" && typeof value === "string";
  return (
    <div key={name}>
      <span class="muted">{name}</span>{" "}
      {isSet ? <ViewLink to={{ panel: "", set: value }}>what became of them</ViewLink> : words}
    </div>
  );
}
