/**
 * Waiting until what a process depends on is back.
 *
 * @module
 */
import { kindOfError, messageOf } from "./errors.ts";
import type { Logger } from "./log.ts";
import { pause } from "./stop.ts";

/** How an outage is waited out. */
export interface OutageOptions {
  /** Gets one warning when the outage begins and one line when it is over, however many tries lie between. */
  readonly log: Logger;
  /** Aborted, nothing is tried any more. */
  readonly stop: AbortSignal;
  /** Decides whether an error passes by itself. Unless told: those of kind "outage". */
  readonly passes?: (error: unknown) => boolean;
}

/** Between the first two tries, in milliseconds; it doubles from try to try. */
const OUTAGE_BACKOFF_MIN_MS = 100;
/** Between two tries at most, so that work goes on within two seconds of the recovery. */
const OUTAGE_BACKOFF_MAX_MS = 1000;

/**
 * Runs `work`, again and again while the database is away; answers with what it answered.
 *
 * Errors: those of `work` that do not pass by themselves, and its last one once `stop` is aborted.
 */
export async function throughOutages<T>(work: () => Promise<T>, options: OutageOptions): Promise<T> {
  const { log, stop, passes = (error) => kindOfError(error) === "outage" } = options;
  for (let backoffMs = OUTAGE_BACKOFF_MIN_MS, told = false;;) {
    try {
      const result = await work();
      if (told) log.info("The database is back");
      return result;
    } catch (error) {
      if (stop.aborted || !passes(error)) throw error;
      if (!told) {
        log.warning("The database cannot be used; pausing until it can", { error: messageOf(error) });
      }
      told = true;
      await pause(backoffMs, stop);
      backoffMs = Math.min(backoffMs * 2, OUTAGE_BACKOFF_MAX_MS);
    }
  }
}

/** As `passes`: everything but what nobody foresaw. For work that is nobody's message, so that a lock is just waited for. */
export function passesInTime(error: unknown): boolean {
  return kindOfError(error) !== "permanent";
}
