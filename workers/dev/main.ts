// `deno task dev`: the whole system on one machine, with one command.

import { rmSync } from "node:fs";
import { join, relative } from "node:path";
import { ConfigError, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { kindOfError, messageOf } from "../../shared/process/errors.ts";
import { EXIT_CONFIG } from "../../shared/process/run.ts";
import { aborted, pause, stopOnSignals } from "../../shared/process/stop.ts";
import { migrate } from "../../shared/sql/migrate.ts";
import { flag, type FlagValues, onOff, task } from "../tools/command.ts";
import { shellWord } from "../tools/ops_api.ts";
import {
  childEnvironment,
  createPrinter,
  type Environment,
  joinAddress,
  keepRunning,
  type KeptProcess,
  restartDelayMs,
  startChild,
  writeToStdout,
} from "./child.ts";
import {
  BROKER,
  BROKER_PASSWORD_VARIABLE,
  BROKER_PORT_VARIABLE,
  BROKER_USER,
  metricsPorts,
  misspelt,
  PROCESSES,
  type ProcessSpec,
  readSettings,
  refuseCutValues,
  ROOT,
} from "./processes.ts";
import { banner, readinessOf, type ServiceUrls, untilReady } from "./readiness.ts";
import {
  freePort,
  HOME_VARIABLE,
  homePaths,
  isPortFree,
  launchersGone,
  lockHome,
  startEmbeddedDatabase,
  writeEnvFile,
} from "./services.ts";
import { bundlePage, watchSources } from "./watch_sources.ts";

const FLAGS = { watch: flag(onOff, "restart the processes whose source files change") };

/** The end comes by then, in milliseconds after the first request to stop, whoever has not finished. */
const STOP_LIMIT_MS = 4700;
/** The exit code after a second Ctrl-C, or a stop that took too long: 128 + SIGINT, as shells have it. */
const EXIT_INTERRUPTED = 130;
/** How long a process may take to finish its current work; the API gives its requests 3 s. */
const GRACE_MS = 3500;
/** The broker is asked when nobody is connected any more. */
const BROKER_GRACE_MS = 500;
/** A Ctrl-C ends what the start was waiting for, such as initdb, a moment before this process hears of it. */
const SAME_SIGNAL_MS = 200;

/**
 * Starts everything, and stops it when it is asked to or cannot work. Whatever fails, what was started is stopped.
 * Resolves with the exit code once all is down again: 0 when asked to stop, else as `fail` has it.
 */
async function dev({ watch }: FlagValues<typeof FLAGS>): Promise<number> {
  const envFile = await Deno.readTextFile(join(ROOT, ".env")).catch(() => "");
  const run = readRun(watch, Deno.env.toObject(), envFile);
  const { signal } = run.stopping;
  using _lock = await lockHome(run.home);
  refuseTakenPorts(run);
  stopWhenAsked(run);
  try {
    await using started = new AsyncDisposableStack();
    try {
      await start(run, started);
      await aborted(signal);
    } catch (error) {
      await pause(SAME_SIGNAL_MS, signal);
      if (!signal.aborted) fail(run, messageOf(error), error instanceof ConfigError ? EXIT_CONFIG : 1);
    }
  } catch (error) {
    fail(run, `Could not stop everything: ${messageOf(error)}`);
  }
  await run.printer.flush();
  return run.exitCode;
}

type Run = ReturnType<typeof readRun>;

function readRun(watch: boolean, env: Environment, envFile: string) {
  refuseCutValues(envFile, env);
  const names = ["dev", ...[BROKER, ...PROCESSES].map(({ name }) => name)];
  const printer = createPrinter(names, Deno.stdout.isTerminal() && !Deno.noColor, writeToStdout);
  const given = env[HOME_VARIABLE];
  const deno = env.npm_command === "exec" ? `npx -y deno@${Deno.version.deno}` : "deno"; // as it was started itself
  return {
    settings: readSettings(env),
    env,
    envFile,
    home: homePaths(given),
    watch,
    printer,
    say: (text: string) => void printer.line("dev", text),
    /** A task as it can be pasted, to be about this system. */
    advise: (task: string) => `${given ? `${HOME_VARIABLE}=${shellWord(given)} ` : ""}${deno} task ${task}`,
    startedAt: performance.now(),
    stopping: new AbortController(),
    exitCode: 0,
    kept: new Map<ProcessSpec, KeptProcess>(),
  };
}

function fail(run: Run, message: string, code = 1): void {
  run.exitCode = code;
  run.say(message);
  run.stopping.abort();
}

/** The ports are looked at before anything starts: whoever has one taken should hear so at once, and of nothing else. */
function refuseTakenPorts({ settings: { HOST, PORT, METRICS_HOST, METRICS_PORT }, advise }: Run): void {
  const refuse = (name: string, port: number, hostName: string, host: string) => {
    try {
      if (port === 0 || isPortFree(host, port)) return;
    } catch (error) {
      throw new ConfigError(`Cannot listen on ${hostName} ${host}, ${name} ${port}: ${messageOf(error)}`);
    }
    const another = `${name}=${freePort(host)} ${advise("dev")}`;
    throw new ConfigError(
      `Port ${port} on ${host} is taken. Stop what uses it, or take another one: ${another}`,
    );
  };
  refuse("PORT", PORT, "HOST", HOST);
  for (const port of metricsPorts(METRICS_PORT, () => 0).values()) {
    refuse("METRICS_PORT", port, "METRICS_HOST", METRICS_HOST);
  }
}

/** Stops the run at Ctrl-C, SIGTERM, SIGHUP (the terminal was closed), or the end of those that started this process. */
function stopWhenAsked(run: Run): void {
  const kill = (code: number) => {
    for (const process of run.kept.values()) process.kill();
    rmSync(run.home.env, { force: true });
    Deno.exit(code); // the embedded Postgres stops by itself when this process ends
  };
  const { signal } = stopOnSignals(null, {
    signals: ["SIGINT", "SIGTERM", "SIGHUP"],
    onSecond: () => kill(EXIT_INTERRUPTED),
  });
  const startedByTask = run.env.INIT_CWD !== undefined; // set by `deno task`
  Promise.race([aborted(signal), ...startedByTask ? [launchersGone(signal)] : []]).then(() => {
    run.stopping.abort();
    setTimeout(() => kill(run.exitCode || EXIT_INTERRUPTED), STOP_LIMIT_MS);
  });
}

/** Starts everything that runs; what stops it again is left in `started`: first who works, then who serves them. */
async function start(run: Run, started: AsyncDisposableStack): Promise<void> {
  const { settings, home, say, stopping: { signal } } = run;
  for (const [name, known] of misspelt(run.envFile)) {
    say(`${name} in .env is no variable of OrderFlow: is ${known} meant?`);
  }
  const bundled = bundle(run);
  const AMQP_URL = settings.AMQP_URL ?? startBroker(run, started);
  if (settings.DATABASE_URL === null) say("starting the embedded Postgres");
  const DATABASE_URL = settings.DATABASE_URL ??
    started.use(await startEmbeddedDatabase(home.postgres, say)).url;
  await migrateWhenReachable(run, DATABASE_URL);
  await bundled;
  if (signal.aborted) return;
  const port = settings.PORT || freePort(settings.HOST);
  const urls = { DATABASE_URL, AMQP_URL, ORDERFLOW_API_URL: localUrl(settings.HOST, port) };
  await writeEnvFile(home.env, { ...urls, ...namesOf(run) });
  startProcesses(run, started, urls, port);
  if (run.watch) watch(run);
  await reportWhenReady(run, urls);
}

/** What else the tasks must know of this run, where it is not the default. */
function namesOf({ env, say }: Run): Environment {
  const told = ["OPS_TOKEN", "DATABASE_ROLES", "RETENTION_DAYS", ...TOPOLOGY_VARIABLES]
    .flatMap((name) => env[name] ? [[name, env[name]] as const] : []);
  const written = told.filter(([, value]) => !value.includes("'")); // an env file has no way to write that one
  if (written.length < told.length) {
    say("OPS_TOKEN has a ' in it: the tasks do not find it, and must be given it");
  }
  return Object.fromEntries(written);
}

/** A page that cannot be bundled stops nobody else: the API says that it is missing. */
async function bundle({ env, say, stopping: { signal: stop } }: Run): Promise<void> {
  const failure = await bundlePage(childEnvironment(env, {}), stop);
  if (failure !== null) {
    say(`the debug page could not be bundled (UI_BUNDLE_DIR names another folder for it): ${failure}`);
  }
}

/** The password is made up, and outlives a restart of the broker as the port does. */
function startBroker(run: Run, started: AsyncDisposableStack): string {
  const port = freePort("127.0.0.1");
  const password = crypto.randomUUID();
  const broker = keep(run, BROKER, {
    [BROKER_PORT_VARIABLE]: `${port}`,
    [BROKER_PASSWORD_VARIABLE]: password,
  });
  started.defer(() => broker.stop(BROKER_GRACE_MS));
  return `amqp://${BROKER_USER}:${password}@127.0.0.1:${port}`;
}

async function migrateWhenReachable({ settings, stopping, say }: Run, url: string): Promise<void> {
  for (let failures = 1; !stopping.signal.aborted; failures++) {
    try {
      return await migrate(url, { roles: settings.DATABASE_ROLES });
    } catch (error) {
      if (kindOfError(error) !== "outage") throw error;
      if (failures === 1) {
        say(`the database of DATABASE_URL cannot be used (${messageOf(error)}); trying again until it can`);
      }
      await pause(restartDelayMs(failures), stopping.signal);
    }
  }
}

function startProcesses(
  run: Run,
  started: AsyncDisposableStack,
  { DATABASE_URL, AMQP_URL }: ServiceUrls,
  port: number,
): void {
  run.say("starting the API, the outbox relay and the consumers");
  const { HOST, METRICS_HOST, METRICS_PORT, FAULTS_ENABLED } = run.settings;
  const own = { HOST, PORT: `${port}`, METRICS_HOST, FAULTS_ENABLED: `${FAULTS_ENABLED}` };
  const ports = metricsPorts(METRICS_PORT, () => freePort(METRICS_HOST));
  const processes = PROCESSES.map((spec) =>
    keep(run, spec, { DATABASE_URL, AMQP_URL, ...own, METRICS_PORT: `${ports.get(spec) ?? ""}` })
  );
  started.defer(async () => {
    run.say("stopping");
    rmSync(run.home.env, { force: true });
    await Promise.all(processes.map((process) => process.stop(GRACE_MS)));
  });
}

/** Keeps a process running, with the variables `set` besides its own. */
function keep(run: Run, spec: ProcessSpec, set: Environment): KeptProcess {
  const { printer, say } = run;
  const env = childEnvironment(run.env, set);
  const print = (output: ReadableStream) => printer.stream(spec.name, output);
  const process = keepRunning(
    () => startChild(spec, { env, print }),
    (what) => say(`${spec.name} ${what}`),
    () => fail(run, `${spec.name} cannot work with this configuration: stopping everything`, EXIT_CONFIG),
  );
  run.kept.set(spec, process);
  return process;
}

async function reportWhenReady(run: Run, urls: ServiceUrls): Promise<void> {
  const { settings, kept, stopping: { signal: stop } } = run;
  const running = (specs: Iterable<ProcessSpec>) =>
    [...specs].map((spec) => ({ name: spec.name, pid: kept.get(spec)?.pid ?? 0 }));
  const look = readinessOf(urls.ORDERFLOW_API_URL, topologyOf(settings), () => running(PROCESSES), stop);
  if (!await untilReady(look, run.say, stop)) return;
  await run.printer.block(banner({
    ...urls,
    embedded: { database: settings.DATABASE_URL === null, broker: settings.AMQP_URL === null },
    home: shellWord(run.home.shown),
    status: run.advise("status"),
    processes: running(kept.keys()),
    startMs: performance.now() - run.startedAt,
  }));
}

function watch(run: Run): void {
  const { kept, stopping, say } = run;
  const onChange = (specs: readonly ProcessSpec[], changed: readonly string[]) => {
    say(`changed: ${changed.map((path) => relative(ROOT, path)).join(", ")}`);
    for (const spec of specs) kept.get(spec)?.restart(GRACE_MS);
  };
  watchSources({ root: ROOT, specs: PROCESSES, onPage: () => bundle(run), onChange, stop: stopping.signal })
    .catch((error) => say(`no longer watching the sources: ${messageOf(error)}`));
}

/** Where the API can be reached from this machine when it listens on `host`. */
function localUrl(host: string, port: number): string {
  return `http://${joinAddress(host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host, port)}`;
}

if (import.meta.main) {
  await task({
    name: "dev",
    about: "brings up everything, and runs the whole system",
    flags: FLAGS,
    ends:
      `Everything that has no URL is embedded: DATABASE_URL and AMQP_URL name services of yours. PORT is the API's, and
ORDERFLOW_HOME the folder of the data and of the file env, by which the other tasks find this system; .env.example
explains all variables. Ends with 0 when it was stopped (Ctrl-C, and once more to kill), 1 when something cannot work,
64 for a wrong usage, 78 for a wrong configuration.`,
    example: "--watch",
    run: dev,
  });
}
