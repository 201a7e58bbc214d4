/**
 * A table of text that fits a terminal. Pure.
 *
 * @module
 */

/** A column. */
export interface Column {
  /** What stands above it. */
  readonly head: string;
  /** Its cells, from above. */
  readonly cells: readonly string[];
  /** Whether it holds figures, which stand to the right. */
  readonly isFigure?: boolean;
  /** Left away where there is no room, the highest first; without a number it stays. */
  readonly leaveAway?: number;
}

const GAP = "  ";

/**
 * The table's lines, each at most `columns` characters wide, the heads first. Where it is too wide, columns are left away
 * one by one; what is still too wide is cut, and ends in `…`.
 */
export function fitTable(table: readonly Column[], columns: number): string[] {
  const widths = table.map(({ head, cells }) => Math.max(head.length, ...cells.map((cell) => cell.length)));
  const width = widths.reduce((sum, each) => sum + each + GAP.length, -GAP.length);
  const least = leastNeeded(table);
  if (width > columns && least !== undefined) {
    return fitTable(table.filter((each) => each !== least), columns);
  }
  const rows = table[0]?.cells.length ?? 0;
  const line = (textOf: (column: Column) => string) =>
    table.map((column, i) => {
      const [text, width] = [textOf(column), widths[i] ?? 0];
      return column.isFigure ? text.padStart(width) : text.padEnd(width);
    }).join(GAP).trimEnd();
  const lines = [
    line(({ head }) => head),
    ...Array.from({ length: rows }, (_, row) => line(({ cells }) => cells[row] ?? "")),
  ];
  return lines.map((text) => cut(text, columns));
}

function leastNeeded(table: readonly Column[]): Column | undefined {
  const optional = table.filter(({ leaveAway }) => leaveAway !== undefined);
  return optional.toSorted((a, b) => (b.leaveAway ?? 0) - (a.leaveAway ?? 0))[0];
}

/** The text, at most `columns` characters of it; what was cut ends in `…`. */
export function cut(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(columns - 1, 0))}…`;
}
