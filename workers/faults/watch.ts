// What is armed and what is held, as a process knows it: in memory, and nothing is asked of the database while nothing is.

import { isDeepStrictEqual } from "node:util";
import type { Gate } from "../../shared/broker/consume.ts";
import {
  type ArmedFault,
  type FaultPoint,
  FAULTS_CHANNEL,
  type FaultTarget,
  isMeantFor,
  listArmedFaults,
  takeFault,
} from "../../shared/ops/faults.ts";
import { HOLDS_CHANNEL, readHeld, returnStep, takeStep } from "../../shared/ops/holds.ts";
import { keepDoing, messageOf, retryWhileUnavailable } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import type { Sql } from "../../shared/sql/connect.ts";

interface Watching {
  readonly log: Logger;
  readonly stop: AbortSignal;
}

/** What a shell shows for a process that SIGKILL ended. */
const EXIT_KILLED = 137;

export type Faults = Awaited<ReturnType<typeof watchFaults>>;

/**
 * Keeps in memory what is armed, until `stop`. Waits until the database can be reached. `log` gets a line for each strike,
 * and for what could not be read.
 */
export async function watchFaults(sql: Sql, { log, stop }: Watching) {
  const armed = await watchRows({
    name: "armed faults",
    channel: FAULTS_CHANNEL,
    none: [] as readonly ArmedFault[],
    read: () => listArmedFaults(sql),
  }, { sql, log, stop });

  /** Takes one strike of a fault that is armed for the target; null where none is. Never rejects. */
  async function strike(point: FaultPoint, target: FaultTarget): Promise<ArmedFault | null> {
    const candidates = await armed.current();
    if (!candidates.some((fault) => isMeantFor(fault, point, target))) return null;
    try {
      const fault = await takeFault(sql, point, target);
      if (!fault) return null;
      log.warning("A fault strikes", { point, left: fault.times, correlationId: fault.correlationId });
      return fault;
    } catch (error) {
      log.warning("A fault could not be taken, and does not strike", { point, error: messageOf(error) });
      return null;
    }
  }

  return {
    /** Whether anything is armed anywhere. */
    anyArmed: async () => (await armed.current()).length > 0,
    strike,
    /** Ends this process at once, with nothing tidied up, if a fault is armed for the target. */
    async crash(point: FaultPoint, target: FaultTarget): Promise<void> {
      if (await strike(point, target)) Deno.exit(EXIT_KILLED);
    },
  };
}

/**
 * How long one batch is stopped at an inner part, in milliseconds; then it goes on, and the next one is stopped. Its
 * transaction is open meanwhile, and the database ends one that idles for 60 s. The broker's confirm is in by then, and no
 * statement runs, so no other time-out can strike.
 */
const STOPPED_AT_MOST_MS = 40_000;

export type Holds = Awaited<ReturnType<typeof watchHolds>>;

/**
 * Keeps in memory which of `parts` are held, with their steps, until `stop`. Waits until the database can be reached.
 * `onChange` is called after each reading that found something else than was known.
 */
export async function watchHolds(
  sql: Sql,
  parts: readonly string[],
  { log, stop, onChange }: Watching & { readonly onChange?: () => void },
) {
  const held = await watchRows({
    name: "holds",
    channel: HOLDS_CHANNEL,
    none: new Map<string, number>(),
    read: async () => new Map((await readHeld(sql, parts)).map(({ part, steps }) => [part, steps])),
    isPassing: (now) => now.size > 0,
    onRead(now, before) {
      for (const part of now.keys()) if (!before.has(part)) log.warning("Held by an operator", { part });
      for (const part of before.keys()) if (!now.has(part)) log.info("Goes on", { part });
      if (!isDeepStrictEqual(before, now)) onChange?.();
    },
  }, { sql, log, stop });
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
    gate: (part: string): Gate => ({
      isShut: () => isHeld(part),
      changes: held.changes,
      takeStep: () => take(part),
      async returnStep() {
        await returnStep(sql, part).catch((error) => {
          log.warning("A step is lost", { part, error: messageOf(error) });
        });
      },
    }),
    /** Waits while an inner part is held: until it is resumed or stepped, `stop`, or `STOPPED_AT_MOST_MS`. Never rejects. */
    async stopAt(part: string): Promise<void> {
      const endMs = performance.now() + STOPPED_AT_MOST_MS;
      while (isHeld(part) && !stop.aborted) {
        const leftMs = endMs - performance.now();
        if (leftMs <= 0 || await take(part)) return;
        await withTimeout(leftMs, held.changes());
      }
    },
  };
}

/** How long until the next look at what passes, or could not be read, in milliseconds. */
const LOOK_AGAIN_MS = 1000;
/** Without a change: the longest that a timer can wait. */
const NEVER_MS = 2 ** 31 - 1;

/**
 * Keeps what `read` finds: read before this resolves, when `channel` tells of a change or has been listened to anew, and
 * every second while it passes (by the database's clock, of which nothing tells) or cannot be read. Waits until the
 * database can be reached. Ends with `stop`.
 */
async function watchRows<T>(
  { name, channel, none, read, isPassing = () => false, onRead = () => {} }: {
    readonly name: string;
    readonly channel: string;
    readonly none: T;
    readonly read: () => Promise<T>;
    readonly isPassing?: (rows: T) => boolean;
    readonly onRead?: (rows: T, before: T) => void;
  },
  { sql, log, stop }: Watching & { readonly sql: Sql },
) {
  let rows = none;
  let isKnown = false;
  let [asked, answered] = [0, 0];
  let next = Promise.withResolvers<void>();
  let wake = () => {}; // what changes before the first reading needs none

  function look(): void {
    asked++;
    wake();
  }

  function tell(): void {
    next.resolve();
    next = Promise.withResolvers();
  }

  async function readAll(): Promise<number> {
    const looks = asked;
    try {
      const before = rows;
      rows = await read();
      onRead(rows, before);
      isKnown = true;
    } finally {
      answered = looks;
      tell();
    }
    return isPassing(rows) ? LOOK_AGAIN_MS : NEVER_MS;
  }

  /** Resolves with the next reading, or `stop`; not at once after that, since whoever asks in a loop has yet to be stopped. */
  const changes = () => stop.aborted ? new Promise<void>((resolve) => setTimeout(resolve)) : next.promise;

  stop.addEventListener("abort", tell, { once: true });
  await retryWhileUnavailable(() => sql.listen(channel, look, look), { log, stop });
  ({ wake } = keepDoing(`Reading the ${name}`, readAll, { everyMs: LOOK_AGAIN_MS, log, stop }));
  while (!isKnown && !stop.aborted) await changes(); // nothing begins before it is known
  return {
    /** As last read. */
    now: () => rows,
    /** As last read; where a change is known of, only once that is read. */
    async current(): Promise<T> {
      while (answered < asked && !stop.aborted) await next.promise;
      return rows;
    },
    changes,
  };
}
