/**
 * A value that a click copies.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import { Icon } from "./icon.tsx";
import type { Rendered } from "./rendered.ts";

/** What is shown and copied. */
export interface CopyButtonProps {
  /** What it is, such as `correlation id`. */
  readonly label: string;
  /** What is copied. */
  readonly value: string;
  /** What is shown of it; all of it unless told. */
  readonly shown?: string;
}

/** How long it is said that the value is copied, in milliseconds. */
const SAID_FOR_MS = 2000;

/** Shows a value and copies it on a click; says so in words, also to screen readers. */
export function CopyButton({ label, value, shown = value }: CopyButtonProps): Rendered {
  const [said, setSaid] = useState<"Copied" | "Not copied" | null>(null);
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(null), SAID_FOR_MS);
    return () => clearTimeout(timer);
  }, [said]);

  return (
    <span class="copy">
      <button
        type="button"
        class="copy-button mono"
        title={`Copy the ${label}: ${value}`}
        onClick={async () => setSaid(await copyText(value) ? "Copied" : "Not copied")}
      >
        <span class="visually-hidden">{`Copy the ${label} `}</span>
        <span class="copy-value">{shown}</span>
        <Icon name={said === "Copied" ? "check" : "copies"} />
      </button>
      <span class={`copy-said${said ? " is-said" : ""}`} role="status">{said ?? ""}</span>
    </span>
  );
}

/** Copies a text; where the page may not use the clipboard, by way of a selected field. Whether it is copied. */
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    const focused = document.activeElement;
    document.body.append(field);
    field.select();
    const isCopied = document.execCommand("copy");
    field.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return isCopied;
  }
}
