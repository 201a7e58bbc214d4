/**
 * Compares what a command has printed with what a document says that it prints. Pure.
 *
 * @module
 */
import { withoutProgress } from "./run_task.ts";

/** What differs from run to run, and what stands for it when two lines are compared. */
const VARYING: readonly (readonly [RegExp, string])[] = [
  [/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "<id>"],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "<time>"],
  [/\d\d:\d\d:\d\d\.\d{3}/g, "<time of day>"],
  [/^ *\d+\.\d \+ +\d+\.\d(?= ms )/gm, "<time and duration>"],
  [/\d+(?:\.\d+)?(?= m?s\b| %|(?: orders)?\/s\b)/g, "<measure>"],
];

/** How lines are compared. */
export interface Comparison {
  /** Whether the lines may come in any order. */
  readonly unordered: boolean;
}

/**
 * Whether `actual` is what `expected` says, line by line. Ids count as equal, and so do times, durations, rates and
 * shares; `…` stands for anything within a line, and alone on a line, where the order counts, for any number of lines. How
 * far long work was is no part of it.
 */
export function isAsExpected(actual: string, expected: string, { unordered }: Comparison): boolean {
  const [lines, wanted] = [linesOf(withoutProgress(actual)), linesOf(expected)];
  return unordered ? matchInAnyOrder(lines, wanted) : matchInOrder(lines, wanted);
}

function matchInOrder(lines: readonly string[], [first, ...rest]: readonly string[]): boolean {
  if (first === undefined) return lines.length === 0;
  if (first === "…") {
    return Array.from({ length: lines.length + 1 }, (_, i) => i).some((i) =>
      matchInOrder(lines.slice(i), rest)
    );
  }
  const [line, ...others] = lines;
  return line !== undefined && patternOf(first).test(line) && matchInOrder(others, rest);
}

function matchInAnyOrder(lines: readonly string[], wanted: readonly string[]): boolean {
  const left = [...lines];
  const all = wanted.every((one) => {
    const found = left.findIndex((line) => patternOf(one).test(line));
    if (found >= 0) left.splice(found, 1);
    return found >= 0;
  });
  return all && left.length === 0;
}

function patternOf(line: string): RegExp {
  const escaped = line.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`^${escaped.replaceAll("…", ".*")}$`);
}

function linesOf(text: string): string[] {
  const alike = VARYING.reduce((text, [pattern, name]) => text.replaceAll(pattern, name), text.trimEnd());
  return alike === "" ? [] : alike.split("\n").map((line) => line.trimEnd());
}
