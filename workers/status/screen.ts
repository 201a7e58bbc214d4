/**
 * Draws a terminal over and over again in place.
 *
 * @module
 */

/** The size of a terminal, in characters. */
export interface Size {
  /** Characters in a line. */
  readonly columns: number;
  /** Lines. */
  readonly rows: number;
}

/** To the terminal's second screen (ECMA-48 and xterm's control sequences), with the cursor hidden. */
export const ENTER_SCREEN = "\x1b[?1049h\x1b[?25l";

/** Back to the first one, as it was. */
export const LEAVE_SCREEN = "\x1b[?25h\x1b[?1049l";

/**
 * A frame as one piece of text: each line is written over the old one and its rest cleared, then what is below; nothing is
 * ever blank in between. What does not fit on the screen is left away, and the last line says so. Lines may be wider than
 * the screen only where they wrap into the count of `rowsOf`. Pure.
 */
export function frameOf(lines: readonly string[], { columns, rows }: Size): string {
  const shown: string[] = [];
  let used = 0;
  for (const line of lines) {
    used += rowsOf(line, columns);
    if (used > rows - 1) break; // the last row is for the hint, or free
    shown.push(line);
  }
  const hidden = lines.length - shown.length;
  const hint = hidden > 0 ? [`… ${hidden} more lines: make the window larger`.slice(0, columns)] : [];
  return `\x1b[H${[...shown, ...hint].map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`;
}

/** How many rows of a terminal a line takes; colours take none. */
function rowsOf(line: string, columns: number): number {
  // deno-lint-ignore no-control-regex -- the escape character is what colours start with
  const { length } = line.replaceAll(/\x1b\[\d+m/g, "");
  return Math.max(Math.ceil(length / columns), 1);
}
