/**
 * Dialogs: the native kind, which keeps the focus inside, closes on Escape, and gives the focus back.
 *
 * @module
 */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { Icon, Notice } from "./marks.tsx";
import { usePage } from "./page_data.ts";

interface DialogProps {
  readonly title: string;
  /** Why what it shows could not be read, in words; null where it could. */
  readonly problem?: string | null;
  /** Whether what it shows is still being read. */
  readonly isReading?: boolean;
  readonly children?: ComponentChildren;
}

/** A dialog over the page for as long as the address names it. */
export function Dialog({ title, problem = null, isReading = false, children }: DialogProps) {
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
        <button type="button" class="button quiet" aria-label="Close" onClick={() => dialog.current?.close()}>
          <Icon name="cross" />
        </button>
      </div>
      <div class="dialog-body">
        {problem !== null && <Notice level="bad">{problem}</Notice>}
        {isReading && <p role="status">Reading it…</p>}
        {children}
      </div>
    </dialog>
  );
}
