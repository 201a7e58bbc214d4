/**
 * What is held, as a process knows it: flags in memory, and nothing is asked of the database while nothing is.
 *
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import type { Gate } from "../../shared/broker/consume.ts";
import { listenForHolds, readHeld, returnStep, takeStep } from "../../shared/ops/holds.ts";
import { messageOf } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { watchRows } from "./watch_rows.ts";

/** The holds of one process. */
export interface Holds {
  isHeld(part: string): boolean;
  /** The gate of one of its parts. */
  gate(part: string): Gate;
  /** Waits while an inner part is held: until it is resumed or stepped, `stop`, or `STOPPED_AT_MOST_MS`. Never rejects. */
  stopAt(part: string): Promise<void>;
}

/**
 * How long one batch is stopped at an inner part, in milliseconds; then it goes on, and the next one is stopped. Its
 * transaction is open meanwhile, and the database ends one that idles for 60 s. The broker's confirm is in by then, and no
 * statement runs, so no other time-out can strike.
 */
export const STOPPED_AT_MOST_MS = 40_000;

/**
 * Keeps in memory which of `parts` are held, with their steps (`watchRows`), until `stop`. Waits until the database can be
 * reached. `onChange` is called after each reading that found something else than was known.
 */
export async function watchHolds(
  sql: Sql,
  parts: readonly string[],
  { log, stop, onChange }: {
    readonly log: Logger;
    readonly stop: AbortSignal;
    readonly onChange?: () => void;
  },
): Promise<Holds> {
  const none = new Map<string, number>();
  const held = await watchRows({
    name: "holds",
    none,
    read: async () => new Map((await readHeld(sql, parts)).map(({ part, steps }) => [part, steps])),
    listen: (onChange) => listenForHolds(sql, onChange),
    isPassing: (now) => now.size > 0,
    onRead(now, before) {
      for (const part of now.keys()) if (!before.has(part)) log.warning("Held by an operator", { part });
      for (const part of before.keys()) if (!now.has(part)) log.info("Goes on", { part });
      if (!isDeepStrictEqual(before, now)) onChange?.();
    },
  }, { log, stop });
  const isHeld = (part: string) => held.now().has(part);

  async function take(part: string): Promise<boolean> {
    if (!held.now().get(part)) return false; // held without a step, or not at all
    try {
      const isOurs = await takeStep(sql, part);
      const steps = held.now();
      const left = isOurs ? Math.max((steps.get(part) ?? 0) - 1, 0) : 0; // none: another copy had it
      if (steps.has(part)) steps.set(part, left);
      return isOurs;
    } catch (error) {
      log.warning("A step could not be taken", { part, error: messageOf(error) });
      return false;
    }
  }

  return {
    isHeld,
    gate: (part) => ({
      isShut: () => isHeld(part),
      changes: held.changes,
      takeStep: () => take(part),
      async returnStep() {
        await returnStep(sql, part).catch((error) => {
          log.warning("A step is lost", { part, error: messageOf(error) });
        });
      },
    }),
    async stopAt(part) {
      const endMs = performance.now() + STOPPED_AT_MOST_MS;
      while (isHeld(part) && !stop.aborted) {
        const leftMs = endMs - performance.now();
        if (leftMs <= 0 || await take(part)) return;
        await withTimeout(leftMs, held.changes());
      }
    },
  };
}
