/**
 * How the supervisor is asked to stop.
 *
 * @module
 */

/** A Ctrl-C within this time is the first one again: the terminal sends it to the group, and `deno task` passes it on. */
const SAME_SIGNAL_MS = 500;

/** Whether a further signal is a second request, and not an echo of the first one. */
export function isSecondRequest(firstAt: number, now: number): boolean {
  return now - firstAt > SAME_SIGNAL_MS;
}

/**
 * Calls `onFirst` at the first SIGINT (Ctrl-C), SIGTERM or SIGHUP (the terminal was closed), and `onSecond` when somebody
 * insists. Answers with a function that stops listening.
 */
export function onStopSignals(onFirst: (signal: Deno.Signal) => void, onSecond: () => void): () => void {
  let firstAt: number | null = null;
  const handlers = (["SIGINT", "SIGTERM", "SIGHUP"] as const).map((signal) => {
    const handle = () => {
      const now = performance.now();
      if (firstAt === null) {
        firstAt = now;
        onFirst(signal);
      } else if (isSecondRequest(firstAt, now)) onSecond();
    };
    Deno.addSignalListener(signal, handle);
    return () => Deno.removeSignalListener(signal, handle);
  });
  return () => handlers.forEach((remove) => remove());
}
