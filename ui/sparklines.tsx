/**
 * Throughput, outbox and latency of the last three minutes: the figures of now, each over a small line.
 *
 * @module
 */
import { useRef } from "preact/hooks";
import type { LivePulse } from "../shared/ops/live.ts";
import { formatCount, formatDuration, formatRate } from "./format.ts";
import { usePage } from "./page_data.ts";

interface Figure {
  readonly label: string;
  readonly of: (pulse: LivePulse) => number | null;
  readonly format: (value: number) => string;
}

const FIGURES: readonly Figure[] = [
  { label: "orders per second", of: ({ rates }) => rates.orders, format: formatRate },
  { label: "events per second", of: ({ rates }) => rates.events, format: formatRate },
  { label: "waiting in the outbox", of: ({ outbox }) => outbox.pending, format: formatCount },
  { label: "order to outcome, half within", of: ({ latency }) => latency.p50, format: formatDuration },
  { label: "order to outcome, 99 of 100", of: ({ latency }) => latency.p99, format: formatDuration },
];

/** How far back the lines go, in milliseconds; one sample a second is as fine as a line can show. */
const [WINDOW_MS, BUCKET_MS] = [180_000, 1000];
const [WIDTH, HEIGHT] = [120, 24];

/** Draws the figures. The lines begin when the page is opened: each pulse adds a point, and nothing is made up. */
export function Sparklines() {
  const { pulse, isStale } = usePage();
  const samples = useRef<readonly LivePulse[]>([]);
  if (!isStale) samples.current = withPulse(samples.current, pulse);
  const now = Date.parse(pulse.at);
  return (
    <dl class="sparklines" aria-label="The last three minutes">
      {FIGURES.map(({ label, of, format }) => {
        const value = of(pulse);
        return (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{isStale || value === null ? "–" : format(value)}</dd>
            <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
              <path d={linePath(samples.current.map((each) => [Date.parse(each.at), of(each)]), now)} />
            </svg>
          </div>
        );
      })}
    </dl>
  );
}

function withPulse(samples: readonly LivePulse[], pulse: LivePulse): readonly LivePulse[] {
  const at = Date.parse(pulse.at);
  const last = samples.at(-1);
  if (last && at <= Date.parse(last.at)) return samples;
  const isSameBucket = last && Math.floor(Date.parse(last.at) / BUCKET_MS) === Math.floor(at / BUCKET_MS);
  const kept = isSameBucket ? samples.slice(0, -1) : samples;
  return [...kept.filter((old) => Date.parse(old.at) > at - WINDOW_MS), pulse];
}

/** The `d` of the line of some values, the largest at the upper edge; where there was none, there is no line. */
export function linePath(
  values: readonly (readonly [at: number, value: number | null])[],
  now: number,
): string {
  const most = Math.max(...values.map(([, value]) => value ?? 0), 1);
  let path = "";
  let isDrawn = false;
  for (const [at, value] of values) {
    if (value !== null) {
      const x = (WIDTH * (1 - (now - at) / WINDOW_MS)).toFixed(1);
      path += `${isDrawn ? "L" : "M"}${x} ${(1 + (HEIGHT - 2) * (1 - value / most)).toFixed(1)}`;
    }
    isDrawn = value !== null;
  }
  return path;
}
