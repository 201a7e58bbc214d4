/**
 * What single processes use.
 *
 * @module
 */
import { readMachine } from "./machine_usage.ts";

/** Resident memory of processes, in MiB, by name; without those that are gone. */
export async function readMemory(pids: ReadonlyMap<string, number>): Promise<Map<string, number>> {
  const machine = await readMachine();
  return new Map([...pids].flatMap(([name, pid]) => {
    const process = machine.get(pid);
    return process ? [[name, process.residentMiB]] : [];
  }));
}

/** A meter of several processes. */
export interface CpuMeter {
  /** The share of one core that each has used since the meter was started, by name; without those that are gone. */
  shares(): Promise<Map<string, number>>;
}

/** Starts a meter on processes, by their names. */
export async function startCpuMeter(pids: ReadonlyMap<string, number>): Promise<CpuMeter> {
  const startedMs = performance.now();
  const before = await readMachine();
  return {
    async shares() {
      const after = await readMachine();
      const seconds = (performance.now() - startedMs) / 1000;
      return new Map([...pids].flatMap(([name, pid]) => {
        const process = after.get(pid);
        if (!process) return [];
        return [[name, (process.cpuSeconds - (before.get(pid)?.cpuSeconds ?? 0)) / seconds]];
      }));
    },
  };
}
