/**
 * What the parts of the benchmark share: how they measure in turns, the lines that they answer with, their table, and
 * scripts that measure.
 *
 * @module
 */
import { z } from "zod";
import { tableLines } from "../../workers/tools/command.ts";
import { runDeno } from "../support/run_task.ts";
import type { BenchServices } from "./services.ts";

/**
 * A part of the benchmark: it measures something of OrderFlow and, in the same run and on the same services, what that is
 * compared with. It can be run alone.
 */
export interface BenchPart {
  /** What it is called on the command line. */
  readonly name: string;
  /** What it measures, and beside what: one sentence. */
  readonly about: string;
  /** Measures; answers with its lines of the table, in their order. */
  run(bench: Bench): Promise<BenchRow[]>;
}

export interface Bench {
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
): Promise<{ ours: Ours[]; beside: Beside[] }> {
  say("beside it");
  const measured = { ours: [] as Ours[], beside: [await measure.beside()] };
  for (let round = 1; round <= rounds; round++) {
    say(`OrderFlow, ${round} of ${rounds}`);
    measured.ours.push(await measure.ours());
    say("beside it");
    measured.beside.push(await measure.beside());
  }
  return measured;
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
  const remark = (row: BenchRow) => {
    const reached = isReached(row);
    const result = reached === null ? "" : reached ? "reached" : "NOT reached";
    return [result, row.note ?? ""].filter(Boolean).join("; ");
  };
  return tableLines(rows, [
    { head: "what", cell: ({ what }) => what },
    { head: "OrderFlow", cell: ({ ours, unit }) => measured(ours, unit), isFigure: true },
    { head: "beside it", cell: ({ beside, unit }) => measured(beside, unit), isFigure: true },
    {
      head: "ratio",
      cell: (row) => row.beside === undefined ? "" : measureOf(row).toFixed(2),
      isFigure: true,
    },
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
  const [first = []] = runs;
  return first.map(({ what }) => {
    const same = runs.flatMap((run) => run.filter((row) => row.what === what));
    return same.toSorted((a, b) => measureOf(a) - measureOf(b))[Math.floor((same.length - 1) / 2)]!;
  });
}

/** Two of many times, in milliseconds. */
export const quantilesSchema = z.object({ p50: z.number(), p99: z.number() });

export type Quantiles = z.infer<typeof quantilesSchema>;

/** The two quantiles of `valuesMs`; both 0 where there are none. */
export function quantiles(valuesMs: readonly number[]): Quantiles {
  const sorted = valuesMs.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0;
  return { p50: at(0.5), p99: at(0.99) };
}

/** The middle one of `values`, of an even number the mean of the two in the middle; 0 where there are none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (i: number) => sorted[Math.floor(i)] ?? 0;
  const middle = (sorted.length - 1) / 2;
  return (at(middle) + at(middle + 0.5)) / 2;
}

/** The longest that a script may take, in milliseconds; no part of the benchmark takes half of it. */
const LIMIT_MS = 300_000;

/**
 * Runs `entry` (a path from the project's root) in a process of its own, so that whoever measures is not who is measured;
 * answers with the JSON that it prints at its end.
 *
 * Errors: when it ends with another code than 0, with what it said; when its answer is not what `schema` asks for.
 */
export async function runScript<T>(entry: string, args: readonly string[], schema: z.ZodType<T>): Promise<T> {
  const signal = AbortSignal.timeout(LIMIT_MS);
  const command = ["run", "-q", "--no-prompt", "--cached-only", "-P=bench-script", entry, ...args];
  const { code, out, err } = await runDeno(command, { signal });
  if (signal.aborted) throw new Error(`${entry} was stopped after ${LIMIT_MS / 1000} s`);
  if (code !== 0) throw new Error(`${entry} ended with ${code}: ${err.trim()}`);
  return schema.parse(JSON.parse(out));
}
