/**
 * A new connection where the broker refuses on the old one.
 *
 * @module
 */

/** Between two renewals, in milliseconds: a broker that refuses for a reason of its own is not connected to in a loop. */
const RENEW_EVERY_MS = 2000;

/**
 * Wraps `renew`, so that it runs at most once in `everyMs` milliseconds; calls in between do nothing.
 *
 * It is for a nack of a quorum queue. A channel of RabbitMQ remembers which node led a queue when it was opened. Opened
 * while that node is dead and no other has been elected yet, it may go on to nack all that is for that queue until the
 * node is back (seen with 3.10), although everybody else can publish. Another channel asks anew.
 */
export function renewsAtMost(renew: () => void, everyMs = RENEW_EVERY_MS): () => void {
  let lastAt = -Infinity;
  return () => {
    if (performance.now() - lastAt < everyMs) return;
    lastAt = performance.now();
    renew();
  };
}
