/**
 * What is held, as a process knows it: a flag in memory, and nothing is asked of the database while nothing is.
 *
 * @module
 */
import type { Gate } from "../../shared/broker/consume.ts";
import { listenForHolds, readHeld, returnStep, takeStep } from "../../shared/ops/holds.ts";
import { messageOf, retryWhileUnavailable } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import type { Sql } from "../../shared/sql/connect.ts";

/** The holds of one process. */
export interface Holds {
  isHeld(part: string): boolean;
  /** The gate of one of its parts. */
  gate(part: string): Gate;
  /** Waits while an inner part is held: until it is resumed or stepped, `stop`, or `STOPPED_AT_MOST_MS`. Never rejects. */
  stopAt(part: string): Promise<void>;
}

/** While something is held it is looked at again so often, in milliseconds: a hold ends by the clock of the database. */
const LOOK_AGAIN_MS = 1000;

/**
 * How long one batch is stopped at an inner part, in milliseconds; then it goes on, and the next one is stopped. Its
 * transaction is open meanwhile, and the database ends one that idles for 60 s. The broker's confirm is in by then, and no
 * statement runs, so no other time-out can strike.
 */
export const STOPPED_AT_MOST_MS = 40_000;

interface WatchOptions {
  readonly log: Logger;
  readonly stop: AbortSignal;
  /** Called after each reading that found something else than was known. */
  readonly onChange?: () => void;
}

/**
 * Keeps in memory which of `parts` are held: read before this resolves, when a part was held, resumed or stepped, when the
 * connection has been made again, and every second while one of them is held. Ends with `stop`. Waits until the database
 * can be reached.
 */
export async function watchHolds(
  sql: Sql,
  parts: readonly string[],
  options: WatchOptions,
): Promise<Holds> {
  const { log, stop } = options;
  const steps = await keepSteps(sql, parts, options);

  async function take(part: string): Promise<boolean> {
    if (steps.of(part) === 0) return false;
    try {
      const isOurs = await takeStep(sql, part);
      steps.note(part, isOurs ? Math.max(steps.of(part) - 1, 0) : 0); // none: another copy had it
      return isOurs;
    } catch (error) {
      log.warning("A step could not be taken", { part, error: messageOf(error) });
      return false;
    }
  }

  return {
    isHeld: steps.has,
    gate: (part) => ({
      isShut: () => steps.has(part),
      changes: steps.changes,
      takeStep: () => take(part),
      async returnStep() {
        await returnStep(sql, part).catch((error) => {
          log.warning("A step is lost", { part, error: messageOf(error) });
        });
      },
    }),
    async stopAt(part) {
      const endMs = performance.now() + STOPPED_AT_MOST_MS;
      while (steps.has(part) && !stop.aborted) {
        const leftMs = endMs - performance.now();
        if (leftMs <= 0 || await take(part)) return;
        await withTimeout(leftMs, steps.changes());
      }
    },
  };
}

/** The steps of each part that is held, as they were last read. */
async function keepSteps(
  sql: Sql,
  parts: readonly string[],
  { log, stop, onChange = () => {} }: WatchOptions,
) {
  let steps: ReadonlyMap<string, number> | null = null; // not read yet
  let [asked, failed] = [false, false];
  let reading: Promise<void> | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let waiting: (() => void)[] = [];

  async function read(): Promise<void> {
    clearTimeout(timer);
    while (asked) {
      asked = false;
      try {
        const found = new Map((await readHeld(sql, parts)).map((held) => [held.part, held.steps]));
        const before = steps ?? new Map();
        steps = found;
        failed = false;
        logChanges(log, before, found);
        if (!isSame(before, found)) onChange();
      } catch (error) {
        if (!failed && !stop.aborted) log.warning("The holds cannot be read", { error: messageOf(error) });
        failed = true;
      }
    }
    reading = null;
    if ((failed || (steps?.size ?? 0) > 0) && !stop.aborted) timer = setTimeout(look, LOOK_AGAIN_MS);
    tellAll();
  }

  function look(): void {
    if (stop.aborted) return;
    asked = true;
    reading ??= read();
  }

  function tellAll(): void {
    const all = waiting;
    waiting = [];
    for (const tell of all) tell();
  }

  /** Resolves with the next reading, or `stop`. */
  const changes = () =>
    new Promise<void>((tell) => {
      if (stop.aborted) setTimeout(tell); // not at once: whoever asks in a loop has yet to be stopped
      else waiting.push(tell);
    });

  stop.addEventListener("abort", () => {
    clearTimeout(timer);
    tellAll();
  }, { once: true });
  await retryWhileUnavailable(() => listenForHolds(sql, look), { log, stop });
  while (steps === null && !stop.aborted) await changes(); // nothing begins before it is known
  return {
    has: (part: string) => steps?.has(part) ?? false,
    of: (part: string) => steps?.get(part) ?? 0,
    note(part: string, left: number): void {
      if (steps?.has(part)) steps = new Map([...steps, [part, left]]);
    },
    changes,
  };
}

function isSame(before: ReadonlyMap<string, number>, now: ReadonlyMap<string, number>): boolean {
  return before.size === now.size && [...before].every(([part, steps]) => now.get(part) === steps);
}

function logChanges(
  log: Logger,
  before: ReadonlyMap<string, number>,
  now: ReadonlyMap<string, number>,
): void {
  for (const part of now.keys()) if (!before.has(part)) log.warning("Held by an operator", { part });
  for (const part of before.keys()) if (!now.has(part)) log.info("Goes on", { part });
}
