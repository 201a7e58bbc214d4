/**
 * How the relay finds the event for which the broker closes the channel. Pure.
 *
 * A batch with such an event is sent again in halves, and so on, until the event stands alone and is refused; one among
 * `n` costs about 2 log2(n) batches.
 *
 * @module
 */
import type { PublishOutcome } from "../../shared/broker/publish.ts";

/** The most events in the next batch, and how many the bisection still has to send; 0 where there is none. */
export interface Bisection {
  readonly limit: number;
  readonly left: number;
}

/** No bisection. */
export function wholeBatches(batchSize: number): Bisection {
  return { limit: batchSize, left: 0 };
}

/** The next step, after a batch of `claimed` events, for one of which the broker has closed the channel if it `offended`. */
export function nextBisection(
  { limit, left }: Bisection,
  { claimed, offended }: { readonly claimed: number; readonly offended: boolean },
  batchSize: number,
): Bisection {
  if (offended && claimed > 1) return { limit: Math.ceil(claimed / 2), left: Math.max(left, claimed) };
  return offended || left <= claimed ? wholeBatches(batchSize) : { limit, left: left - claimed };
}

/** The outcome of a batch: an event that was sent alone and made the broker close the channel is refused. */
export function aloneAtFault(outcome: PublishOutcome): PublishOutcome {
  const { confirmed, refused, unknown: [only, ...others], offence } = outcome;
  const isAlone = confirmed.length + refused.length + others.length === 0;
  if (offence === null || only === undefined || !isAlone) return outcome;
  return {
    ...outcome,
    refused: [{ id: only, error: `the broker closed the channel: ${offence}` }],
    unknown: [],
  };
}
