/**
 * Work that a process does again and again beside its main work, for as long as it runs.
 *
 * @module
 */
import { messageOf } from "./errors.ts";
import type { Logger } from "./log.ts";
import { aborted, pause, within } from "./stop.ts";

/** Pauses that can be ended early. */
export interface Alarm {
  /** Ends the pause under way or, between two of them, the next one at its start. */
  ring(): void;
  /** Waits `ms` milliseconds, for a ring or for the end of the process, whichever comes first; answers whether it rang. */
  wait(ms: number): Promise<boolean>;
}

/** Makes an alarm; once `stop` is aborted, nothing waits for it any more. One at a time may wait. */
export function createAlarm(stop: AbortSignal): Alarm {
  let rung = false;
  let endPause = () => {};
  stop.addEventListener("abort", () => endPause(), { once: true });
  return {
    ring() {
      rung = true;
      endPause();
    },
    async wait(ms) {
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

/** How long a round that is under way may keep a process that stops, in milliseconds. */
const GRACE_MS = 10_000;

/** How a chore is done. */
export interface ChoreOptions {
  /** The pause after a round, in milliseconds, unless the round answers with another one. */
  readonly everyMs: number;
  /** The shortest pause that `wake` leaves, in milliseconds; 0 by default. */
  readonly atLeastMs?: number;
  /** How long a round that is under way may keep a process that stops, in milliseconds; 10 s by default. */
  readonly graceMs?: number;
  /** Gets one warning for failures in a row. */
  readonly log: Logger;
  /** Aborted, no further round begins. */
  readonly stop: AbortSignal;
}

/** Work that is kept being done. */
export interface Chore {
  /** Resolves when it has stopped, `graceMs` after `stop` at the latest. Never rejects. */
  readonly running: Promise<void>;
  /** Has the next round begin now or, called during a round, right after it. */
  wake(): void;
}

/**
 * Does `work` until `stop` is aborted, the first time at once; what `work` answers is the pause before the next round, in
 * milliseconds. A failure is the next round's work: the log is told once until a round succeeds, and nothing is thrown.
 */
export function keepDoing(name: string, work: () => Promise<number | void>, options: ChoreOptions): Chore {
  const { everyMs, atLeastMs = 0, graceMs = GRACE_MS, log, stop } = options;
  const alarm = createAlarm(stop);

  async function run(): Promise<void> {
    for (let failing = false; !stop.aborted;) {
      let pauseMs = everyMs;
      try {
        pauseMs = await work() ?? everyMs;
        failing = false;
      } catch (error) {
        if (!failing && !stop.aborted) {
          log.warning(`${name} failed; trying again`, { error: messageOf(error) });
        }
        failing = true;
      }
      await pause(Math.min(atLeastMs, pauseMs), stop);
      await alarm.wait(pauseMs - atLeastMs);
    }
  }

  const rounds = run();
  return { running: aborted(stop).then(() => within(graceMs, rounds)), wake: alarm.ring };
}
