/**
 * Keeps one process running: starts it again when it ends, with growing pauses.
 *
 * @module
 */
import { EXIT_CONFIG } from "../../shared/process.ts";
import { pause } from "../../shared/stop.ts";

const MIN_DELAY_MS = 200;
const MAX_DELAY_MS = 5000;
/** A process that ran this long was well: its next crash is a first one. */
const HEALTHY_MS = 10_000;

/** How long to wait before the next start, in milliseconds: 200, 400, 800, … 5,000 after `failures` ends in a row. */
export function restartDelayMs(failures: number): number {
  return Math.min(MIN_DELAY_MS * 2 ** (failures - 1), MAX_DELAY_MS);
}

/** How many ends in a row there are after one more, of a process that ran for `ranMs`. */
export function failuresAfter(failures: number, ranMs: number): number {
  return ranMs >= HEALTHY_MS ? 1 : failures + 1;
}

/** Says in words how a process ended. */
export function describeEnd(status: Pick<Deno.CommandStatus, "code" | "signal">): string {
  return status.signal ? `was ended by ${status.signal}` : `ended with code ${status.code}`;
}

/** A started process. */
export interface Child {
  /** Its process id. */
  readonly pid: number;
  /** Resolves once it has ended and all it wrote is printed. */
  readonly ended: Promise<Deno.CommandStatus>;
  /** Sends it a signal; none is sent to one that has ended. */
  signal(name: Deno.Signal): void;
}

/** What happens around a process that is kept running. */
export interface KeepRunningOptions {
  /** Starts the process, each time it is to run. */
  readonly start: () => Child;
  /** Told of each end that nobody asked for, with the pause before the next start. */
  readonly onEnd: (how: string, delayMs: number) => void;
  /** Told of each start but the first one. */
  readonly onRestart: (pid: number) => void;
  /** Called when the process says that its configuration is wrong: it is not started again. */
  readonly onWrongConfiguration: () => void;
}

/** A process that is kept running. */
export interface KeptProcess {
  /** The id of the process that runs now, or ran last. */
  readonly pid: number;
  /** Ends the process, killing it after `graceMs`, and starts it anew at once. */
  restart(graceMs: number): Promise<void>;
  /** Ends it for good: SIGTERM, and SIGKILL after `graceMs`. Resolves once it is gone. May be called again. */
  stop(graceMs: number): Promise<void>;
  /** Kills it for good, without waiting. */
  kill(): void;
}

/** Starts a process and keeps it running until it is stopped. */
export function keepRunning(options: KeepRunningOptions): KeptProcess {
  const stopping = new AbortController();
  let skipPause = new AbortController();
  let child = options.start();
  const running = run();

  async function run(): Promise<void> {
    for (let failures = 0;;) {
      const startedAt = performance.now();
      const status = await child.ended;
      if (stopping.signal.aborted) return;
      if (skipPause.signal.aborted) failures = 0;
      else if (status.code === EXIT_CONFIG) return options.onWrongConfiguration();
      else {
        failures = failuresAfter(failures, performance.now() - startedAt);
        const delayMs = restartDelayMs(failures);
        options.onEnd(describeEnd(status), delayMs);
        await pause(delayMs, AbortSignal.any([stopping.signal, skipPause.signal]));
        if (stopping.signal.aborted) return;
      }
      skipPause = new AbortController();
      child = options.start();
      options.onRestart(child.pid);
    }
  }

  async function end(graceMs: number): Promise<void> {
    const ending = child;
    ending.signal("SIGTERM");
    const timer = setTimeout(() => ending.signal("SIGKILL"), graceMs);
    await ending.ended;
    clearTimeout(timer);
  }

  return {
    get pid() {
      return child.pid;
    },
    async restart(graceMs) {
      skipPause.abort();
      await end(graceMs);
    },
    async stop(graceMs) {
      stopping.abort();
      await end(graceMs);
      await running;
    },
    kill() {
      stopping.abort();
      child.signal("SIGKILL");
    },
  };
}
