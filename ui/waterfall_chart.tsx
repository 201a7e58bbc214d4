/**
 * The waterfall of one order, drawn. Places are parts of the width, so it needs no measuring and no script.
 *
 * @module
 */
import type { OrderStoryJson } from "../shared/ops/answers.ts";
import { Icon } from "./icon.tsx";
import type { Rendered } from "./rendered.ts";
import { formatView, type ViewState } from "./url_state.ts";
import { layoutWaterfall, type WaterfallBar, type WaterfallLayout, type WaterfallRow } from "./waterfall.ts";
import { WaterfallGlyph } from "./waterfall_glyph.tsx";
import { WaterfallTable } from "./waterfall_table.tsx";

/** What the chart needs. */
export interface WaterfallChartProps {
  /** The order's story. */
  readonly story: OrderStoryJson;
  /** The view, for the rows' links, and the event that is marked. */
  readonly view: ViewState;
  /** The time at the server, in epoch milliseconds: what still waits, waits until then. */
  readonly now: number;
}

/** The height of a row's drawing and of a line of status labels, in pixels. */
const TRACK_HEIGHT = 22;
const LANE_HEIGHT = 17;

const percent = (part: number) => `${(part * 100).toFixed(3)}%`;

/** Draws when each event was emitted, published and processed, and what happened on the way. */
export function WaterfallChart({ story, view, now }: WaterfallChartProps): Rendered {
  const layout = layoutWaterfall(story, now);
  return (
    <section class="card waterfall-card" aria-labelledby="waterfall-title">
      <div class="card-head">
        <h3 id="waterfall-title">Waterfall</h3>
        <Legend />
        <span class="waterfall-total muted">{layout.total} in all</span>
      </div>
      <div class="waterfall">
        <Guides layout={layout} />
        <div class="waterfall-row waterfall-statuses">
          <span class="waterfall-name muted">Status</span>
          <StatusLanes layout={layout} />
        </div>
        <ol class="waterfall-rows">
          {layout.rows.map((row) => <Row key={row.key} row={row} view={view} />)}
        </ol>
        <div class="waterfall-row waterfall-axis">
          <span class="waterfall-name muted">Since the order</span>
          <Axis layout={layout} />
        </div>
      </div>
      <WaterfallTable layout={layout} />
    </section>
  );
}

function Legend(): Rendered {
  return (
    <ul class="legend" aria-label="Legend">
      <li>
        <i class="swatch swatch-outbox" />waited in the outbox
      </li>
      <li>
        <i class="swatch swatch-broker" />in the broker, until its consumer was done
      </li>
    </ul>
  );
}

/** Lines through all rows: changes of status, and breaks in the axis. */
function Guides({ layout }: { readonly layout: WaterfallLayout }): Rendered {
  return (
    <svg class="waterfall-guides" aria-hidden="true">
      <defs>
        <pattern
          id="break-hatch"
          width="6"
          height="6"
          patternUnits="userSpaceOnUse"
          patternTransform="rotate(45)"
        >
          <line x1="0" x2="0" y1="0" y2="6" />
        </pattern>
      </defs>
      {layout.pieces.filter(({ isBreak }) => isBreak).map(({ x0, x1 }) => (
        <rect key={x0} class="break" x={percent(x0)} width={percent(x1 - x0)} y="0" height="100%" />
      ))}
      {layout.guides.map(({ x, status }) => (
        <line key={status} class="guide" x1={percent(x)} x2={percent(x)} y1="0" y2="100%" />
      ))}
    </svg>
  );
}

function StatusLanes({ layout: { guides } }: { readonly layout: WaterfallLayout }): Rendered {
  const lanes = Math.max(...guides.map(({ lane }) => lane), 0) + 1;
  const words = guides.map(({ status, after }) => `${status} after ${after}`).join(", ");
  return (
    <svg class="waterfall-track" height={lanes * LANE_HEIGHT + 4} role="img" aria-label={words}>
      {guides.map(({ x, status, after, anchor, lane }) => (
        <g key={status}>
          <title>{`${status} after ${after}`}</title>
          <circle class="guide-dot" cx={percent(x)} cy={lane * LANE_HEIGHT + 9} r="3.5" />
          <text
            class="guide-label"
            x={percent(x)}
            y={lane * LANE_HEIGHT + 13}
            dx={anchor === "start" ? 8 : -8}
            text-anchor={anchor}
          >
            {status}
          </text>
        </g>
      ))}
    </svg>
  );
}

function Row({ row, view }: { readonly row: WaterfallRow; readonly view: ViewState }): Rendered {
  const { eventId, name, isConsumer, compensation, bars, marks } = row;
  const notes = marks.filter(({ note }) => note !== "");
  const isSelected = !isConsumer && eventId !== null && eventId === view.event;
  const classes = [
    "waterfall-row",
    isConsumer ? "is-consumer" : "is-event",
    compensation === "none" ? "" : "is-compensation",
    isSelected ? "is-selected" : "",
  ].filter(Boolean).join(" ");
  const words = [...bars, ...marks].map(({ title }) => title).join(". ");
  return (
    <>
      {compensation === "turn" && (
        <li class="waterfall-turn">
          <Icon name="back" />
          <strong>Compensation</strong> no seat, so the order turns back and the charge is returned
        </li>
      )}
      <li class={classes}>
        <span class="waterfall-name">
          {isConsumer || eventId === null ? <span class="row-name">{name}</span> : (
            <a
              class="row-name"
              id={`event-${eventId}`}
              href={formatView({ ...view, event: isSelected ? null : eventId })}
              aria-expanded={isSelected}
            >
              {name}
            </a>
          )}
          {notes.length > 0 && (
            <span class="notes">
              {notes.map(({ kind, note, title }) => (
                <span key={kind} class={`note note-${kind}`} title={title}>
                  <svg class="note-glyph" viewBox="-7 -7 14 14" aria-hidden="true">
                    <WaterfallGlyph kind={kind} />
                  </svg>
                  {note}
                </span>
              ))}
            </span>
          )}
        </span>
        <svg class="waterfall-track" height={TRACK_HEIGHT} role="img" aria-label={words}>
          {bars.map((bar) => <Bar key={bar.kind} bar={bar} isConsumer={isConsumer} />)}
          {marks.map(({ kind, x, title }) => (
            <svg
              key={kind}
              class={`mark mark-${kind}`}
              x={percent(x)}
              y={TRACK_HEIGHT / 2}
              overflow="visible"
            >
              <title>{title}</title>
              <WaterfallGlyph kind={kind} />
            </svg>
          ))}
        </svg>
      </li>
    </>
  );
}

function Bar({ bar, isConsumer }: { readonly bar: WaterfallBar; readonly isConsumer: boolean }): Rendered {
  const { kind, x0, x1, isOpen, text, textSide, textX, title } = bar;
  const middle = TRACK_HEIGHT / 2;
  return (
    <g class={`bar bar-${kind}${isOpen ? " is-open" : ""}`}>
      <title>{title}</title>
      <line x1={percent(x0)} x2={percent(x1)} y1={middle} y2={middle} />
      <text
        class={textSide}
        x={percent(textX)}
        y={middle + 4}
        dx={{ right: isConsumer ? 11 : 8, left: -11, inside: 0 }[textSide]}
        text-anchor={ANCHORS[textSide]}
      >
        {text}
      </text>
    </g>
  );
}

const ANCHORS = { right: "start", left: "end", inside: "middle" } as const;

function Axis({ layout: { labels } }: { readonly layout: WaterfallLayout }): Rendered {
  return (
    <svg class="waterfall-track" height="26" aria-hidden="true">
      <line class="axis-line" x1="0" x2="100%" y1="0.5" y2="0.5" />
      {labels.map(({ x, text, anchor, isBreak }) => (
        <g key={x} class={isBreak ? "axis-break" : ""}>
          {!isBreak && <line class="axis-line" x1={percent(x)} x2={percent(x)} y1="0" y2="5" />}
          <text x={percent(x)} y="18" text-anchor={anchor}>{text}</text>
        </g>
      ))}
    </svg>
  );
}
