/**
 * Answers that come out of order: only that of the last request counts.
 *
 * @module
 */

/**
 * Makes a gate for requests of one kind. It runs a request and resolves with its answer, or with null where a later one
 * was begun meanwhile; so too where it fails, since nobody waits for it then.
 */
export function createLatestOnly(): <T>(request: () => Promise<T>) => Promise<T | null> {
  let last = 0;
  return async (request) => {
    const own = ++last;
    try {
      const answer = await request();
      return own === last ? answer : null;
    } catch (error) {
      if (own === last) throw error;
      return null;
    }
  };
}
