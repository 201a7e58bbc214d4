/**
 * JSON, and what was meant to be. Text nodes only: whatever a payload holds, nothing of it is ever markup.
 *
 * @module
 */

/** What has no place in a line of text: control characters, and those that turn the reading direction around. */
// deno-lint-ignore no-control-regex -- they are what is looked for
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** A value of this many characters is laid out in lines, a longer one could be deep; and what is shown of it at most. */
const [LAID_OUT, AT_MOST] = [2000, 20_000];

export function JsonView({ value }: { readonly value: unknown }) {
  const text = JSON.stringify(value) ?? String(value);
  return <Shown text={text.length > LAID_OUT ? text : JSON.stringify(value, null, 2)} />;
}

function Shown({ text }: { readonly text: string }) {
  const more = text.length - AT_MOST;
  return (
    <pre class="json">
      {visible(text.slice(0, AT_MOST))}
      {more > 0 && ` … and ${more} characters more`}
    </pre>
  );
}

/** Shows the body of a message: as JSON where it is, else as text in which what is invisible can be seen. */
export function BodyView({ body }: { readonly body: string }) {
  try {
    return <JsonView value={JSON.parse(body)} />;
  } catch {
    const isBroken = body.includes("\ufffd");
    return (
      <>
        <p class="muted">
          {isBroken ? "Neither JSON nor UTF-8: \ufffd stands for bytes that are no text." : "Not JSON."}
        </p>
        <Shown text={body === "" ? "(empty)" : body} />
      </>
    );
  }
}

/** The text with everything invisible as an escape, such as `\u202e`. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
