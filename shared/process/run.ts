// What every process does around its work: configuration, log, schema, signals, end.

import {
  type Config,
  ConfigError,
  isSupervised,
  readConfig,
  TOPOLOGY_VARIABLES,
  type VariableName,
} from "./config.ts";
import { kindOfError, retryWhileUnavailable } from "./errors.ts";
import { checkClock } from "./heartbeat.ts";
import { type Logger, startLog } from "./log.ts";
import { migrate } from "../sql/migrate.ts";
import { losePatience } from "../sql/socket.ts";
import { aborted, stopOnSignals } from "./stop.ts";

const COMMON_VARIABLES = [
  "DATABASE_URL",
  "DATABASE_ROLES",
  "RETENTION_DAYS",
  "LOG_LEVEL",
  "LOG_FORMAT",
  "AMQP_URL",
  "FAULTS_ENABLED",
  ...TOPOLOGY_VARIABLES,
] as const;
type CommonVariable = (typeof COMMON_VARIABLES)[number];

export interface ProcessContext<N extends VariableName> {
  readonly config: Config<N | CommonVariable>;
  readonly log: Logger;
  readonly stop: AbortSignal;
  /** Resolves once the database is reached, its schema up to date, and this process's clock found to be right enough. */
  readonly schema: Promise<void>;
}

/** The exit code of a process whose configuration is wrong (EX_CONFIG of sysexits.h): starting it again cannot help. */
export const EXIT_CONFIG = 78;
/** The exit code of what was called wrongly, and has done nothing (EX_USAGE of sysexits.h). */
export const EXIT_USAGE = 64;

/** A process of the system, as its module exports it: importing it starts nothing. */
export interface ProcessScript<N extends VariableName = VariableName> {
  readonly name: string;
  /** What it reads beyond what every process does. */
  readonly variables: readonly N[];
  /** Runs until it is asked to stop, and closes what it has opened. */
  readonly work: (context: ProcessContext<N>) => Promise<void>;
  /** Whether the work begins before the database could be reached; by default it waits for the schema. */
  readonly startsAtOnce?: boolean;
}

/** Reads and checks the variables of a process. Errors: as `readConfig`. */
export function readProcessConfig<N extends VariableName>(
  { variables }: ProcessScript<N>,
  get?: (name: string) => string | undefined,
): Config<N | CommonVariable> {
  return readConfig([...COMMON_VARIABLES, ...variables], get);
}

/** How long a statement may keep a process that stops, in milliseconds, where the database does not answer. */
const STOP_ANSWER_MS = 2000;
/** How long anything that is still open may keep a process whose work is done, in milliseconds. */
const LINGER_MS = 1000;

/**
 * Runs a process until a signal. Ends it with a code: 0, 78 for a wrong configuration, 1 for anything unforeseen. `--help`
 * prints what it reads; any other argument is a wrong usage (64).
 */
export async function runProcess<N extends VariableName>(script: ProcessScript<N>): Promise<void> {
  answerArguments(script.name, [...COMMON_VARIABLES, ...script.variables]);
  try {
    const config = readProcessConfig(script);
    const log = await startLog(script.name, config);
    using stop = stopOnSignals(log, { supervised: isSupervised() });
    aborted(stop.signal).then(() => losePatience(STOP_ANSWER_MS));
    try {
      await runWork(script, { config, log, stop: stop.signal });
      Deno.unrefTimer(setTimeout(() => Deno.exit(0), LINGER_MS)); // the socket of a broker that has gone silent
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

/**
 * What a process does, whoever has started it: brings the database's schema up to date as soon as that can be reached, and
 * runs its work. Resolves once `stop` is aborted and all is closed.
 */
export async function runWork<N extends VariableName>(
  { work, startsAtOnce = false }: ProcessScript<N>,
  context: Omit<ProcessContext<N>, "schema">,
): Promise<void> {
  const { log, stop } = context;
  const base: Config<CommonVariable> = context.config;
  const prepare = async () => {
    await migrate(base.DATABASE_URL, { roles: base.DATABASE_ROLES });
    await checkClock(base.DATABASE_URL, base.RETENTION_DAYS);
  };
  const schema = retryWhileUnavailable(prepare, { log, stop });
  schema.catch(() => {}); // told below, or to the work that waits for it
  if (!startsAtOnce) await orStopped(schema, stop);
  if (stop.aborted) return;
  await Promise.all([work({ ...context, schema }), orStopped(schema, stop)]);
}

/** As `schema`, but not at fault when the process is asked to stop before the database could be reached. */
async function orStopped(schema: Promise<void>, stop: AbortSignal): Promise<void> {
  await schema.catch((error) => {
    if (!stop.aborted || kindOfError(error) !== "outage") throw error;
  });
}
