/**
 * What an action came to, in a line that stays until it is dismissed or the next action.
 *
 * @module
 */
import { Icon } from "./icon.tsx";
import type { Rendered } from "./rendered.ts";

/** Shows a result, and reads it out; nothing while there is none. */
export function ResultLine(
  { text, level = "good", onDismiss }: {
    readonly text: string | null;
    readonly level?: "good" | "warn";
    readonly onDismiss: () => void;
  },
): Rendered {
  return (
    <div class="result" role="status">
      {text !== null && (
        <p class={`notice ${level}`}>
          <Icon name={level === "good" ? "check" : "clock"} />
          <span>{text}</span>
          <button type="button" class="button quiet small" aria-label="Dismiss" onClick={onDismiss}>
            <Icon name="cross" />
          </button>
        </p>
      )}
    </div>
  );
}
