/**
 * The live stream as a hook, and the clock that ages are told by.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import type { LivePulse } from "../shared/ops/live.ts";
import {
  type LiveState,
  type LiveStatus,
  liveStatus,
  type LiveStore,
  serverNow,
  startLive,
} from "./live_store.ts";

/** How the stream stands. */
export interface Live {
  /** The stream's state. */
  readonly state: LiveState;
  /** The same in one word. */
  readonly status: LiveStatus;
  /** The time at the server, in epoch milliseconds; it moves once a second. */
  readonly now: number;
  /** The local clock of the state's times, in milliseconds; it moves once a second. */
  readonly localNow: number;
}

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
  return { state, status: liveStatus(state, at), now: serverNow(state, at), localNow: at };
}
