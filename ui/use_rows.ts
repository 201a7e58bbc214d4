/**
 * Lists that stay fresh: loaded anew when a pulse says that something may have changed, and held still while somebody
 * points at them.
 *
 * @module
 */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { problemOf } from "./api.ts";

export interface Rows<T> {
  /** The rows that are shown; null before the first answer. */
  readonly rows: readonly T[] | null;
  /** Where the next page begins; null where this is the last one. */
  readonly nextCursor: string | null;
  /** Why the last attempt failed; null where it did not. What was loaded before stays. */
  readonly problem: string | null;
  /** Whether what is wanted is not there yet. */
  readonly isLoading: boolean;
  /** Loads the rows again. */
  refresh(): void;
}

export interface Freshness<T> {
  /** A new one is a reason to load again. */
  readonly tick: string;
  /** Whether the rows have to stay as they are. */
  readonly isHeld: boolean;
  /** What the page came with. */
  readonly initial?: { readonly rows: readonly T[]; readonly nextCursor: string | null };
}

/** Between two loads at least, in milliseconds. */
const MIN_INTERVAL_MS = 1000;

/** Loads a list; `key` stands for what is wanted of it. */
export function useRows<T>(
  load: () => Promise<{ readonly rows: readonly T[]; readonly nextCursor: string | null }>,
  key: string,
  { tick, isHeld, initial }: Freshness<T>,
): Rows<T> {
  const [shown, setShown] = useState(initial ? { key, ...initial } : null);
  const [problem, setProblem] = useState<string | null>(null);
  const attempt = useRef({ number: 0, isBusy: false, endedAt: 0 });

  async function refresh(): Promise<void> {
    const mine = ++attempt.current.number;
    attempt.current.isBusy = true;
    let said: string | null = null;
    let page: Awaited<ReturnType<typeof load>> | null = null;
    try {
      page = await load();
    } catch (error) {
      said = problemOf(error);
    }
    if (mine !== attempt.current.number) return; // something else is wanted by now
    Object.assign(attempt.current, { isBusy: false, endedAt: Date.now() });
    if (page) setShown({ key, ...page });
    setProblem(said);
  }

  const isFirst = useRef(initial !== undefined);
  useEffect(() => {
    if (!isFirst.current) void refresh();
    isFirst.current = false;
    return () => {
      attempt.current.number++;
    };
  }, [key]);

  useEffect(() => {
    if (isHeld || attempt.current.isBusy || document.hidden) return;
    const wait = attempt.current.endedAt + MIN_INTERVAL_MS - Date.now();
    if (wait <= 0) return void refresh();
    const timer = setTimeout(refresh, wait);
    return () => clearTimeout(timer);
  }, [tick, isHeld]);

  const isWanted = shown?.key === key;
  return {
    // Rows of another filter may stay for the moment until the answer, but not beside a problem.
    rows: isWanted || problem === null ? shown?.rows ?? null : null,
    nextCursor: isWanted ? shown.nextCursor : null,
    problem,
    isLoading: !isWanted && problem === null,
    refresh: () => void refresh(),
  };
}

/** Whether somebody points at an element or has the focus in it, and the handlers that find out. */
export function useHold() {
  const [held, setHeld] = useState({ pointer: false, focus: false });
  const handlers = useMemo(() => ({
    // A finger stays nowhere: it would hold the list long after it has gone.
    onPointerEnter: ({ pointerType }: PointerEvent) =>
      pointerType === "mouse" && setHeld((old) => ({ ...old, pointer: true })),
    onPointerLeave: () => setHeld((old) => ({ ...old, pointer: false })),
    // What was clicked has the focus as well; only who goes by the keyboard is held up by what moves.
    onFocusIn: ({ target }: FocusEvent) =>
      target instanceof Element && target.matches(":focus-visible") &&
      setHeld((old) => ({ ...old, focus: true })),
    onFocusOut: ({ currentTarget, relatedTarget }: FocusEvent) => {
      const isInside = currentTarget instanceof Element && relatedTarget instanceof Node &&
        currentTarget.contains(relatedTarget);
      if (!isInside) setHeld((old) => ({ ...old, focus: false }));
    },
  }), []);
  return {
    isHeld: held.pointer || held.focus,
    release: () => setHeld({ pointer: false, focus: false }),
    handlers,
  };
}

/** What a request answers with, or why it did not, in words; a new `key` asks anew, and keeps the last answer meanwhile. */
export function useLoaded<T>(load: () => Promise<T>, key: unknown): readonly [T | null, string | null] {
  const [state, setState] = useState<readonly [T | null, string | null]>([null, null]);
  useEffect(() => {
    let isWanted = true;
    load().then(
      (value) => isWanted && setState([value, null]),
      (error) => isWanted && setState([null, problemOf(error)]),
    );
    return () => {
      isWanted = false;
    };
  }, [key]);
  return state;
}
