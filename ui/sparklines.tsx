// Throughput, outbox and latency of the last three minutes: the figures of now, each over a small line.

import { useRef } from "preact/hooks";
import type { LivePulse } from "../shared/ops/live.ts";
import { duration, formatCount } from "../shared/words.ts";
import { formatRate } from "./format.ts";
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
  { label: "order to outcome, half within", of: ({ latency }) => latency.p50, format: duration },
  { label: "order to outcome, 99 of 100", of: ({ latency }) => latency.p99, format: duration },
];

/** How far back the lines go, in milliseconds; one sample a second is as fine as a line can show. */
const [WINDOW_MS, APART_MS] = [180_000, 1000];
const [WIDTH, HEIGHT] = [120, 24];

/** Draws the figures. The lines begin when the page is opened: each pulse adds a point, and nothing is made up. */
export function Sparklines() {
  const { pulse, isStale } = usePage();
  const samples = useRef<readonly LivePulse[]>([]);
  const now = Date.parse(pulse.at);
  const last = samples.current.at(-1);
  if (!isStale && (!last || now - Date.parse(last.at) >= APART_MS)) {
    samples.current = [...samples.current.filter(({ at }) => now - Date.parse(at) < WINDOW_MS), pulse];
  }
  return (
    <dl class="sparklines" aria-label="The last three minutes">
      {FIGURES.map(({ label, of, format }) => {
        const value = of(pulse);
        const most = Math.max(...samples.current.map((each) => of(each) ?? 0), 1);
        const points = samples.current.map((each) => {
          const x = WIDTH * (1 - (now - Date.parse(each.at)) / WINDOW_MS);
          const y = 1 + (HEIGHT - 2) * (1 - (of(each) ?? 0) / most);
          return `${x.toFixed(1)},${y.toFixed(1)}`;
        });
        return (
          <div key={label} class="card">
            <dt>{label}</dt>
            <dd>{isStale || value === null ? "–" : format(value)}</dd>
            <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
              <polyline points={points.join(" ")} />
            </svg>
          </div>
        );
      })}
    </dl>
  );
}
