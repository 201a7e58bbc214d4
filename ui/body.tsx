// The body of a message: JSON, or what was meant to be, and how an edited one differs. Text nodes only: whatever a body
// holds, nothing of it is ever markup.

/** What has no place in a line of text: control characters, and those that turn the reading direction around. */
// deno-lint-ignore no-control-regex -- they are what is looked for
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** A body of this many characters is laid out in lines, a longer one could be deep; and what is shown of it at most. */
const [LAID_OUT, AT_MOST] = [2000, 20_000];

/** What a body is as JSON; undefined where it is none. */
function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** JSON in lines where it is short, any other text as it is. */
export function laidOut(body: string): string {
  const json = parsed(body);
  if (json === undefined) return body;
  const text = JSON.stringify(json);
  return text.length > LAID_OUT ? text : JSON.stringify(json, null, 2);
}

/** Shows the body of a message: as JSON where it is, else as text in which what is invisible can be seen. */
export function BodyView({ body }: { readonly body: string }) {
  const text = laidOut(body) || "(empty)";
  const more = text.length - AT_MOST;
  const isText = !body.includes("\ufffd");
  return (
    <>
      {parsed(body) === undefined && (
        <p class="muted">
          {isText ? "Not JSON." : "Neither JSON nor UTF-8: \ufffd stands for bytes that are no text."}
        </p>
      )}
      <pre class="json">
        {visible(text.slice(0, AT_MOST))}
        {more > 0 && ` … and ${more} characters more`}
      </pre>
    </>
  );
}

/** The text with everything invisible as an escape, such as `\u202e`. */
export function visible(text: string): string {
  return text.replace(INVISIBLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A line that is in both, was taken out, or was put in. */
export type DiffLine = readonly [mark: " " | "-" | "+", line: string];

/**
 * All lines of both texts in order. What is alike at both ends stays; of the middle, lines are compared in pairs where there
 * are as many as before, which is what editing values leaves, and else it counts as replaced.
 */
export function diffLines(before: string, after: string): DiffLine[] {
  const [a, b] = [before.split("\n"), after.split("\n")];
  const shorter = Math.min(a.length, b.length);
  let start = 0;
  while (start < shorter && a[start] === b[start]) start++;
  let end = 0;
  while (end < shorter - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  const marked = (mark: DiffLine[0], lines: readonly string[]) => lines.map((line): DiffLine => [mark, line]);
  const [old, now] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  const middle = old.length === now.length
    ? old.flatMap((line, i): DiffLine[] => {
      const other = now[i] ?? "";
      return line === other ? [[" ", line]] : [["-", line], ["+", other]];
    })
    : [...marked("-", old), ...marked("+", now)];
  return [...marked(" ", a.slice(0, start)), ...middle, ...marked(" ", a.slice(a.length - end))];
}
