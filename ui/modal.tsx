/**
 * A native dialog: it keeps the focus inside, Escape closes it, and the focus goes back to where it was.
 *
 * @module
 */
import { useEffect, useId, useRef } from "preact/hooks";
import { Icon } from "./icon.tsx";
import type { Children, Rendered } from "./rendered.ts";

/** What a dialog is made of. */
export interface ModalProps {
  /** Its heading, which is its name. */
  readonly title: string;
  /** What it shows. */
  readonly children: Children;
  /** Whether it takes the width of a page rather than that of a question. */
  readonly isWide?: boolean;
  /** It was closed: render it no longer. */
  readonly onClose: () => void;
}

/** Shows a dialog over the page for as long as it is rendered. What has `data-focus` in it gets the focus first. */
export function Modal({ title, children, isWide, onClose }: ModalProps): Rendered {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const shown = dialog.current;
    if (shown && !shown.open) shown.showModal();
    shown?.querySelector<HTMLElement>("[data-focus]")?.focus();
    return () => shown?.close();
  }, []);
  return (
    <dialog ref={dialog} class={isWide ? "modal wide" : "modal"} aria-labelledby={heading} onClose={onClose}>
      <div class="modal-head">
        <h2 id={heading}>{title}</h2>
        <button
          type="button"
          class="button quiet small"
          aria-label="Close"
          onClick={() =>
            dialog.current?.close()}
        >
          <Icon name="cross" />
        </button>
      </div>
      <div class="modal-body">{children}</div>
    </dialog>
  );
}
