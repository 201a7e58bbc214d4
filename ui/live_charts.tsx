/**
 * Throughput, outbox and latency of the last three minutes, as small charts.
 *
 * @module
 */
import { useRef } from "preact/hooks";
import {
  areaPath,
  CHART_WINDOW_MS,
  largest,
  linePath,
  niceMax,
  type Plot,
  type Sample,
  type Series,
  withSample,
} from "./chart_scale.ts";
import { formatDuration } from "./format.ts";
import { formatCount, formatRate } from "./number_format.ts";
import type { PanelProps } from "./panel_props.ts";
import type { Rendered } from "./rendered.ts";

interface Line {
  readonly series: Series;
  readonly label: string;
}

interface Chart {
  readonly title: string;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
}

const CHARTS: readonly Chart[] = [
  {
    title: "Throughput per second",
    lines: [{ series: "orders", label: "orders" }, { series: "events", label: "events" }],
    format: formatRate,
  },
  { title: "Waiting in the outbox", lines: [{ series: "pending", label: "events" }], format: formatCount },
  {
    title: "From order to outcome",
    lines: [{ series: "p50", label: "p50" }, { series: "p99", label: "p99" }],
    format: formatDuration,
  },
];

const [WIDTH, HEIGHT] = [360, 100];

/** Draws the charts. They begin when the page is opened: each pulse adds a point, and nothing is made up between. */
export function LiveCharts({ pulse, isStale }: Pick<PanelProps, "pulse" | "isStale">): Rendered {
  const samples = useRef<readonly Sample[]>([]);
  if (pulse && !isStale) samples.current = withSample(samples.current, pulse);
  return (
    <section class={isStale ? "charts stale" : "charts"} aria-label="The last three minutes">
      {CHARTS.map((chart) => (
        <ChartFigure key={chart.title} chart={chart} samples={samples.current} isStale={isStale} />
      ))}
    </section>
  );
}

interface ChartProps {
  readonly chart: Chart;
  readonly samples: readonly Sample[];
  readonly isStale: boolean;
}

function ChartFigure({ chart, samples, isStale }: ChartProps): Rendered {
  const { title, lines, format } = chart;
  const series = lines.map((line) => line.series);
  const max = niceMax(largest(samples, series));
  const plot: Plot = { width: WIDTH, height: HEIGHT, max, now: samples.at(-1)?.at ?? 0 };
  return (
    <figure class="chart card">
      <figcaption>{title}</figcaption>
      <div class="chart-now">
        {lines.map(({ series, label }, i) => (
          <span key={label} class={`chart-value line-${i}`}>
            <b>{isStale ? "–" : valueText(samples.at(-1)?.[series], format)}</b>
            <span class="chart-key" aria-hidden="true"></span>
            {label}
          </span>
        ))}
      </div>
      <div class="chart-plot">
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={summary(chart, samples, isStale)}
        >
          <path class="chart-grid" d={`M0 0H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT}H${WIDTH}`} />
          {lines.length === 1 && lines[0] && (
            <path class="chart-area" d={areaPath(samples, lines[0].series, plot)} />
          )}
          {lines.map(({ series }, i) => (
            <path key={series} class={`chart-line line-${i}`} d={linePath(samples, series, plot)} />
          ))}
        </svg>
        <span class="chart-max" aria-hidden="true">{format(max)}</span>
      </div>
      <div class="chart-times" aria-hidden="true">
        <span>3 min ago</span>
        <span>{isStale ? "not live" : "now"}</span>
      </div>
    </figure>
  );
}

function valueText(value: number | null | undefined, format: (value: number) => string): string {
  return value === null || value === undefined ? "–" : format(value);
}

/** A chart in a sentence. */
function summary({ title, lines, format }: Chart, samples: readonly Sample[], isStale: boolean): string {
  if (samples.length === 0) return `${title}: nothing has been measured yet`;
  const minutes = CHART_WINDOW_MS / 60_000;
  const words = lines.map(({ series, label }) => {
    const now = isStale ? "unknown" : valueText(samples.at(-1)?.[series], format);
    return `${label} now ${now}, at most ${format(largest(samples, [series]))}`;
  });
  return `${title}, last ${minutes} minutes: ${words.join("; ")}`;
}
