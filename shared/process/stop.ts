// How a process is asked to stop, and waits that end in time: by a signal, by a ring, by their bound.

import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "./log.ts";

/**
 * A second signal within this time is the first one again: a terminal's Ctrl-C reaches the whole group, and `deno task`
 * and the supervisor pass it on.
 */
const SAME_SIGNAL_MS = 500;

/**
 * Listens to `signals` (SIGINT and SIGTERM by default), and with `supervised` to the end of standard input, which is how
 * a supervisor's death shows. The first one aborts `signal`: stop taking work, finish the current batch, close. A second
 * one calls `onSecond`, which ends the process at once by default; that is safe, because every effect is in a committed
 * transaction or not there. Disposing ends the listening: then the process can end by itself. `log` is null for a task of
 * the command line, which has none.
 */
export function stopOnSignals(
  log: Logger | null,
  { supervised = false, signals = ["SIGINT", "SIGTERM"], onSecond = () => Deno.exit(130) }: {
    readonly supervised?: boolean;
    readonly signals?: readonly Deno.Signal[];
    readonly onSecond?: () => void;
  } = {},
): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  let firstAt = 0;
  const stop = (why: string) => {
    if (controller.signal.aborted) {
      if (performance.now() - firstAt > SAME_SIGNAL_MS) onSecond();
      return;
    }
    firstAt = performance.now();
    log?.debug("Stopping", { why });
    controller.abort();
  };
  const listeners = signals.map((name) => [name, () => stop(name)] as const);
  for (const [name, listener] of listeners) Deno.addSignalListener(name, listener);
  const input = supervised ? Deno.stdin.readable.getReader() : undefined;
  let isOver = false; // then the input ends because nobody listens to it any more
  if (input) {
    endOf(input).then(() => {
      if (!isOver) stop("the supervisor is gone");
    });
  }
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      isOver = true;
      for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
      input?.cancel().catch(() => {});
    },
  };
}

async function endOf(input: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  try {
    while (!(await input.read()).done);
  } catch {
    // An input that cannot be read has ended just as well.
  }
}

/** Resolves once `signal` is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** Resolves after `ms` milliseconds, or as soon as `signal` is aborted; never rejects. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return delay(ms, undefined, { signal }).catch(() => {});
}

/**
 * Makes pauses that can be ended early. `wait(ms)` ends after `ms` milliseconds, with a ring, or once `stop` is aborted,
 * whichever comes first; it answers whether it was a ring. `ring()` ends the pause under way or, between two of them, the
 * next one at its start. One at a time may wait.
 */
export function createAlarm(stop: AbortSignal) {
  let rung = false;
  let endPause = () => {};
  stop.addEventListener("abort", () => endPause(), { once: true });
  return {
    ring(): void {
      rung = true;
      endPause();
    },
    async wait(ms: number): Promise<boolean> {
      if (!rung && !stop.aborted) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          endPause = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      const wasRung = rung;
      rung = false;
      return wasRung;
    },
  };
}

/**
 * The result of `work`, or null if it takes longer than `ms` milliseconds; what comes later, an error included, is
 * dropped.
 *
 * Errors: as `work`, within that time.
 */
export async function withTimeout<T>(ms: number, work: Promise<T>): Promise<T | null> {
  const { promise, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), ms);
  try {
    return await Promise.race([work, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Sends `signal` to `child`; one that has ended takes none. Nobody can ask first: from the moment in which Deno has reaped
 * a child it refuses to signal it, and `status` tells of that a turn of the event loop later.
 *
 * Errors: those of `ChildProcess.kill` that mean anything else, such as a missing permission.
 */
export function signalChild(child: Pick<Deno.ChildProcess, "kill">, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    const hasEnded = error instanceof TypeError || error instanceof Deno.errors.NotFound;
    if (!hasEnded) throw error;
  }
}
