/**
 * The live stream as state: what is shown, how fresh it is, and how the connection stands.
 *
 * @module
 */
import type { LivePulse } from "../shared/ops/live.ts";

/** What is known of the stream. Times are milliseconds of one local clock, which only differences are taken of. */
export interface LiveState {
  /** How the connection stands: yet to be made, open, or lost. */
  readonly connection: "connecting" | "open" | "lost";
  /** Whether the shown pulse is held. */
  readonly isPaused: boolean;
  /** The pulse that is shown. */
  readonly shown: LivePulse;
  /** The newest pulse; while paused ahead of the shown one. */
  readonly latest: LivePulse;
  /** When the newest one came. */
  readonly receivedAt: number;
  /** How many pulses came since the pause began. */
  readonly missed: number;
  /** When the connection came back after it was lost; null where it never was, or is. */
  readonly recoveredAt: number | null;
}

/** What can happen to the stream. */
export type LiveEvent =
  | { readonly kind: "opened"; readonly at: number }
  | { readonly kind: "lost" }
  | { readonly kind: "pulse"; readonly pulse: LivePulse; readonly count: number; readonly at: number }
  | { readonly kind: "pause" }
  | { readonly kind: "resume" };

/** Without a pulse for so long an open stream counts as stale, in milliseconds; the server sends one every 5 s. */
export const STALE_AFTER_MS = 12_000;
/** How long it is said that the connection is back, in milliseconds. */
export const RECOVERED_FOR_MS = 5000;
/** The first wait before a new attempt, and the longest, in milliseconds; each one is twice the one before. */
export const RECONNECT_MS = { first: 500, longest: 5000 } as const;

/** The state before anything has been heard: the server's own pulse, which came with the page. */
export function startLive(pulse: LivePulse, now: number): LiveState {
  return {
    connection: "connecting",
    isPaused: false,
    shown: pulse,
    latest: pulse,
    receivedAt: now,
    missed: 0,
    recoveredAt: null,
  };
}

/** What an event makes of the state. */
export function reduceLive(state: LiveState, event: LiveEvent): LiveState {
  switch (event.kind) {
    case "opened":
      return {
        ...state,
        connection: "open",
        recoveredAt: state.connection === "lost" ? event.at : state.recoveredAt,
      };
    case "lost":
      return { ...state, connection: "lost", recoveredAt: null };
    case "pulse": {
      const heard = { ...state, latest: event.pulse, receivedAt: event.at };
      return state.isPaused
        ? { ...heard, missed: state.missed + event.count }
        : { ...heard, shown: event.pulse };
    }
    case "pause":
      return { ...state, isPaused: true, missed: 0 };
    case "resume":
      return { ...state, isPaused: false, missed: 0, shown: state.latest };
  }
}

/** How the stream stands at `now`, in one word. What is lost or silent is never called live, paused or not. */
export type LiveStatus = "connecting" | "live" | "paused" | "offline" | "stale";

/** How the stream stands at `now`. */
export function liveStatus(state: LiveState, now: number): LiveStatus {
  if (state.connection === "lost") return "offline";
  if (now - state.receivedAt > STALE_AFTER_MS) return "stale";
  if (state.isPaused) return "paused";
  return state.connection === "open" ? "live" : "connecting";
}

/** What time it is at the server, in epoch milliseconds: its clock when it last spoke, and what has passed since. */
export function serverNow({ latest, receivedAt }: LiveState, now: number): number {
  return Date.parse(latest.at) + Math.max(0, now - receivedAt);
}

/** What an opened stream tells. */
export interface StreamHandlers {
  /** The connection stands. */
  readonly onOpen: () => void;
  /** A message came, with its data. */
  readonly onPulse: (data: string) => void;
  /** The connection is gone, or never came about. */
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

/** The stream's state, and what can be done about it. */
export interface LiveStore {
  /** The state as it is. */
  get(): LiveState;
  /** Calls back after each change; the answer ends that. */
  subscribe(onChange: () => void): () => void;
  /** Opens the stream, and opens it again whenever it is lost. Does nothing while it is started. */
  start(): void;
  /** Closes the stream until it is started again. */
  stop(): void;
  /** Holds what is shown. */
  pause(): void;
  /** Shows the newest. */
  resume(): void;
}

/** Makes a store that shows `pulse` until the stream says more. Pulses between two frames become one change. */
export function createLiveStore(pulse: LivePulse, deps: LiveDeps): LiveStore {
  let state = startLive(pulse, deps.now());
  let close: (() => void) | null = null;
  let cancelRetry: (() => void) | null = null;
  let wait: number = RECONNECT_MS.first;
  let waiting: { data: string; count: number } | null = null;
  const listeners = new Set<() => void>();

  const dispatch = (event: LiveEvent) => {
    state = reduceLive(state, event);
    for (const listener of listeners) listener();
  };

  const show = () => {
    const held = waiting;
    waiting = null;
    const pulse = held && close ? deps.parse(held.data) : null;
    if (held && pulse) dispatch({ kind: "pulse", pulse, count: held.count, at: deps.now() });
  };

  const connect = () => {
    close = deps.open({
      onOpen: () => {
        wait = RECONNECT_MS.first;
        dispatch({ kind: "opened", at: deps.now() });
      },
      onPulse: (data) => {
        if (!waiting) deps.onFrame(show);
        waiting = { data, count: (waiting?.count ?? 0) + 1 };
      },
      onLost: () => {
        disconnect();
        if (state.connection !== "lost") dispatch({ kind: "lost" });
        cancelRetry = deps.after(wait, connect);
        wait = Math.min(wait * 2, RECONNECT_MS.longest);
      },
    });
  };

  const disconnect = () => {
    close?.();
    close = null;
    cancelRetry?.();
    cancelRetry = null;
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
    stop: disconnect,
    pause: () => dispatch({ kind: "pause" }),
    resume: () => dispatch({ kind: "resume" }),
  };
}
