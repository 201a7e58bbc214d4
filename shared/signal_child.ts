/**
 * Signals to child processes.
 *
 * @module
 */

/**
 * Sends `signal` to `child`; one that has ended takes none. Nobody can ask first: from the moment in which Deno has reaped
 * a child it refuses to signal it, and `status` tells of that a turn of the event loop later.
 *
 * Errors: those of `ChildProcess.kill` that mean anything else, such as a permission that is missing.
 */
export function signalChild(child: Pick<Deno.ChildProcess, "kill">, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    const hasEnded = error instanceof TypeError || error instanceof Deno.errors.NotFound;
    if (!hasEnded) throw error;
  }
}
