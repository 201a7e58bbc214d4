/**
 * A table of a paged list, whose rows open. On a narrow screen each row is a card.
 *
 * @module
 */
import { Fragment } from "preact";
import { Icon } from "./icon.tsx";
import type { Children, Rendered } from "./rendered.ts";
import type { Rows } from "./use_rows.ts";

/** One column. */
export interface Column<T> {
  /** Its heading. */
  readonly label: string;
  /** What stands in a row's cell. */
  readonly cell: (row: T) => Children;
}

/** What a table is made of. */
export interface DataTableProps<T> {
  /** What it lists, for screen readers. */
  readonly caption: string;
  /** Its columns. */
  readonly columns: readonly Column<T>[];
  /** Its rows. */
  readonly rows: Rows<T>;
  /** What tells a row from the others. */
  readonly keyOf: (row: T) => string;
  /** What a row is called, such as `event order.created`. */
  readonly nameOf: (row: T) => string;
  /** What an open row shows below itself. */
  readonly detail: (row: T) => Children;
  /** The buttons at the end of a row. */
  readonly actions?: (row: T) => Children;
  /** The key of the row that is open; null where none is. */
  readonly openKey: string | null;
  /** Opens the row with this key, or none. */
  readonly onOpen: (key: string | null) => void;
  /** What to say where there is nothing. */
  readonly empty: Children;
  /** Whether the rows are no longer kept fresh. */
  readonly isStale: boolean;
}

/** Shows a list. */
export function DataTable<T>(props: DataTableProps<T>): Rendered {
  const { rows, empty } = props;
  const shown = rows.page?.rows ?? [];
  return (
    <div class="table-body">
      {rows.problem !== null && (
        <p class="notice bad" role="alert">
          <span>{rows.problem}</span>
          <button type="button" class="button small" onClick={rows.refresh}>Try again</button>
        </p>
      )}
      {rows.page === null && rows.problem === null && <Skeleton />}
      {rows.page !== null && shown.length === 0 && (
        <div class="empty">
          <Icon name="inbox" />
          <p>{empty}</p>
        </div>
      )}
      {shown.length > 0 && <Table {...props} />}
      <div class="table-foot">
        <span class="muted">
          {freshness(props)}
        </span>
        <span class="table-pages">
          <button type="button" class="button small" disabled={rows.pageNumber === 1} onClick={rows.newer}>
            <Icon name="left" />Newer
          </button>
          <span class="muted">Page {rows.pageNumber}</span>
          <button type="button" class="button small" disabled={!rows.page?.nextCursor} onClick={rows.older}>
            Older<Icon name="chevron" />
          </button>
        </span>
      </div>
    </div>
  );
}

function freshness<T>({ rows, isStale, openKey }: DataTableProps<T>): string {
  if (rows.problem !== null) return "Not up to date";
  if (isStale) return "Not live";
  if (openKey !== null) return "Held while a row is open";
  return rows.isLoading ? "Loading" : "Live";
}

function Table<T>(props: DataTableProps<T>): Rendered {
  const { caption, columns, rows, keyOf, nameOf, detail, actions, openKey, onOpen } = props;
  const width = columns.length + 1 + (actions ? 1 : 0);
  return (
    <table class="data" role="table" aria-busy={rows.isLoading}>
      <caption class="visually-hidden">{caption}</caption>
      <thead role="rowgroup">
        <tr role="row">
          <th role="columnheader" scope="col">
            <span class="visually-hidden">Open</span>
          </th>
          {columns.map(({ label }) => <th key={label} role="columnheader" scope="col">{label}</th>)}
          {actions && (
            <th role="columnheader" scope="col">
              <span class="visually-hidden">Actions</span>
            </th>
          )}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.page?.rows.map((row) => {
          const key = keyOf(row);
          const isOpen = key === openKey;
          return (
            <Fragment key={key}>
              <tr role="row" class={isOpen ? "open" : ""}>
                <td role="cell" class="toggle">
                  <button
                    type="button"
                    class="button quiet small"
                    aria-expanded={isOpen}
                    aria-label={`${isOpen ? "Close" : "Open"} ${nameOf(row)}`}
                    onClick={() => onOpen(isOpen ? null : key)}
                  >
                    <Icon name="chevron" />
                  </button>
                </td>
                {columns.map(({ label, cell }) => (
                  <td key={label} role="cell" data-label={label}>
                    <span class="cell">{cell(row)}</span>
                  </td>
                ))}
                {actions && <td role="cell" class="actions">{actions(row)}</td>}
              </tr>
              {isOpen && (
                <tr role="row" class="detail">
                  <td role="cell" colSpan={width}>{detail(row)}</td>
                </tr>
              )}
            </Fragment>
          );
        })}
      </tbody>
    </table>
  );
}

function Skeleton(): Rendered {
  return (
    <div class="skeleton" role="status">
      <span class="visually-hidden">Loading</span>
      {[0, 1, 2, 3, 4].map((row) => <span key={row} class="skeleton-row" aria-hidden="true"></span>)}
    </div>
  );
}
