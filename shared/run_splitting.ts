/**
 * Runs a batch as a whole, and finds who is at fault when the whole fails.
 *
 * @module
 */
import { kindOfError } from "./errors.ts";

/**
 * Runs `run` on all `items` at once. Where that fails, it runs each half by itself, and so on, until the item at fault
 * stands alone: it has the error, the others have their results, in the order of `items`. One bad item among `n` costs
 * about 2 log2(n) further runs. A run that fails must leave nothing behind (a transaction).
 *
 * Errors: those of kind "outage", which no item is at fault for.
 */
export async function runSplitting<T, R>(
  items: readonly T[],
  run: (items: readonly T[]) => Promise<readonly R[]>,
): Promise<PromiseSettledResult<R>[]> {
  if (items.length === 0) return [];
  try {
    const results = await run(items);
    if (results.length !== items.length) {
      throw new Error(`A batch of ${items.length} items came back with ${results.length} results`);
    }
    return results.map((value) => ({ status: "fulfilled", value }));
  } catch (reason) {
    if (kindOfError(reason) === "outage") throw reason;
    if (items.length === 1) return [{ status: "rejected", reason }];
    const middle = Math.ceil(items.length / 2);
    const left = await runSplitting(items.slice(0, middle), run);
    return [...left, ...await runSplitting(items.slice(middle), run)];
  }
}
