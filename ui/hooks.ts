// The hooks that everything on the page is made of: what every part can use, the address as state, what the server answers,
// and lists that hold still.

import { createContext } from "preact";
import { useCallback, useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type ApiClient, problemOf } from "./api.ts";
import type { PageData } from "./page.tsx";
import { formatView, parseView, type ViewState } from "./url_state.ts";

/** What every part of the page can use: the routes, how everything stands, what is looked at, and what changes that. */
export interface Page extends Pick<PageData, "queues" | "scenarios" | "pulse" | "view"> {
  readonly api: ApiClient;
  /** Whether the pulse is old: nothing of it is shown as fresh then. */
  readonly isStale: boolean;
  /** The time at the server, in epoch milliseconds. */
  readonly now: number;
  readonly navigate: Navigate;
}

/** Provided by the page around all its parts. */
export const PageContext = createContext<Page | null>(null);

export function usePage(): Page {
  const page = useContext(PageContext);
  if (!page) throw new Error("usePage() is for what stands inside the page's PageContext.Provider");
  return page;
}

/** Changes part of the view; `replace` leaves no entry for the back button. */
type Navigate = (change: Partial<ViewState>, how?: "push" | "replace") => void;

/** The view, and what changes it. Plain clicks on links to `/` and `/?…` below the document become changes. */
export function useView(initial: ViewState): readonly [ViewState, Navigate] {
  const [view, setView] = useState(initial);
  const navigate = useCallback<Navigate>((change, how = "push") => {
    const next = { ...parseView(new URLSearchParams(location.search)), ...change };
    const address = formatView(next);
    if (address !== location.pathname + location.search) {
      if (how === "push") history.pushState(null, "", address);
      else history.replaceState(null, "", address);
    }
    setView(next);
  }, []);

  useEffect(() => {
    const onPop = () => setView(parseView(new URLSearchParams(location.search)));
    const onClick = (event: MouseEvent) => {
      const link = event.target instanceof Element ? event.target.closest("a") : null;
      if (!link || !isPlainClick(event) || link.origin !== location.origin || link.pathname !== "/") return;
      if (link.hash || link.target) return;
      event.preventDefault();
      navigate(parseView(new URL(link.href).searchParams));
    };
    addEventListener("popstate", onPop);
    document.addEventListener("click", onClick);
    return () => {
      removeEventListener("popstate", onPop);
      document.removeEventListener("click", onClick);
    };
  }, []);
  return [view, navigate];
}

function isPlainClick(event: MouseEvent): boolean {
  const { button, metaKey, ctrlKey, shiftKey, altKey, defaultPrevented } = event;
  return button === 0 && !metaKey && !ctrlKey && !shiftKey && !altKey && !defaultPrevented;
}

/** What a request has answered with. */
export interface Fresh<T> {
  /** Null before the first answer; of an earlier key until the next one. */
  readonly value: T | null;
  /** Why the last attempt failed, in words; null where it did not. What was answered before stays. */
  readonly problem: string | null;
  /** Whether what is wanted is not there yet. */
  readonly isLoading: boolean;
  readonly refresh: () => void;
}

/** When a request is made again. */
interface Freshness<T> {
  /** A new one is a reason to ask again. */
  readonly tick?: string;
  /** Whether the answer has to stay as it is. */
  readonly isHeld?: boolean;
  /** What the page came with. */
  readonly initial?: T | undefined;
}

/** Between two requests at least, in milliseconds. */
const MIN_INTERVAL_MS = 1000;

/** Asks the server, and asks again; `key` stands for what is wanted. Only the newest request counts. */
export function useFresh<T>(
  load: () => Promise<T>,
  key: string,
  { tick, isHeld = false, initial }: Freshness<T> = {},
): Fresh<T> {
  const [shown, setShown] = useState<{ readonly key: string; readonly value: T } | null>(() => {
    return initial === undefined ? null : { key, value: initial };
  });
  const [problem, setProblem] = useState<string | null>(null);
  const attempt = useRef({ number: 0, isBusy: false, endedAt: 0, isFirst: initial !== undefined });

  async function refresh(): Promise<void> {
    const mine = ++attempt.current.number;
    attempt.current.isBusy = true;
    const answer = await load().then((value) => ({ key, value }), problemOf);
    if (mine !== attempt.current.number) return; // something else is wanted by now
    Object.assign(attempt.current, { isBusy: false, endedAt: Date.now() });
    if (typeof answer === "string") return setProblem(answer);
    setShown(answer);
    setProblem(null);
  }

  useEffect(() => {
    if (!attempt.current.isFirst) void refresh();
    attempt.current.isFirst = false;
    return () => void attempt.current.number++;
  }, [key]);

  useEffect(() => {
    if (tick === undefined || isHeld || attempt.current.isBusy || document.hidden) return;
    const timer = setTimeout(refresh, attempt.current.endedAt + MIN_INTERVAL_MS - Date.now());
    return () => clearTimeout(timer);
  }, [tick, isHeld]);

  const isWanted = shown?.key === key;
  return {
    // What was asked for before may stay for the moment until the answer, but not beside a problem.
    value: isWanted || problem === null ? shown?.value ?? null : null,
    problem,
    isLoading: !isWanted && problem === null,
    refresh: () => void refresh(),
  };
}

/** Whether something is under way, what came of it in words, and doing it. */
export function useAction() {
  const [state, setState] = useState({ isBusy: false, problem: null as string | null });
  const act = async (doing: () => Promise<unknown>) => {
    setState({ isBusy: true, problem: null });
    const problem = await doing().then(() => null, problemOf);
    setState({ isBusy: false, problem });
  };
  return { ...state, act };
}

/** Whether somebody points at an element or has the focus in it, and the handlers that find out. */
export function useStill() {
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
    isStill: held.pointer || held.focus,
    release: () => setHeld({ pointer: false, focus: false }),
    handlers,
  };
}
