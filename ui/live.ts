// The live stream: followed, opened again whenever it is lost, and as a hook the newest pulse and how fresh it is.

import { useEffect, useState } from "preact/hooks";
import type { LivePulse } from "../shared/ops/live.ts";

/** What is known of the stream. Times are milliseconds of one local clock, which only differences are taken of. */
interface LiveState {
  readonly connection: "connecting" | "open" | "lost";
  readonly pulse: LivePulse;
  /** When the pulse came. */
  readonly receivedAt: number;
  /** When the connection came back after it was lost; null where it never was, or is. */
  readonly recoveredAt: number | null;
}

/** Without a pulse for so long an open stream counts as stale, in milliseconds; the server sends one every 5 s. */
const STALE_AFTER_MS = 12_000;
/** After a refusal the stream is opened anew so many milliseconds later; after a loss the browser itself sees to that. */
const REFUSED_MS = 5000;
/** A tab that nobody looks at gives up its connection after so many milliseconds: a browser has six for a host. */
const HIDDEN_MS = 10_000;
/** How long it is said that the connection is back, in milliseconds. */
const BACK_FOR_MS = 5000;

/** How the stream stands, in one word; what is silent is never called live. */
export type LiveStatus = "connecting" | "live" | "offline" | "stale";

export function liveStatus({ connection, receivedAt }: LiveState, now: number): LiveStatus {
  if (connection === "lost") return "offline";
  if (now - receivedAt > STALE_AFTER_MS) return "stale";
  return connection === "open" ? "live" : "connecting";
}

/** What time it is at the server, in epoch milliseconds: its clock when it last spoke, and what has passed since. */
export function serverNow({ pulse, receivedAt }: LiveState, now: number): number {
  return Date.parse(pulse.at) + Math.max(0, now - receivedAt);
}

/** The part of an `EventSource` that is used. */
export interface Source {
  onopen: ((event: Event) => unknown) | null;
  onerror: ((event: Event) => unknown) | null;
  readonly readyState: number;
  addEventListener(type: string, listener: (message: MessageEvent) => void): void;
  close(): void;
}

interface StreamHandlers {
  readonly onOpen: () => void;
  readonly onPulse: (pulse: LivePulse) => void;
  /** It was lost, and is opened again; `isRefused` where the server said no. */
  readonly onLost: (isRefused: boolean) => void;
}

type Timer = ReturnType<typeof setTimeout>;

/**
 * Follows a stream of pulses from `start()` to `stop()`, and again. `open` makes the source, which connects again by itself
 * when it is lost, after the time that the server tells; `later` is the browser's timer.
 */
export function followStream(
  { onOpen, onPulse, onLost }: StreamHandlers,
  open: () => Source,
  later: (run: () => void, ms: number) => Timer,
) {
  let source: Source | null = null;
  let retry: Timer | undefined;
  const start = () => {
    if (source) return;
    const opened = source = open();
    opened.onopen = onOpen;
    opened.onerror = () => {
      const isRefused = opened.readyState === 2; // CLOSED: it does not try again
      onLost(isRefused);
      if (isRefused) retry = later(() => (stop(), start()), REFUSED_MS);
    };
    opened.addEventListener("pulse", ({ data }) => {
      const pulse = parsePulse(String(data));
      if (pulse && source === opened) onPulse(pulse);
    });
  };
  const stop = () => {
    source?.close();
    clearTimeout(retry);
    source = null;
  };
  return { start, stop };
}

/** The pulse of a message; null where a server of another version means something else by it. */
function parsePulse(data: string): LivePulse | null {
  try {
    const pulse: LivePulse = JSON.parse(data);
    return Array.isArray(pulse.orders) && Array.isArray(pulse.processes) ? pulse : null;
  } catch {
    return null;
  }
}

export interface Live {
  readonly pulse: LivePulse;
  readonly status: LiveStatus;
  /** The time at the server, in epoch milliseconds; it moves once a second. */
  readonly now: number;
  /** Whether the connection has come back just now. */
  readonly isBack: boolean;
}

/**
 * Follows the server. On it, and at the first rendering in the browser, everything is as `pulse` says. `onRefused` is
 * told when the server does not let the page follow.
 */
export function useLive(pulse: LivePulse, onRefused: () => void): Live {
  const [state, setState] = useState<LiveState>(() => {
    return { connection: "connecting", pulse, receivedAt: 0, recoveredAt: null };
  });
  const [localNow, setLocalNow] = useState(0);

  useEffect(() => {
    const clock = () => performance.now() - begun;
    const begun = performance.now();
    const change = (next: (old: LiveState) => Partial<LiveState>) => {
      setState((old) => ({ ...old, ...next(old) }));
      setLocalNow(clock());
    };
    const stream = followStream(
      {
        onOpen: () =>
          change(({ connection, recoveredAt }) => ({
            connection: "open",
            recoveredAt: connection === "lost" ? clock() : recoveredAt,
          })),
        onPulse: (pulse) => change(() => ({ pulse, receivedAt: clock() })),
        onLost: (isRefused) => {
          change(() => ({ connection: "lost", recoveredAt: null }));
          if (isRefused) onRefused();
        },
      },
      () => new EventSource("/ops/live"),
      setTimeout,
    );
    stream.start();
    const timer = setInterval(() => setLocalNow(clock()), 1000);
    let hidden: Timer | undefined;
    const rest = () => {
      clearTimeout(hidden);
      if (document.hidden) hidden = setTimeout(stream.stop, HIDDEN_MS);
      else stream.start();
    };
    document.addEventListener("visibilitychange", rest);
    return () => {
      stream.stop();
      clearInterval(timer);
      clearTimeout(hidden);
      document.removeEventListener("visibilitychange", rest);
    };
  }, []);

  const at = Math.max(localNow, state.receivedAt);
  const isBack = state.recoveredAt !== null && at - state.recoveredAt < BACK_FOR_MS;
  return { pulse: state.pulse, status: liveStatus(state, at), now: serverNow(state, at), isBack };
}
