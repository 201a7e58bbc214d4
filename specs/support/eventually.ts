// Bounded polling on a condition, where a test waits for another process.

/** `T` without what counts as "not yet". */
type Truthy<T> = Exclude<T, false | null | undefined | 0 | "">;

/**
 * Calls `look` until it answers with something truthy, and answers with that. What `look` throws counts as "not yet".
 *
 * Errors: after `withinMs` (15 s by default), with `what` was waited for and what the last look said.
 */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  withinMs = 15_000,
): Promise<Truthy<T>> {
  let last: unknown;
  for (const until = performance.now() + withinMs; performance.now() < until;) {
    try {
      const result = await look();
      if (result) return result as Truthy<T>;
      last = result;
    } catch (error) {
      last = error instanceof Error ? error.message : error;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`Waited ${withinMs} ms for ${what}; last seen: ${JSON.stringify(last)}`);
}
