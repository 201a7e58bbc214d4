// A list as a table, whose rows change in their places: nothing moves while new ones come. On a narrow screen each row is a
// card.

import type { ComponentChildren } from "preact";

export type Column<T> = readonly [label: string, cell: (row: T) => ComponentChildren];

interface TableProps<T> {
  /** What it lists, for screen readers. */
  readonly caption: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  /** What is said where there are none. */
  readonly empty?: string;
}

export function Table<T>({ caption, columns, rows, empty }: TableProps<T>) {
  if (rows.length === 0) return empty ? <p class="empty">{empty}</p> : null;
  return (
    <table class="data" role="table">
      <caption class="visually-hidden">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map(([label]) => <th key={label} role="columnheader" scope="col">{label}</th>)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row, i) => (
          <tr key={i} role="row">
            {columns.map(([label, cell]) => (
              <td key={label} role="cell" data-label={label}>
                <div>{cell(row)}</div>
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
