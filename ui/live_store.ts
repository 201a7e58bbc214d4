/**
 * The live stream as state, and as a hook: the newest pulse, how fresh it is, and how the connection stands.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import type { LivePulse } from "../shared/ops/live.ts";

/** What is known of the stream. Times are milliseconds of one local clock, which only differences are taken of. */
export interface LiveState {
  readonly connection: "connecting" | "open" | "lost";
  readonly pulse: LivePulse;
  /** When the pulse came. */
  readonly receivedAt: number;
  /** When the connection came back after it was lost; null where it never was, or is. */
  readonly recoveredAt: number | null;
}

/** Without a pulse for so long an open stream counts as stale, in milliseconds; the server sends one every 5 s. */
const STALE_AFTER_MS = 12_000;
/** The first wait before a new attempt, and the longest, in milliseconds; each one is twice the one before. */
const RECONNECT_MS = { first: 500, longest: 5000 } as const;

/** The state before anything has been heard: the server's own pulse, which came with the page. */
export function startLive(pulse: LivePulse, now: number): LiveState {
  return { connection: "connecting", pulse, receivedAt: now, recoveredAt: null };
}

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

/** What an opened stream tells. */
export interface StreamHandlers {
  readonly onOpen: () => void;
  readonly onPulse: (data: string) => void;
  readonly onLost: () => void;
}

/** What the store is made of; in the browser `EventSource`, `requestAnimationFrame` and the like. */
export interface LiveDeps {
  /** Opens the stream; the answer closes it. */
  readonly open: (handlers: StreamHandlers) => () => void;
  /** Reads a message; null where it is none. */
  readonly parse: (data: string) => LivePulse | null;
  /** Runs something before the next paint. */
  readonly onFrame: (run: () => void) => void;
  /** Runs something after so many milliseconds; the answer takes it back. */
  readonly after: (ms: number, run: () => void) => () => void;
  /** The local clock, in milliseconds. */
  readonly now: () => number;
}

export interface LiveStore {
  get(): LiveState;
  /** Calls back after each change; the answer ends that. */
  subscribe(onChange: () => void): () => void;
  /** Opens the stream, and opens it again whenever it is lost. Does nothing while it is started. */
  start(): void;
  /** Closes the stream until it is started again. */
  stop(): void;
}

/** Makes a store that shows `pulse` until the stream says more. Pulses between two frames become one change. */
export function createLiveStore(pulse: LivePulse, deps: LiveDeps): LiveStore {
  let state = startLive(pulse, deps.now());
  let close: (() => void) | null = null;
  let cancelRetry: (() => void) | null = null;
  let wait: number = RECONNECT_MS.first;
  let waiting: string | null = null;
  const listeners = new Set<() => void>();

  const change = (next: Partial<LiveState>) => {
    state = { ...state, ...next };
    for (const listener of listeners) listener();
  };
  const show = () => {
    const data = waiting;
    waiting = null;
    const pulse = data !== null && close ? deps.parse(data) : null;
    if (pulse) change({ pulse, receivedAt: deps.now() });
  };
  const connect = () => {
    close = deps.open({
      onOpen: () => {
        wait = RECONNECT_MS.first;
        change({
          connection: "open",
          recoveredAt: state.connection === "lost" ? deps.now() : state.recoveredAt,
        });
      },
      onPulse: (data) => {
        if (waiting === null) deps.onFrame(show);
        waiting = data;
      },
      onLost: () => {
        stop();
        if (state.connection !== "lost") change({ connection: "lost", recoveredAt: null });
        cancelRetry = deps.after(wait, connect);
        wait = Math.min(wait * 2, RECONNECT_MS.longest);
      },
    });
  };
  const stop = () => {
    close?.();
    cancelRetry?.();
    close = cancelRetry = null;
  };
  return {
    get: () => state,
    subscribe: (onChange) => {
      listeners.add(onChange);
      return () => listeners.delete(onChange);
    },
    start: () => {
      if (!close && !cancelRetry) connect();
    },
    stop,
  };
}

export interface Live {
  readonly pulse: LivePulse;
  readonly status: LiveStatus;
  /** The time at the server, in epoch milliseconds; it moves once a second. */
  readonly now: number;
  /** Whether the connection has come back just now. */
  readonly isBack: boolean;
}

/** How long it is said that the connection is back, in milliseconds. */
const BACK_FOR_MS = 5000;

/**
 * Follows a store. Without one, which is on the server, everything is as `pulse` says; in the browser the first
 * rendering is the same, and what has passed since counts from the second on.
 */
export function useLive(store: LiveStore | null, pulse: LivePulse): Live {
  const [state, setState] = useState(() => store?.get() ?? startLive(pulse, 0));
  const [localNow, setLocalNow] = useState(state.receivedAt);

  useEffect(() => {
    if (!store) return;
    const unsubscribe = store.subscribe(() => {
      setState(store.get());
      setLocalNow(performance.now());
    });
    const timer = setInterval(() => setLocalNow(performance.now()), 1000);
    return () => {
      unsubscribe();
      clearInterval(timer);
    };
  }, [store]);

  const at = Math.max(localNow, state.receivedAt);
  const isBack = state.recoveredAt !== null && at - state.recoveredAt < BACK_FOR_MS;
  return { pulse: state.pulse, status: liveStatus(state, at), now: serverNow(state, at), isBack };
}
