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
import { kindOfError, retryWhileUnavailable } from "./errors.ts";
import { type Logger, startLog } from "./log.ts";
import { migrate } from "../sql/migrate.ts";
import { stopOnSignals } from "./stop.ts";

/** The variables of every process that talks to the database. */
export const BASE_VARIABLES = ["DATABASE_URL", "DATABASE_ROLES", "LOG_LEVEL", "LOG_FORMAT"] as const;

/** The variables of every process that talks to database and broker. */
export const WORKER_VARIABLES = [
  ...BASE_VARIABLES,
  "AMQP_URL",
  "FAULTS_ENABLED",
  ...TOPOLOGY_VARIABLES,
] as const;

export interface ProcessContext<N extends VariableName> {
  readonly config: Config<N>;
  readonly log: Logger;
  /** Aborted when the process is asked to stop. */
  readonly stop: AbortSignal;
  /** Resolves once the database is reached and its schema up to date. */
  readonly schema: Promise<void>;
}

/** The exit code of a process whose configuration is wrong (EX_CONFIG of sysexits.h): starting it again cannot help. */
export const EXIT_CONFIG = 78;
/** The exit code of what was called wrongly, and has done nothing (EX_USAGE of sysexits.h). */
export const EXIT_USAGE = 64;

/**
 * Runs a process named `name`: reads `variables`, brings the database's schema up to date as soon as that can be reached,
 * and runs `work`, which closes what it has opened. `work` begins when the schema is there, or with `startsAtOnce` whether
 * or not the database can be reached. Ends the process with a code: 0, 78 for a wrong configuration, 1 for anything
 * unforeseen. `--help` prints what it reads; any other argument is a wrong usage (64).
 */
export async function runProcess<N extends VariableName>(
  name: string,
  variables: readonly N[],
  work: (context: ProcessContext<N | (typeof BASE_VARIABLES)[number]>) => Promise<void>,
  { startsAtOnce = false } = {},
): Promise<void> {
  answerArguments(name, [...BASE_VARIABLES, ...variables]);
  try {
    const config = readConfig([...BASE_VARIABLES, ...variables]);
    const base: Config<(typeof BASE_VARIABLES)[number]> = config;
    const log = await startLog(name, { level: base.LOG_LEVEL, format: base.LOG_FORMAT });
    using stop = stopOnSignals(log, { supervised: isSupervised() });
    try {
      const schema = retryWhileUnavailable(
        () => migrate(base.DATABASE_URL, { roles: base.DATABASE_ROLES }),
        { log, stop: stop.signal },
      );
      schema.catch(() => {}); // told below, or to the work that waits for it
      if (!startsAtOnce) await orStopped(schema, stop.signal);
      if (stop.signal.aborted) return;
      await Promise.all([work({ config, log, stop: stop.signal, schema }), orStopped(schema, stop.signal)]);
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

function answerArguments(name: string, variables: readonly string[]): void {
  const [argument] = Deno.args;
  if (argument === undefined) return;
  const task = `deno task ${name === "api" ? name : `worker:${name}`}`;
  if (argument !== "--help" && argument !== "-h") {
    console.error(`There is no flag ${argument} (${task} --help says more)`);
    Deno.exit(EXIT_USAGE);
  }
  const settings = [...new Set(variables)].map((variable) => `  ${variable}`).join("\n");
  console.log(
    `${task}: runs the process ${name} until Ctrl-C or SIGTERM

  --help                     print this

Its settings are variables of the environment, of .env, or of the system that deno task dev runs; .env.example
explains each:
${settings}

Ends with 0 when it was asked to stop, 1 when it cannot go on, 64 for a wrong usage, 78 for a wrong configuration.

Example: ${task}`,
  );
  Deno.exit(0);
}

/** As `schema`, but not at fault when the process is asked to stop before the database could be reached. */
async function orStopped(schema: Promise<void>, stop: AbortSignal): Promise<void> {
  await schema.catch((error) => {
    if (!stop.aborted || kindOfError(error) !== "outage") throw error;
  });
}
