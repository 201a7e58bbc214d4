// What the parts of the benchmark share: how they measure in turns, the lines that they answer with, their table, and
// scripts that measure.

import { tableLines } from "../../workers/tools/command.ts";
import { runDeno } from "../support/run_task.ts";
import type { BenchServices } from "./services.ts";

/**
 * A part of the benchmark: it measures something of OrderFlow and, in the same run and on the same services, what that is
 * compared with. It can be run alone.
 */
export interface BenchPart {
  readonly name: string;
  /** What it measures, and beside what: one sentence. */
  readonly about: string;
  readonly run: (bench: Bench) => Promise<BenchRow[]>;
}

export interface Bench {
  readonly services: BenchServices;
  /** `full`, or `tiny` in a run that only shows that the part works. */
  readonly size: (full: number, tiny: number) => number;
  /** Told of each step, for whoever waits. */
  readonly say: (step: string) => void;
}

export interface BenchRow {
  readonly what: string;
  readonly unit: string;
  readonly ours: number;
  /** What it is compared with, if anything: the ratio is `ours / beside`. */
  readonly beside?: number;
  /** What the ratio has to reach, or where nothing is beside it, the figure itself; met exactly it counts as reached. */
  readonly goal?: { readonly atLeast: number } | { readonly atMost: number };
  readonly note?: string;
}

/**
 * Measures in turns, first and last what is compared with, so that whatever else the machine does meets both. Answers with
 * the figures of all rounds, for their medians.
 */
export async function inTurns<Ours, Beside>(
  { say }: Pick<Bench, "say">,
  rounds: number,
  measure: { readonly beside: () => Promise<Beside>; readonly ours: () => Promise<Ours> },
) {
  const [ours, beside]: [Ours[], Beside[]] = [[], []];
  for (let round = 0; round <= rounds; round++) {
    if (round > 0) {
      say(`OrderFlow, ${round} of ${rounds}`);
      ours.push(await measure.ours());
    }
    say("beside it");
    beside.push(await measure.beside());
  }
  return { ours, beside };
}

/** The ratio of a line, or where nothing is beside it, its figure. */
const measureOf = ({ ours, beside }: BenchRow) => beside === undefined ? ours : ours / beside;

/** Whether a line reaches its goal; null where it has none. */
export function isReached(row: BenchRow): boolean | null {
  if (!row.goal) return null;
  const measure = measureOf(row);
  return "atLeast" in row.goal ? measure >= row.goal.atLeast : measure <= row.goal.atMost;
}

/** The lines as a table. */
export function benchTable(rows: readonly BenchRow[]): string {
  const measured = (value: number | undefined, unit: string) =>
    value === undefined ? "" : `${figure(value)} ${unit}`.trim();
  const goalOf = ({ goal }: BenchRow) =>
    !goal ? "" : "atLeast" in goal ? `≥ ${goal.atLeast}` : `≤ ${goal.atMost}`;
  const ratioOf = (row: BenchRow) => row.beside === undefined ? "" : measureOf(row).toFixed(2);
  const remark = (row: BenchRow) => {
    const reached = isReached(row);
    const result = reached === null ? "" : reached ? "reached" : "NOT reached";
    return [result, row.note ?? ""].filter(Boolean).join("; ");
  };
  return tableLines(rows, [
    { head: "what", cell: ({ what }) => what },
    { head: "OrderFlow", cell: ({ ours, unit }) => measured(ours, unit), isFigure: true },
    { head: "beside it", cell: ({ beside, unit }) => measured(beside, unit), isFigure: true },
    { head: "ratio", cell: ratioOf, isFigure: true },
    { head: "to reach", cell: goalOf, isFigure: true },
    { head: "", cell: remark },
  ]).join("\n");
}

/** Three digits that count, and thousands apart. */
function figure(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** The lines of several runs as one: of each line the run in the middle, by its ratio. */
export function medianRows(runs: readonly (readonly BenchRow[])[]): BenchRow[] {
  const all = Map.groupBy(runs.flat(), ({ what }) => what).values();
  return [...all].map((same) =>
    same.toSorted((a, b) => measureOf(a) - measureOf(b))[Math.floor((same.length - 1) / 2)]!
  );
}

export type Quantiles = ReturnType<typeof quantiles>;

/** Two of many times, in milliseconds; both 0 where there are none. */
export function quantiles(valuesMs: readonly number[]) {
  const sorted = valuesMs.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0;
  return { p50: at(0.5), p99: at(0.99) };
}

/** The middle one of a figure of each round, of an even number the mean of the two in the middle; 0 where there are none. */
export function median<T>(rounds: readonly T[], of: (round: T) => number): number {
  const sorted = rounds.map(of).toSorted((a, b) => a - b);
  const at = (i: number) => sorted[Math.floor(i)] ?? 0;
  const middle = (sorted.length - 1) / 2;
  return (at(middle) + at(middle + 0.5)) / 2;
}

/** The longest that a script may take, in milliseconds; no part of the benchmark takes half of it. */
const LIMIT_MS = 300_000;

/**
 * Runs `entry` (a path from the project's root) in a process of its own, so that whoever measures is not who is measured;
 * answers with the JSON that it prints at its end, which is a `T`.
 *
 * Errors: when it ends with another code than 0, with what it said.
 */
export async function runScript<T>(entry: string, args: readonly string[]): Promise<T> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  const command = ["run", "-q", "--no-prompt", "--cached-only", "-P=bench-script", entry, ...args];
  const { code, out, err } = await runDeno(command, { signal });
  if (signal.aborted) throw new Error(`${entry} was stopped after ${LIMIT_MS / 1000} s`);
  if (code !== 0) throw new Error(`${entry} ended with ${code}: ${err.trim()}`);
  return JSON.parse(out);
}
