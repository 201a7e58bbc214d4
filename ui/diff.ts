/**
 * How two texts differ, line by line. Pure.
 *
 * @module
 */

/** A line that is in both, was taken out, or was put in. */
export type DiffLine = readonly [mark: " " | "-" | "+", line: string];

/** Where more pairs of lines than this would have to be compared, the whole middle counts as replaced. */
const MAX_PAIRS = 250_000;

/** All lines of both texts in order; as few as can be are taken out or put in. */
export function diffLines(before: string, after: string): DiffLine[] {
  const [a, b] = [before.split("\n"), after.split("\n")];
  const head = a.findIndex((line, i) => line !== b[i]);
  if (head < 0 && a.length === b.length) return a.map((line) => [" ", line]);
  const start = head < 0 ? a.length : head;
  let end = 0;
  const most = Math.min(a.length, b.length) - start;
  while (end < most && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  return [
    ...a.slice(0, start).map((line): DiffLine => [" ", line]),
    ...diffMiddle(a.slice(start, a.length - end), b.slice(start, b.length - end)),
    ...a.slice(a.length - end).map((line): DiffLine => [" ", line]),
  ];
}

function diffMiddle(a: readonly string[], b: readonly string[]): DiffLine[] {
  const replaced = (a: readonly string[], b: readonly string[]): DiffLine[] => [
    ...a.map((line): DiffLine => ["-", line]),
    ...b.map((line): DiffLine => ["+", line]),
  ];
  if (a.length * b.length > MAX_PAIRS) return replaced(a, b);
  // How many lines the rests of both have in common, from each pair of lines on.
  const common = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  const at = (i: number, j: number) => common[i]?.[j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i]![j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    const [left = "", right = ""] = [a[i], b[j]];
    if (left === right) {
      lines.push([" ", left]);
      i++;
      j++;
    } else if (at(i + 1, j) >= at(i, j + 1)) {
      lines.push(["-", left]);
      i++;
    } else {
      lines.push(["+", right]);
      j++;
    }
  }
  return [...lines, ...replaced(a.slice(i), b.slice(j))];
}
