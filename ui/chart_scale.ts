/**
 * The figures of the last minutes, and the lines that they draw. Pure.
 *
 * @module
 */
import type { LivePulse } from "../shared/ops/live.ts";

/** What was measured at one time; null where there was nothing to measure. */
export interface Sample {
  /** When, in epoch milliseconds by the server's clock. */
  readonly at: number;
  /** Orders created per second. */
  readonly orders: number | null;
  /** Events that the broker confirmed per second. */
  readonly events: number | null;
  /** Events that wait in the outbox. */
  readonly pending: number | null;
  /** Half of the orders ended within so many milliseconds. */
  readonly p50: number | null;
  /** Of 100 orders 99 did. */
  readonly p99: number | null;
}

/** One of the figures. */
export type Series = Exclude<keyof Sample, "at">;

/** How far back the charts go, in milliseconds. */
export const CHART_WINDOW_MS = 180_000;
/** Pulses come at least every 5 seconds: where the next one is further away, nothing was known in between. */
export const GAP_MS = 8000;
/** One sample a second is as fine as a line can show. */
const BUCKET_MS = 1000;

/** The samples with a pulse's; of the same second the latest stays, and what is older than the window goes. */
export function withSample(samples: readonly Sample[], pulse: LivePulse): readonly Sample[] {
  const { rates, outbox, latency } = pulse;
  const at = Date.parse(pulse.at);
  const last = samples.at(-1);
  if (last && at <= last.at) return samples;
  const sample = { at, orders: rates.orders, events: rates.events, pending: outbox.pending, ...latency };
  const isSameBucket = last && Math.floor(last.at / BUCKET_MS) === Math.floor(at / BUCKET_MS);
  const kept = isSameBucket ? samples.slice(0, -1) : samples;
  return [...kept.filter((old) => old.at > at - CHART_WINDOW_MS), sample];
}

/** The next of 1, 2 or 5 times a power of ten that is no less than `value`, and at least 1. */
export function niceMax(value: number): number {
  if (!(value > 1)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((step) => step * power >= value) ?? 10);
}

/** The largest value of some series, 0 where there is none. */
export function largest(samples: readonly Sample[], series: readonly Series[]): number {
  return samples.reduce((most, sample) => Math.max(most, ...series.map((name) => sample[name] ?? 0)), 0);
}

/** A plot: how large it is in its own units, what its upper edge stands for, and when its right edge is. */
export interface Plot {
  /** Its width. */
  readonly width: number;
  /** Its height. */
  readonly height: number;
  /** The value at its upper edge. */
  readonly max: number;
  /** The time at its right edge, in epoch milliseconds. */
  readonly now: number;
}

/** The `d` of the path of a series. It never crosses a gap: where nothing was known, nothing is drawn. */
export function linePath(samples: readonly Sample[], series: Series, plot: Plot): string {
  return segments(samples, series).map((points) => {
    const [start, ...rest] = points.map(([at, value]) => `${x(at, plot)} ${y(value, plot)}`);
    return `M${start}${rest.length > 0 ? `L${rest.join(" ")}` : "h0"}`;
  }).join("");
}

/** The `d` of the area below the path of a series. */
export function areaPath(samples: readonly Sample[], series: Series, plot: Plot): string {
  return segments(samples, series).filter((points) => points.length > 1).map((points) => {
    const [first, last] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 0];
    const line = points.map(([at, value]) => `${x(at, plot)} ${y(value, plot)}`).join(" ");
    return `M${x(first, plot)} ${plot.height}L${line} ${x(last, plot)} ${plot.height}Z`;
  }).join("");
}

/** The values of a series in runs without a gap, each as time and value. */
function segments(samples: readonly Sample[], series: Series): [number, number][][] {
  const runs: [number, number][][] = [];
  let previous = -Infinity;
  for (const sample of samples) {
    const value = sample[series];
    if (value === null) {
      previous = -Infinity;
      continue;
    }
    if (sample.at - previous > GAP_MS) runs.push([]);
    runs.at(-1)?.push([sample.at, value]);
    previous = sample.at;
  }
  return runs;
}

function x(at: number, { width, now }: Plot): number {
  return round(width * (1 - (now - at) / CHART_WINDOW_MS));
}

function y(value: number, { height, max }: Plot): number {
  return round(height * (1 - value / max));
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
