/**
 * Armed faults without a database, for tests of the seams.
 *
 * @module
 */
import { type Fault, type FaultPoint, isMeantFor } from "../../shared/ops/faults.ts";
import type { Faults } from "../../workers/faults/armed.ts";

/** What stands in for the end of the process. */
export class Crash extends Error {
  override name = "Crash";
}

/** Armed faults, and those that have struck. */
export interface FakeFaults extends Faults {
  readonly struck: readonly FaultPoint[];
}

/** Arms faults, each once unless told, wherever it is unless told. A crash is a rejection with {@linkcode Crash}. */
export function fakeFaults(...faults: readonly (Partial<Fault> & Pick<Fault, "point">)[]): FakeFaults {
  const struck: FaultPoint[] = [];
  const armed = faults.map((fault) => ({
    id: crypto.randomUUID(),
    times: 1,
    consumer: null,
    correlationId: null,
    delayMs: null,
    createdAt: new Date(),
    ...fault,
  }));
  const strike: Faults["strike"] = (point, target) => {
    const fault = armed.find((fault) => fault.times > 0 && isMeantFor(fault, point, target));
    if (!fault) return Promise.resolve(null);
    fault.times--;
    struck.push(point);
    return Promise.resolve(fault);
  };
  return {
    struck,
    anyArmed: () => Promise.resolve(armed.some(({ times }) => times > 0)),
    strike,
    async crash(point, target) {
      if (await strike(point, target)) throw new Crash(point);
    },
  };
}
