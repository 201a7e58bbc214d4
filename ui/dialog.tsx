/**
 * Dialogs: the native kind, which keeps the focus inside, closes on Escape, and gives the focus back.
 *
 * @module
 */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { problemOf } from "./api.ts";
import { Icon, Notice } from "./marks.tsx";

interface DialogProps {
  readonly title: string;
  readonly children: ComponentChildren;
  /** Whether it takes the width of a page rather than that of a question. */
  readonly isWide?: boolean;
  /** It was closed: render it no longer. */
  readonly onClose: () => void;
}

/** A dialog over the page for as long as it is rendered. What has `data-focus` in it gets the focus first. */
export function Dialog({ title, children, isWide, onClose }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const isGone = useRef(false);
  useEffect(() => {
    const shown = dialog.current;
    if (shown && !shown.open) shown.showModal();
    shown?.querySelector<HTMLElement>("[data-focus]")?.focus();
    return () => {
      isGone.current = true; // nobody has closed it: something else is rendered in its place
      shown?.close();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={isWide ? "dialog wide" : "dialog"}
      aria-labelledby={heading}
      onClose={() => isGone.current || onClose()}
    >
      <div class="dialog-head">
        <h2 id={heading}>{title}</h2>
        <button type="button" class="button quiet" aria-label="Close" onClick={() => dialog.current?.close()}>
          <Icon name="cross" />
        </button>
      </div>
      <div class="dialog-body">{children}</div>
    </dialog>
  );
}

export interface QuestionProps {
  readonly children: ComponentChildren;
  /** The words on the button that does it. */
  readonly action: string;
  readonly isDangerous?: boolean;
  /** Whether it can be done at all: false while what it would do is still being counted. */
  readonly isReady?: boolean;
  /** Where a reason has to be given: the label of its field. */
  readonly reasonLabel?: string;
  /** Does it, and resolves with what came of it; where it rejects, the question stays and shows why. */
  readonly onConfirm: (reason: string) => Promise<string>;
}

/** The longest reason that the API keeps. */
const MAX_REASON = 500;

/** A question inside a dialog: asks before something is done, and says afterwards what came of it. */
export function Question(props: QuestionProps) {
  const { children, action, isDangerous, isReady = true, reasonLabel, onConfirm } = props;
  const [reason, setReason] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [result, setResult] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const isComplete = reasonLabel === undefined || reason.trim() !== "";

  async function confirm(event: Event) {
    event.preventDefault();
    if (isBusy || !isReady || !isComplete) return;
    setBusy(true);
    setProblem(null);
    try {
      setResult(await onConfirm(reason.trim()));
    } catch (error) {
      setProblem(problemOf(error));
    }
    setBusy(false);
  }

  return (
    <form class="question" onSubmit={confirm}>
      {children}
      {reasonLabel !== undefined && result === null && (
        <label class="form-field">
          <span>{reasonLabel}</span>
          <input
            class="field"
            required
            data-focus
            maxLength={MAX_REASON}
            value={reason}
            onInput={(event) => setReason(event.currentTarget.value)}
          />
        </label>
      )}
      {problem !== null && <Notice level="bad">{problem}</Notice>}
      {result !== null && <Notice level="good">{result}</Notice>}
      <div class="question-buttons">
        <button
          type="button"
          class="button"
          onClick={({ currentTarget }) => currentTarget.closest("dialog")?.close()}
        >
          Close
        </button>
        {result === null && (
          <button
            type="submit"
            class={isDangerous ? "button danger" : "button primary"}
            disabled={isBusy || !isReady || !isComplete}
          >
            {isBusy ? "Working…" : action}
          </button>
        )}
      </div>
    </form>
  );
}
