/**
 * The head of the page: its name, the tabs, how the stream stands, the audit, and the theme.
 *
 * @module
 */
import { useEffect, useRef } from "preact/hooks";
import type { LivePulse } from "../shared/ops/live.ts";
import { formatTime } from "./format.ts";
import { Icon } from "./icon.tsx";
import { RECOVERED_FOR_MS } from "./live_store.ts";
import type { Children, Rendered } from "./rendered.ts";
import { ThemeToggle } from "./theme_toggle.tsx";
import { formatView, type Tab, TABS, type ViewState } from "./url_state.ts";
import type { Live } from "./use_live.ts";

/** What the head needs. */
export interface PageHeaderProps {
  /** The view. */
  readonly view: ViewState;
  /** How the stream stands. */
  readonly live: Live;
  /** Holds the stream, or lets it go on. */
  readonly onPause: () => void;
  /** The audit's badge. */
  readonly children: Children;
}

const TAB_NAMES: Readonly<Record<Tab, string>> = {
  order: "Orders",
  machine: "Machine",
  outbox: "Outbox",
  inbox: "Inbox",
  "dead-letters": "Dead letters",
  replay: "Replay",
  faults: "Faults",
};

/** The head of the page. */
export function PageHeader({ view, live, onPause, children }: PageHeaderProps): Rendered {
  const tabs = useRef<HTMLElement>(null);
  useEffect(() => {
    const current = tabs.current?.querySelector("[aria-current]");
    current?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [view.tab]);
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
      <nav class="tabs" aria-label="Views" ref={tabs}>
        {TABS.map((tab) => (
          <a
            key={tab}
            href={formatView({ ...view, tab })}
            aria-current={view.tab === tab ? "page" : undefined}
          >
            {TAB_NAMES[tab]}
            <TabCount tab={tab} pulse={live.state.shown} />
          </a>
        ))}
      </nav>
      <div class="page-tools">
        <LiveIndicator live={live} onPause={onPause} />
        {children}
        <ThemeToggle />
      </div>
    </header>
  );
}

function TabCount({ tab, pulse }: { readonly tab: Tab; readonly pulse: LivePulse }): Rendered | null {
  const letters = Object.values(pulse.deadLetters).reduce((sum, count) => sum + count, 0);
  const count = tab === "dead-letters" ? letters : tab === "outbox" ? pulse.outbox.pending : 0;
  if (count === 0) return null;
  const what = tab === "outbox" ? "waiting" : "open";
  return (
    <span class={`tab-count ${tab === "outbox" ? "warn" : "bad"}`}>
      {count}
      <span class="visually-hidden">{` ${what}`}</span>
    </span>
  );
}

function LiveIndicator({ live, onPause }: Pick<PageHeaderProps, "live" | "onPause">): Rendered {
  const { status, state } = live;
  const words = {
    connecting: "Connecting",
    live: "Live",
    paused: state.missed > 0 ? `Paused, ${state.missed} missed` : "Paused",
    offline: "Offline",
    stale: "No news",
  }[status];
  return (
    <div class={`live live-${status}`}>
      <span class="live-dot" aria-hidden="true" />
      <span class="live-word">{words}</span>
      <button
        type="button"
        class="button quiet small"
        aria-pressed={state.isPaused}
        aria-label={state.isPaused ? "Resume live updates" : "Pause live updates"}
        title={state.isPaused ? "Resume" : "Pause"}
        onClick={onPause}
      >
        <Icon name={state.isPaused ? "play" : "pause"} />
      </button>
    </div>
  );
}

/** Says what is wrong with the stream, and for a moment that it is back. */
export function LiveBanner({ live: { status, state, localNow } }: { readonly live: Live }): Rendered {
  const since = formatTime(state.latest.at);
  const isBack = state.recoveredAt !== null && localNow - state.recoveredAt < RECOVERED_FOR_MS;
  const [tone, text] = status === "offline"
    ? ["bad", `Disconnected – data as of ${since} UTC, trying again`]
    : status === "stale"
    ? ["warn", `Connected, but nothing has been heard since ${since} UTC`]
    : isBack
    ? ["good", "Connected again"]
    : ["", ""];
  return (
    <div class="live-banner" role="status">
      {text && (
        <p class={`notice ${tone}`}>
          <Icon name={tone === "good" ? "check" : "offline"} />
          {text}
        </p>
      )}
    </div>
  );
}
