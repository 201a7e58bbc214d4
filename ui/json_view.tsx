/**
 * The body of a message: JSON, or what was meant to be. Text nodes only: whatever a body holds, nothing of it is ever markup.
 *
 * @module
 */

/** What has no place in a line of text: control characters, and those that turn the reading direction around. */
// deno-lint-ignore no-control-regex -- they are what is looked for
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** A body of this many characters is laid out in lines, a longer one could be deep; and what is shown of it at most. */
const [LAID_OUT, AT_MOST] = [2000, 20_000];

/** JSON in lines where it is short, any other text as it is. */
export function laidOut(body: string): string {
  try {
    const text = JSON.stringify(JSON.parse(body));
    return text.length > LAID_OUT ? text : JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}

/** Shows the body of a message: as JSON where it is, else as text in which what is invisible can be seen. */
export function BodyView({ body }: { readonly body: string }) {
  const text = laidOut(body) || "(empty)";
  const more = text.length - AT_MOST;
  return (
    <>
      {!isJson(body) && (
        <p class="muted">
          {body.includes("\ufffd")
            ? "Neither JSON nor UTF-8: \ufffd stands for bytes that are no text."
            : "Not JSON."}
        </p>
      )}
      <pre class="json">
        {visible(text.slice(0, AT_MOST))}
        {more > 0 && ` … and ${more} characters more`}
      </pre>
    </>
  );
}

function isJson(body: string): boolean {
  try {
    JSON.parse(body);
    return true;
  } catch {
    return false;
  }
}

/** The text with everything invisible as an escape, such as `\u202e`. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
