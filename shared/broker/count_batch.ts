/**
 * What a settled batch came to, in figures.
 *
 * @module
 */
import type { NewDeadLetter } from "../sql/dead_letters.ts";
import type { Delivery } from "./delivery.ts";
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

/** A batch of which at least one message is settled. */
export interface SettledBatch {
  /** Every message of the batch, with what its consumer says of it. */
  readonly verdicts: ReadonlyMap<Pick<Delivery, "parsed">, Verdict>;
  /** Those that are acked; the others are still in hand, and looked at again. */
  readonly settled: readonly Pick<Delivery, "parsed">[];
  /** How many of these are to be delivered again later. */
  readonly retries: number;
  /** Those of them that were given up on. */
  readonly letters: readonly Pick<NewDeadLetter, "reason">[];
  /** From the taking up to the ack, in milliseconds. */
  readonly tookMs: number;
}
