/**
 * How the relay finds the one event for which the broker closes the channel, among all that were on it.
 *
 * @module
 */

/** How many events the relay sends together. */
export interface Caution {
  /** The most events in the next batch. */
  readonly limit: number;
  /** How many events are still to be sent with caution; 0 is at ease. */
  readonly left: number;
}

/** What the last batch came to. */
export interface CautiousBatch {
  /** How many events were in it. */
  readonly claimed: number;
  /** Whether the broker closed the channel for what is in one of them. */
  readonly offended: boolean;
}

/** At ease: whole batches. */
export function atEase(batchSize: number): Caution {
  return { limit: batchSize, left: 0 };
}

/**
 * The caution of the next batch. A batch that offends the broker is sent again in halves, and so on, until the event at
 * fault stands alone; then, or once all that were with it are through, the relay is at ease again. One event among `n`
 * costs about 2 log2(n) batches.
 */
export function nextCaution(
  caution: Caution,
  { claimed, offended }: CautiousBatch,
  batchSize: number,
): Caution {
  if (offended && claimed > 1) {
    return { limit: Math.ceil(claimed / 2), left: Math.max(caution.left, claimed) };
  }
  const left = caution.left - claimed;
  return offended || left <= 0 ? atEase(batchSize) : { limit: caution.limit, left };
}
