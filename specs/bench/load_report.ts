/**
 * What the load generator reports. Every time is as the generator's own clock has it.
 *
 * @module
 */
import { z } from "zod";
import { percentile } from "./bench.ts";

/** Two of many times, in milliseconds. */
export interface Quantiles {
  /** Half of them are no longer. */
  readonly p50: number;
  /** Of 100 of them 99 are no longer. */
  readonly p99: number;
}

/** What became of the orders. */
export interface LoadEnd {
  /** From the first request to the last final state, in seconds. */
  readonly seconds: number;
  /** Orders brought to a final state per second of that. */
  readonly perSecond: number;
  /** Orders by final state. */
  readonly statuses: Readonly<Record<string, number>>;
  /** From a request to its order's final state as another session sees it. */
  readonly latency: Quantiles;
  /** How many orders that was measured of. */
  readonly watched: number;
}

/** What the load came to. */
export interface LoadReport {
  /** Orders that were created. */
  readonly orders: number;
  /** From the first request to the last answer, in seconds. */
  readonly seconds: number;
  /** Orders created per second. */
  readonly perSecond: number;
  /** From a request (at a rate: from when it was due) to its answer. */
  readonly post: Quantiles;
  /** The share of one core that the generator itself used meanwhile. */
  readonly cpuShare: number;
  /** What became of the orders; null when nobody asked. */
  readonly end: LoadEnd | null;
}

/** Two quantiles as JSON. */
export const quantilesSchema: z.ZodType<Quantiles> = z.object({ p50: z.number(), p99: z.number() });

/** The two quantiles of `valuesMs`; both 0 where there are none. */
export function quantiles(valuesMs: readonly number[]): Quantiles {
  return { p50: percentile(valuesMs, 0.5), p99: percentile(valuesMs, 0.99) };
}

/** The report as JSON. */
export const loadReportSchema: z.ZodType<LoadReport> = z.object({
  orders: z.number().int(),
  seconds: z.number(),
  perSecond: z.number(),
  post: quantilesSchema,
  cpuShare: z.number(),
  end: z.object({
    seconds: z.number(),
    perSecond: z.number(),
    statuses: z.record(z.string(), z.number().int()),
    latency: quantilesSchema,
    watched: z.number().int(),
  }).nullable(),
});
