/**
 * The view as the address has it: links and the back button change what is shown, without a new page.
 *
 * @module
 */
import { useCallback, useEffect, useState } from "preact/hooks";
import { formatView, parseView, type ViewState } from "./url_state.ts";

/** Changes part of the view; `replace` leaves no entry for the back button. */
export type Navigate = (change: Partial<ViewState>, how?: "push" | "replace") => void;

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
      navigate(parseView(link.href ? new URL(link.href).searchParams : new URLSearchParams()));
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
