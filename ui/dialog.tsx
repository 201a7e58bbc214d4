// Dialogs: the native kind, which keeps the focus inside, closes on Escape, and gives the focus back.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Button } from "./controls.tsx";
import type { Fresh } from "./hooks.ts";
import { Notice } from "./marks.tsx";
import { usePage } from "./page_data.ts";

interface DialogProps {
  readonly title: string;
  /** What it shows, as far as that has been read. */
  readonly of?: Pick<Fresh<unknown>, "problem" | "isLoading">;
  /** What went wrong in it, in words. */
  readonly problem?: string | null;
  readonly children?: ComponentChildren;
}

/** A dialog over the page for as long as the address names it. */
export function Dialog({ title, of, problem = of?.problem ?? null, children }: DialogProps) {
  const { navigate } = usePage();
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const isGone = useRef(false);
  useEffect(() => {
    const shown = dialog.current;
    if (shown && !shown.open) shown.showModal();
    return () => {
      isGone.current = true; // nobody has closed it: something else is rendered in its place
      shown?.close();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby={heading}
      onClose={() =>
        isGone.current || navigate({ event: null, letter: null, set: null, panel: "" }, "replace")}
    >
      <div class="dialog-head">
        <h2 id={heading}>{title}</h2>
        <Button look="quiet" icon="cross" aria-label="Close" onClick={() => dialog.current?.close()} />
      </div>
      <div class="dialog-body">
        {problem !== null && <Notice level="bad">{problem}</Notice>}
        {of?.isLoading && <p role="status">Reading it…</p>}
        {children}
      </div>
    </dialog>
  );
}
