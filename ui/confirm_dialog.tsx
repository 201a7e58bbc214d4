/**
 * A dialog that asks before something is done.
 *
 * @module
 */
import { useState } from "preact/hooks";
import { problemOf } from "./api_client.ts";
import { Modal } from "./modal.tsx";
import type { Children, Rendered } from "./rendered.ts";

/** What the dialog asks. */
export interface ConfirmDialogProps {
  /** The question, as a heading. */
  readonly title: string;
  /** What will happen. */
  readonly children?: Children;
  /** The words on the button that does it. */
  readonly action: string;
  /** Whether it cannot be taken back. */
  readonly isDangerous?: boolean;
  /** Whether it can be done at all: false while what it would do is still being counted. */
  readonly isReady?: boolean;
  /** Where a reason has to be given: the label of its field. */
  readonly reasonLabel?: string;
  /** Does it; the reason is empty where none is asked for. Where it rejects, the dialog stays and shows why. */
  readonly onConfirm: (reason: string) => Promise<void> | void;
  /** It was closed, done or not: render it no longer. */
  readonly onClose: () => void;
}

/** The longest reason that the API keeps. */
const MAX_REASON = 500;

/** Asks before something is done. It is open for as long as it is rendered. */
export function ConfirmDialog(props: ConfirmDialogProps): Rendered {
  const { title, children, action, isDangerous, isReady = true, reasonLabel, onConfirm, onClose } = props;
  const [reason, setReason] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const isComplete = reasonLabel === undefined || reason.trim() !== "";

  async function confirm(event: Event) {
    event.preventDefault();
    const form = event.currentTarget;
    if (isBusy || !isReady || !isComplete) return;
    setBusy(true);
    setProblem(null);
    try {
      await onConfirm(reason.trim());
      closeAround(form);
    } catch (error) {
      setProblem(problemOf(error));
      setBusy(false);
    }
  }

  return (
    <Modal title={title} onClose={onClose}>
      <form class="confirm" onSubmit={confirm}>
        {children}
        {reasonLabel !== undefined && (
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
        {problem !== null && <p class="notice bad" role="alert">{problem}</p>}
        <div class="confirm-buttons">
          <button type="button" class="button" onClick={(event) => closeAround(event.currentTarget)}>
            Cancel
          </button>
          <button
            type="submit"
            class={isDangerous ? "button danger" : "button primary"}
            {...(reasonLabel === undefined && !isDangerous ? { "data-focus": true } : {})}
            disabled={isBusy || !isReady || !isComplete}
          >
            {isBusy ? "Working…" : action}
          </button>
        </div>
      </form>
    </Modal>
  );
}

/** Closes the dialog around an element the native way, which gives the focus back; `onClose` follows from that. */
function closeAround(element: EventTarget | null): void {
  if (element instanceof Element) element.closest("dialog")?.close();
}
