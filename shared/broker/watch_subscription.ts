/**
 * Notices a subscription that the broker has forgotten: one made while its queue was being deleted gets no word of that.
 * A broker that does not answer for the queue has as good as forgotten it.
 *
 * @module
 */

/** How often the broker is asked, in milliseconds. */
const SUBSCRIPTION_CHECK_MS = 5000;
/** So often in a row nobody may be subscribed: a queue that has just been made counts its consumers a moment later. */
const MAX_UNKNOWN = 2;

/**
 * Asks again and again with `countConsumers` how many consumers the queue has, every `checkMs` milliseconds, and calls
 * `onForgotten` when twice in a row it has none or there is no answer in that time. Answers with a function that ends it.
 */
export function watchSubscription(
  countConsumers: () => Promise<number>,
  onForgotten: () => void,
  checkMs = SUBSCRIPTION_CHECK_MS,
): () => void {
  let unknown = 0;
  let asking = false;
  const countUnknown = (isUnknown: boolean) => {
    unknown = isUnknown ? unknown + 1 : 0;
    if (unknown < MAX_UNKNOWN) return;
    unknown = 0;
    onForgotten();
  };
  const timer = setInterval(async () => {
    if (asking) return countUnknown(true);
    asking = true;
    const consumers = await countConsumers().catch(() => null); // a channel that is gone comes back by itself
    asking = false;
    countUnknown(consumers === 0);
  }, checkMs);
  return () => clearInterval(timer);
}
