/**
 * Which worker serves its metrics on which port.
 *
 * @module
 */
import { ConfigError } from "../../shared/config.ts";
import { type ProcessSpec, WORKERS } from "./processes.ts";

const LAST_PORT = 65_535;

/**
 * The port of each worker: `first` for the relay, and for each consumer the next one, in the order of `CONSUMERS`. With
 * 0, one for each that `free` answers with; with null, none at all.
 *
 * Errors: `ConfigError` where there are not enough ports behind the first.
 */
export function metricsPorts(first: number | null, free: () => number): ReadonlyMap<ProcessSpec, number> {
  if (first === null) return new Map();
  if (first + WORKERS.length - 1 > LAST_PORT) {
    throw new ConfigError(
      `METRICS_PORT is ${first}: the ${WORKERS.length} workers take one port each from there on, and ${LAST_PORT} is the last.`,
    );
  }
  return new Map(WORKERS.map((spec, i) => [spec, first === 0 ? free() : first + i]));
}
