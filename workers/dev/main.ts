/**
 * `deno task dev`: the whole system on one machine, with one command.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ConfigError, type VariableName } from "../../shared/process/config.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { HOME_VARIABLE, homePaths, isPortFree, launchersGone, lockHome } from "./services.ts";
import { BROKER, metricsPorts, PROCESSES, readSettings, type Settings } from "./processes.ts";
import { createPrinter, writeToStdout } from "./child.ts";
import { onStopSignals, supervise, type SuperviseOptions, type Supervisor } from "./supervise.ts";

/** The end comes by then, in milliseconds after the first request to stop, whoever has not finished. */
const STOP_LIMIT_MS = 4700;
/** The exit code after a second Ctrl-C: 128 + SIGINT, as shells have it. */
const EXIT_INTERRUPTED = 130;

if (import.meta.main) {
  try {
    const options = readOptions(Deno.args, Deno.env.toObject());
    using _lock = await lockHome(options.home);
    refuseTakenPorts(options.settings);
    const supervisor = supervise(options);
    stopWhenAsked(supervisor, options.env.INIT_CWD !== undefined); // `deno task` sets INIT_CWD
    Deno.exit(await supervisor.done);
  } catch (error) {
    console.error(messageOf(error));
    Deno.exit(1);
  }
}

function readOptions(args: string[], env: Record<string, string>): SuperviseOptions {
  const { watch } = parseArgs({ args, options: { watch: { type: "boolean", default: false } } }).values;
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const names = ["dev", ...[BROKER, ...PROCESSES].map(({ name }) => name)];
  const coloured = Deno.stdout.isTerminal() && !Deno.noColor;
  return {
    settings: readSettings(env),
    env,
    root,
    home: homePaths(root, env[HOME_VARIABLE]),
    printer: createPrinter(names, coloured, writeToStdout),
    watch,
  };
}

/** The ports are looked at before anything starts: whoever has one taken should hear so at once, and of nothing else. */
function refuseTakenPorts({ host, port, metricsHost, metricsPort }: Settings): void {
  refuseTaken(host, port, "PORT");
  for (const each of metricsPorts(metricsPort, () => 0).values()) {
    refuseTaken(metricsHost, each, "METRICS_PORT");
  }
}

function refuseTaken(host: string, port: number, variable: VariableName): void {
  if (port === 0 || isPortFree(host, port)) return;
  throw new ConfigError(
    `Port ${port} on ${host} is taken. Stop what uses it, or set ${variable} to another one.`,
  );
}

function stopWhenAsked(supervisor: Supervisor, startedByTask: boolean): void {
  const stop = new AbortController();
  const kill = (code: number) => {
    supervisor.kill();
    Deno.exit(code);
  };
  const onFirst = () => {
    stop.abort();
    supervisor.stop();
    setTimeout(() => kill(1), STOP_LIMIT_MS);
  };
  onStopSignals(onFirst, () => kill(EXIT_INTERRUPTED));
  if (startedByTask) {
    launchersGone(stop.signal).then((gone) => {
      if (gone) onFirst();
    });
  }
}
