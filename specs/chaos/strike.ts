/**
 * Lets the faults of a schedule strike when their order has been accepted.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../shared/process/errors.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { type FaultRecord, INJECTORS, resourceOf } from "./inject.ts";
import { describeFault, type Fault } from "./schedule.ts";
import type { ChaosSystem } from "./system.ts";

/** The faults of a run on their way. */
export interface Strikes {
  /** To be called with the number of orders accepted so far. */
  onAccepted(count: number): void;
  /** Resolves once fewer faults are under way than may be at once. */
  gate(): Promise<void>;
  /** Resolves when all faults that struck are over; rejects when one could not be injected, or is not over in time. */
  over(): Promise<void>;
  /** How many have struck. */
  struck(): number;
}

/** With so many faults under way the load waits: else it would be over before the last fault strikes. */
const MAX_AT_ONCE = 4;
const GATE_POLL_MS = 10;
/** How long faults may last beyond the last order; what they wait for is bounded, so this is for what nobody foresaw. */
const OVER_MS = 120_000;

/** Faults strike in the order of the schedule and may overlap, but for those that touch the same thing. */
export function createStrikes(
  faults: readonly Fault[],
  system: ChaosSystem,
  record: FaultRecord,
  say: (line: string) => void,
): Strikes {
  const turns = new Map<string, Promise<void>>();
  const failures: Error[] = [];
  const underWay = new Set<Fault>();
  let struck = 0;

  async function strike(fault: Fault, turn: Promise<void>): Promise<void> {
    await turn;
    say(describeFault(fault));
    try {
      await INJECTORS[fault.kind](fault, system, record);
    } catch (cause) {
      failures.push(new Error(`Cannot inject ${describeFault(fault)}: ${messageOf(cause)}`, { cause }));
    }
    underWay.delete(fault);
  }

  return {
    onAccepted(count) {
      for (let fault = faults[struck]; fault && fault.at <= count; fault = faults[struck]) {
        struck++;
        underWay.add(fault);
        const resource = resourceOf(fault);
        turns.set(resource, strike(fault, turns.get(resource) ?? Promise.resolve()));
      }
    },
    async gate() {
      while (underWay.size >= MAX_AT_ONCE) await delay(GATE_POLL_MS);
    },
    async over() {
      await withTimeout(OVER_MS, Promise.all(turns.values()));
      for (const fault of underWay) failures.push(new Error(`Not over in time: ${describeFault(fault)}`));
      if (failures.length > 0) {
        throw new AggregateError(
          failures,
          failures.map(({ message }) => message).join("; "),
        );
      }
    },
    struck: () => struck,
  };
}
