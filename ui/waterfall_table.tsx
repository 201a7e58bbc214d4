/**
 * The waterfall as a table, for those who would rather read it.
 *
 * @module
 */
import type { Rendered } from "./rendered.ts";
import type { WaterfallLayout } from "./waterfall.ts";

/** Says in words what the chart draws. Folded until it is asked for. */
export function WaterfallTable({ layout }: { readonly layout: WaterfallLayout }): Rendered {
  return (
    <details class="waterfall-table">
      <summary>As a table</summary>
      <div class="table-scroll" tabIndex={0} role="region" aria-label="The waterfall as a table">
        <table>
          <thead>
            <tr>
              <th scope="col">Event or consumer</th>
              <th scope="col">Where</th>
              <th scope="col">How long</th>
              <th scope="col">What happened</th>
            </tr>
          </thead>
          <tbody>
            {layout.rows.map(({ key, name, isConsumer, bars, marks }) => (
              <tr key={key}>
                <th scope="row" class={isConsumer ? "is-consumer" : ""}>{name}</th>
                <td>{bars.map(({ kind }) => kind).join(", ") || "–"}</td>
                <td>{bars.map(({ text }) => text).join(", ") || "–"}</td>
                <td>{[...bars, ...marks].map(({ title }) => title).join("; ") || "–"}</td>
              </tr>
            ))}
            {layout.guides.map(({ status, after }) => (
              <tr key={status}>
                <th scope="row">{status}</th>
                <td>order</td>
                <td>{after}</td>
                <td>the order was {status} {after} after it was placed</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
