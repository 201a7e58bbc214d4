/**
 * Ctrl-C in a task of the command line.
 *
 * @module
 */

/** What `onInterrupt` answers with. */
export interface Interrupt {
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** Listens no longer. */
  [Symbol.dispose](): void;
}

/** Listens to SIGINT and SIGTERM: the first one aborts `signal`, and from then on the next one ends the task at once. */
export function onInterrupt(): Interrupt {
  const controller = new AbortController();
  const signals = ["SIGINT", "SIGTERM"] as const;
  const stop = () => {
    for (const signal of signals) Deno.removeSignalListener(signal, onSignal);
  };
  const onSignal = () => {
    stop();
    controller.abort();
  };
  for (const signal of signals) Deno.addSignalListener(signal, onSignal);
  return { signal: controller.signal, [Symbol.dispose]: stop };
}
