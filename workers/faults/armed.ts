/**
 * What is armed, as a process knows it: nothing is asked of the database while nothing is.
 *
 * @module
 */
import { messageOf } from "../../shared/process/errors.ts";
import {
  type ArmedFault,
  type FaultPoint,
  type FaultTarget,
  isMeantFor,
  listArmedFaults,
  listenForFaults,
  takeFault,
} from "../../shared/ops/faults.ts";
import type { Logger } from "../../shared/process/log.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { watchRows } from "./watch_rows.ts";

export interface Faults {
  /** Whether anything is armed anywhere. */
  anyArmed(): Promise<boolean>;
  /** Takes one strike of a fault that is armed for the target; null where none is. Never rejects. */
  strike(point: FaultPoint, target: FaultTarget): Promise<ArmedFault | null>;
  /** Ends this process at once, with nothing tidied up, if a fault is armed for the target. */
  crash(point: FaultPoint, target: FaultTarget): Promise<void>;
}

/** What a shell shows for a process that SIGKILL ended. */
const EXIT_KILLED = 137;

/**
 * Keeps in memory what is armed (`watchRows`), until `stop`. Waits until the database can be reached. `log` gets a line for
 * each strike, and for what could not be read.
 */
export async function watchFaults(
  sql: Sql,
  { log, stop }: { readonly log: Logger; readonly stop: AbortSignal },
): Promise<Faults> {
  const none: readonly ArmedFault[] = [];
  const armed = await watchRows({
    name: "armed faults",
    none,
    read: () => listArmedFaults(sql),
    listen: (onChange) => listenForFaults(sql, onChange),
  }, { log, stop });

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
    anyArmed: async () => (await armed.current()).length > 0,
    strike,
    async crash(point, target) {
      if (await strike(point, target)) Deno.exit(EXIT_KILLED);
    },
  };
}
