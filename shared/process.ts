/**
 * What every process does around its work: configuration, log, schema, signals, end.
 *
 * @module
 */
import {
  type Config,
  ConfigError,
  isSupervised,
  readConfig,
  TOPOLOGY_VARIABLES,
  type VariableName,
} from "./config.ts";
import { kindOfError, messageOf } from "./errors.ts";
import { type Logger, startLog } from "./log.ts";
import { migrate } from "./sql/migrate.ts";
import { pause, stopOnSignals } from "./stop.ts";

/** The variables of every process that talks to the database. */
export const BASE_VARIABLES = ["DATABASE_URL", "DATABASE_ROLES", "LOG_LEVEL", "LOG_FORMAT"] as const;

/** The variables of every process that talks to database and broker. */
export const WORKER_VARIABLES = [...BASE_VARIABLES, "AMQP_URL", ...TOPOLOGY_VARIABLES] as const;

/** What a process's work is given. */
export interface ProcessContext<N extends VariableName> {
  /** The parsed values of the variables that the process reads. */
  readonly config: Config<N>;
  /** The process's logger; its name is on every line. */
  readonly log: Logger;
  /** Aborted when the process is asked to stop. */
  readonly stop: AbortSignal;
}

/** The exit code of a process whose configuration is wrong (EX_CONFIG of sysexits.h): starting it again cannot help. */
export const EXIT_CONFIG = 78;

const OUTAGE_BACKOFF_MS = 1000;

/**
 * Runs a process named `name`: reads `variables`, waits for the database and brings its schema up to date, then runs
 * `work` until that resolves. `work` closes what it has opened. Ends the process with a code: 0, 78 for a wrong
 * configuration, 1 for anything unforeseen.
 */
export async function runProcess<N extends VariableName>(
  name: string,
  variables: readonly N[],
  work: (context: ProcessContext<N | (typeof BASE_VARIABLES)[number]>) => Promise<void>,
): Promise<void> {
  try {
    const config = readConfig([...BASE_VARIABLES, ...variables]);
    const base: Config<(typeof BASE_VARIABLES)[number]> = config;
    const log = await startLog(name, { level: base.LOG_LEVEL, format: base.LOG_FORMAT });
    using stop = stopOnSignals(log, { supervised: isSupervised() });
    try {
      await migrateThroughOutages(base, log, stop.signal);
      if (!stop.signal.aborted) await work({ config, log, stop: stop.signal });
    } catch (error) {
      if (error instanceof ConfigError) throw error;
      log.fatal("Cannot go on", { error });
      Deno.exit(1); // what is still open must not keep a process alive that has lost its way
    }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(error.message);
    Deno.exit(EXIT_CONFIG);
  }
}

async function migrateThroughOutages(
  config: Config<"DATABASE_URL" | "DATABASE_ROLES">,
  log: Logger,
  stop: AbortSignal,
): Promise<void> {
  for (let told = false; !stop.aborted;) {
    try {
      return await migrate(config.DATABASE_URL, { roles: config.DATABASE_ROLES });
    } catch (error) {
      if (kindOfError(error) !== "outage") throw error;
      if (!told) log.warning("The database cannot be reached; waiting for it", { error: messageOf(error) });
      told = true;
      await pause(OUTAGE_BACKOFF_MS, stop);
    }
  }
}
