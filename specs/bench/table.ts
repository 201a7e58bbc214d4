/**
 * The table that a benchmark prints.
 *
 * @module
 */
import { type BenchRow, isReached, measureOf } from "./bench.ts";

const HEADINGS = ["what", "OrderFlow", "beside it", "ratio", "to reach", ""] as const;

/** The lines as a Markdown table, which is as readable in a terminal. */
export function benchTable(rows: readonly BenchRow[]): string {
  const cells = rows.map(cellsOf);
  const widths = HEADINGS.map((heading, column) =>
    Math.max(heading.length, ...cells.map((row) => row[column]?.length ?? 0))
  );
  const line = (row: readonly string[]) =>
    `| ${
      row.map((cell, i) => isFigure(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)).join(
        " | ",
      )
    } |`;
  const rule = widths.map((width, i) => isFigure(i) ? `${"-".repeat(width - 1)}:` : "-".repeat(width));
  return [line(HEADINGS), line(rule), ...cells.map(line)].join("\n");
}

function isFigure(column: number): boolean {
  return column >= 1 && column <= 4;
}

function cellsOf(row: BenchRow): string[] {
  const { what, unit, ours, beside, goal, note } = row;
  const reached = isReached(row);
  return [
    what,
    `${figure(ours)} ${unit}`.trim(),
    beside === null ? "" : `${figure(beside)} ${unit}`.trim(),
    beside === null ? "" : measureOf(row).toFixed(2),
    goal === null ? "" : "atLeast" in goal ? `≥ ${goal.atLeast}` : `≤ ${goal.atMost}`,
    [reached === null ? "" : reached ? "reached" : "NOT reached", note ?? ""].filter(Boolean).join("; "),
  ];
}

/** Three digits that count, and thousands apart. */
function figure(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** The lines of several runs as one: of each line the middle ones, by their ratio. */
export function medianRows(runs: readonly (readonly BenchRow[])[]): BenchRow[] {
  const [first = []] = runs;
  return first.map(({ what }) => {
    const same = runs.flatMap((run) => run.filter((row) => row.what === what));
    const [middle] = same.toSorted((a, b) => measureOf(a) - measureOf(b)).slice(
      Math.floor((same.length - 1) / 2),
    );
    if (!middle) throw new Error(`No run has a line "${what}"`);
    return middle;
  });
}
