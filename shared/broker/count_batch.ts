/**
 * What a settled batch came to, in figures.
 *
 * @module
 */
import type { Verdict } from "./next_step.ts";

/** What a consumer counts. */
export type BatchCounts = Readonly<
  Record<"batches" | "processed" | "duplicates" | "retries" | "deadLetters", number>
>;

/** The names of what a consumer counts. */
export const BATCH_COUNTS = ["batches", "processed", "duplicates", "retries", "deadLetters"] as const;

/** Counts one batch: its verdicts, and how many of its messages became delayed retries and dead letters. */
export function countBatch(verdicts: readonly Verdict[], retries: number, deadLetters: number): BatchCounts {
  const ofKind = (wanted: Verdict["kind"]) => verdicts.filter(({ kind }) => kind === wanted).length;
  return { batches: 1, processed: ofKind("done"), duplicates: ofKind("duplicate"), retries, deadLetters };
}
