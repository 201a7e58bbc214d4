/**
 * JSON as a tree that can be folded. Text nodes only: whatever a payload holds, nothing of it is ever markup.
 *
 * @module
 */
import type { Rendered } from "./rendered.ts";

/** Levels that are unfolded from the start. */
const OPEN_LEVELS = 3;
/** Levels that are drawn as a tree at all; what is nested deeper is shown as text. */
const MAX_LEVELS = 24;
/** Fields or items that one level shows. */
const MAX_CHILDREN = 200;
/** What has no place in a line of text: control characters, and those that turn the reading direction around. */
// deno-lint-ignore no-control-regex -- they are what is looked for
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** Shows a JSON value. */
export function JsonView({ value }: { readonly value: unknown }): Rendered {
  return (
    <div class="json">
      <JsonNode value={value} level={0} />
    </div>
  );
}

/** Shows the body of a message: as JSON where it is, else as text in which what is invisible can be seen. */
export function BodyView({ body }: { readonly body: string }): Rendered {
  const json = parsed(body);
  if (json !== undefined) return <JsonView value={json} />;
  const isBroken = body.includes("\ufffd");
  return (
    <>
      <p class="muted">
        {isBroken ? "Neither JSON nor UTF-8: \ufffd stands for bytes that are no text." : "Not JSON."}
      </p>
      <pre class="json-text">{body === "" ? "(empty)" : visible(body)}</pre>
    </>
  );
}

/** The text with everything invisible as an escape, such as `\u202e`. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

interface NodeProps {
  readonly name?: string;
  readonly value: unknown;
  readonly level: number;
}

function JsonNode({ name, value, level }: NodeProps): Rendered {
  const label = name === undefined ? null : <span class="json-key">{`${visible(name)}: `}</span>;
  if (typeof value !== "object" || value === null) {
    return (
      <div class="json-leaf">
        {label}
        <span class={`json-${typeof value}`}>{textOf(value)}</span>
      </div>
    );
  }
  const isArray = Array.isArray(value);
  const children = Object.entries(value);
  if (children.length === 0 || level >= MAX_LEVELS) {
    return (
      <div class="json-leaf">
        {label}
        <span class="json-object">{textOf(value)}</span>
      </div>
    );
  }
  const size = `${children.length} ${isArray ? "item" : "field"}${children.length === 1 ? "" : "s"}`;
  return (
    <details open={level < OPEN_LEVELS}>
      <summary>
        {label}
        <span class="json-size">{isArray ? `[ ${size} ]` : `{ ${size} }`}</span>
      </summary>
      <ul>
        {children.slice(0, MAX_CHILDREN).map(([key, child]) => (
          <li key={key}>
            <JsonNode name={key} value={child} level={level + 1} />
          </li>
        ))}
        {children.length > MAX_CHILDREN && <li class="muted">and {children.length - MAX_CHILDREN} more</li>}
      </ul>
    </details>
  );
}

function textOf(value: unknown): string {
  return visible(JSON.stringify(value) ?? String(value));
}
