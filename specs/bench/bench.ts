/**
 * What a benchmark is: parts, each of which measures something of OrderFlow and, in the same run and on the same
 * services, what it is compared with.
 *
 * @module
 */
import type { BenchServices } from "./services.ts";

/** A part of the benchmark. It can be run alone. */
export interface BenchPart {
  /** What it is called on the command line. */
  readonly name: string;
  /** What it measures, and beside what: one sentence. */
  readonly about: string;
  /** Measures; answers with its lines of the table, in their order. */
  run(bench: Bench): Promise<BenchRow[]>;
}

/** What a part is run with. */
export interface Bench {
  /** The services that everything in this run is measured on. */
  readonly services: BenchServices;
  /** `full`, or `tiny` in a run that only shows that the part works. */
  size(full: number, tiny: number): number;
  /** Told of each step, for whoever waits. */
  say(step: string): void;
}

/** A line of the table. */
export interface BenchRow {
  /** What is measured, such as `accept, 16 connections: orders`. */
  readonly what: string;
  /** The figures' unit, such as `/s` or `ms`. */
  readonly unit: string;
  /** What OrderFlow does. */
  readonly ours: number;
  /** What it is compared with, if anything: the ratio is `ours / beside`. */
  readonly beside: number | null;
  /** What the ratio has to reach, or where nothing is beside it, the figure itself; null where nothing is asked. */
  readonly goal: Goal | null;
  /** What else there is to know, such as the load generator's share of a core. */
  readonly note?: string;
}

/** A bound, which counts as reached where it is met exactly. */
export type Goal = { readonly atLeast: number } | { readonly atMost: number };

/** The ratio of a line, or where nothing is beside it, its figure. */
export function measureOf({ ours, beside }: Pick<BenchRow, "ours" | "beside">): number {
  return beside === null ? ours : ours / beside;
}

/** Whether a line reaches its goal; null where it has none. */
export function isReached(row: BenchRow): boolean | null {
  if (!row.goal) return null;
  const measure = measureOf(row);
  return "atLeast" in row.goal ? measure >= row.goal.atLeast : measure <= row.goal.atMost;
}

/** The value below which `share` (0 to 1) of the `values` lie; 0 where there are none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0;
}

/** The middle one of `values`, of an even number the mean of the two in the middle; 0 where there are none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (i: number) => sorted[Math.floor(i)] ?? 0;
  const middle = (sorted.length - 1) / 2;
  return (at(middle) + at(middle + 0.5)) / 2;
}
