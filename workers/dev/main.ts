/**
 * `deno task dev`: the whole system on one machine, with one command.
 *
 * @module
 */
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { brokerUrls } from "../../shared/broker/connection.ts";
import { ConfigError, TOPOLOGY_VARIABLES, type VariableName } from "../../shared/process/config.ts";
import { databaseAddresses } from "../../shared/process/database_url.ts";
import { kindOfError, messageOf } from "../../shared/process/errors.ts";
import { EXIT_CONFIG } from "../../shared/process/run.ts";
import { aborted, pause, stopOnSignals } from "../../shared/process/stop.ts";
import { migrate } from "../../shared/sql/migrate.ts";
import { flag, type FlagValues, onOff, readFlags, runCommand, usageOf } from "../tools/command.ts";
import { shellWord } from "../tools/ops_api.ts";
import {
  addressOf,
  childEnvironment,
  createPrinter,
  type Environment,
  joinAddress,
  keepRunning,
  type KeptProcess,
  restartDelayMs,
  serviceName,
  startChild,
  writeToStdout,
} from "./child.ts";
import {
  API,
  BROKER,
  BROKER_PASSWORD_VARIABLE,
  BROKER_PORT_VARIABLE,
  BROKER_USER,
  metricsPorts,
  misspelt,
  PROCESSES,
  type ProcessSpec,
  readSettings,
} from "./processes.ts";
import { banner, readinessOf, untilReady } from "./readiness.ts";
import {
  type EmbeddedDatabase,
  freePort,
  HOME_VARIABLE,
  homePaths,
  isPortFree,
  launchersGone,
  lockHome,
  removeEnvFile,
  startEmbeddedDatabase,
  writeEnvFile,
} from "./services.ts";
import { bundlePage, watchSources } from "./watch_sources.ts";

const FLAGS = { watch: flag(onOff, "restart the processes whose source files change") };
const ENDS =
  `Everything that has no URL is embedded: DATABASE_URL and AMQP_URL name services of yours. PORT is the API's, and
ORDERFLOW_HOME the folder of the data and of the file env, by which the other tasks find this system; .env.example
explains all variables. Ends with 0 when it was stopped (Ctrl-C, and once more to kill), 1 when something cannot work,
64 for a wrong usage, 78 for a wrong configuration.`;
const usage = usageOf(
  "dev",
  "brings up everything, and runs the whole system",
  { "How:": FLAGS },
  ENDS,
  "--watch",
);

/** The end comes by then, in milliseconds after the first request to stop, whoever has not finished. */
const STOP_LIMIT_MS = 4700;
/** The exit code after a second Ctrl-C, or a stop that took too long: 128 + SIGINT, as shells have it. */
const EXIT_INTERRUPTED = 130;
/** How long a process may take to finish its current work; the API gives its requests 3 s. */
const GRACE_MS = 3500;
/** The broker is asked last, when nobody is connected any more. */
const BROKER_GRACE_MS = 500;
const PATIENCE_MS = 30_000;
/** A Ctrl-C ends what the start was waiting for, such as initdb, a moment before this process hears of it. */
const SAME_SIGNAL_MS = 200;

async function dev({ watch }: FlagValues<typeof FLAGS>): Promise<number> {
  const run = readRun(watch, Deno.env.toObject());
  using _lock = await lockHome(run.home);
  refuseTakenPorts(run);
  stopWhenAsked(run);
  return await supervise(run);
}

/** A run of the system: what it is given, and what it has started so far. */
type Run = ReturnType<typeof readRun>;

function readRun(watch: boolean, env: Environment) {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const names = ["dev", ...[BROKER, ...PROCESSES].map(({ name }) => name)];
  const printer = createPrinter(names, Deno.stdout.isTerminal() && !Deno.noColor, writeToStdout);
  const given = env[HOME_VARIABLE];
  const deno = env.npm_command === "exec" ? `npx -y deno@${Deno.version.deno}` : "deno"; // as it was started itself
  return {
    settings: readSettings(env),
    env,
    root,
    home: homePaths(root, given),
    watch,
    printer,
    say: (text: string) => void printer.line("dev", text),
    /** A task as it can be pasted, to be about this system. */
    advise: (task: string) => `${given ? `${HOME_VARIABLE}=${shellWord(given)} ` : ""}${deno} task ${task}`,
    startedAt: performance.now(),
    stopping: new AbortController(),
    exitCode: 0,
    processes: new Map<ProcessSpec, KeptProcess>(),
    broker: null as KeptProcess | null,
    database: null as EmbeddedDatabase | null,
  };
}

/** The ports are looked at before anything starts: whoever has one taken should hear so at once, and of nothing else. */
function refuseTakenPorts({ settings: { host, port, metricsHost, metricsPort }, advise }: Run): void {
  const refuseTaken = (
    hostname: string,
    wanted: number,
    variables: readonly [VariableName, VariableName],
  ) => {
    const [hostVariable, variable] = variables;
    if (wanted === 0) return;
    try {
      if (isPortFree(hostname, wanted)) return;
    } catch (error) {
      throw new ConfigError(
        `Cannot listen on ${hostVariable} ${hostname}, ${variable} ${wanted}: ${messageOf(error)}`,
      );
    }
    throw new ConfigError(
      `Port ${wanted} on ${hostname} is taken. Stop what uses it, or take another one: ` +
        `${variable}=${freePort(hostname)} ${advise("dev")}`,
    );
  };
  refuseTaken(host, port, ["HOST", "PORT"]);
  for (const each of metricsPorts(metricsPort, () => 0).values()) {
    refuseTaken(metricsHost, each, ["METRICS_HOST", "METRICS_PORT"]);
  }
}

/** Stops the run at Ctrl-C, SIGTERM, SIGHUP (the terminal was closed), or the end of those that started this process. */
function stopWhenAsked(run: Run): void {
  const kill = (code: number) => {
    for (const process of run.processes.values()) process.kill();
    run.broker?.kill(); // the embedded Postgres stops by itself when this process ends
    removeEnvFile(run.home.env);
    Deno.exit(code);
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

/**
 * Starts everything, and stops it when the run is asked to stop or cannot work. Whatever fails, what was started is
 * stopped. Resolves with the exit code once all is down again: 0 when asked to stop, else as `fail` has it.
 */
async function supervise(run: Run): Promise<number> {
  const { signal } = run.stopping;
  try {
    await start(run);
    await aborted(signal);
  } catch (error) {
    await pause(SAME_SIGNAL_MS, signal);
    if (!signal.aborted) fail(run, messageOf(error), error instanceof ConfigError ? EXIT_CONFIG : 1);
  }
  await stopAll(run).catch((error) => fail(run, `Could not stop everything: ${messageOf(error)}`));
  await run.printer.flush();
  return run.exitCode;
}

function fail(run: Run, message: string, code = 1): void {
  run.exitCode = code;
  run.say(message);
  run.stopping.abort();
}

async function start(run: Run): Promise<void> {
  const { settings: { host, port, ...settings }, say, stopping: { signal } } = run;
  for (const [name, known] of misspelt(await Deno.readTextFile(join(run.root, ".env")).catch(() => ""))) {
    say(`${name} in .env is no variable of OrderFlow: is ${known} meant?`);
  }
  const bundled = bundle(run);
  const amqpUrl = settings.amqpUrl ?? startBroker(run);
  const databaseUrl = settings.databaseUrl ?? await startDatabase(run);
  await migrateWhenReachable(run, databaseUrl);
  await bundled;
  if (signal.aborted) return;
  const urls = { DATABASE_URL: databaseUrl, AMQP_URL: amqpUrl };
  const address = { host, port: port || freePort(host) };
  const apiUrl = localUrl(address);
  await writeEnvFile(run.home.env, { ...urls, ORDERFLOW_API_URL: apiUrl, ...namesOf(run) });
  startProcesses(run, urls, address);
  if (run.watch) watch(run);
  await reportWhenReady(run, { apiUrl, databaseUrl, amqpUrl });
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
async function bundle({ root, env, say, stopping: { signal: stop } }: Run): Promise<void> {
  const failure = await bundlePage({ root, env: childEnvironment(env, {}), stop });
  if (failure !== null) say(`the debug page could not be bundled: ${failure}`);
}

/** The password is made up, and outlives a restart of the broker as the port does. */
function startBroker(run: Run): string {
  const port = freePort("127.0.0.1");
  const address = joinAddress("127.0.0.1", port);
  const password = crypto.randomUUID();
  const set = { [BROKER_PORT_VARIABLE]: `${port}`, [BROKER_PASSWORD_VARIABLE]: password };
  run.broker = keep(run, BROKER, set, [address]);
  return `amqp://${BROKER_USER}:${password}@${address}`;
}

async function startDatabase(run: Run): Promise<string> {
  run.say("starting the embedded Postgres");
  run.database = await startEmbeddedDatabase(run.home.postgres, run.say);
  return run.database.url;
}

async function migrateWhenReachable({ settings, stopping, say }: Run, url: string): Promise<void> {
  for (let failures = 0; !stopping.signal.aborted;) {
    try {
      return await migrate(url, { roles: settings.databaseRoles });
    } catch (error) {
      if (kindOfError(error) !== "outage") throw error;
      if (++failures === 1) {
        say(`the database of DATABASE_URL cannot be used (${messageOf(error)}); trying again until it can`);
      }
      await pause(restartDelayMs(failures), stopping.signal);
    }
  }
}

function startProcesses(
  run: Run,
  urls: Readonly<Record<"DATABASE_URL" | "AMQP_URL", string>>,
  { host, port }: { readonly host: string; readonly port: number },
): void {
  run.say("starting the API, the outbox relay and the consumers");
  const { metricsHost, metricsPort, faultsEnabled } = run.settings;
  const set = { ...urls, PORT: `${port}`, FAULTS_ENABLED: `${faultsEnabled}` };
  const services = [...databaseAddresses(urls.DATABASE_URL), ...brokerUrls(urls.AMQP_URL).map(addressOf)];
  const ports = metricsPorts(metricsPort, () => freePort(metricsHost));
  for (const spec of PROCESSES) {
    const metrics = ports.get(spec);
    const own = [
      ...spec === API ? [joinAddress(host, port)] : [],
      ...metrics === undefined ? [] : [joinAddress(metricsHost, metrics)],
    ];
    const more = metrics === undefined ? {} : { METRICS_PORT: `${metrics}` };
    run.processes.set(spec, keep(run, spec, { ...set, ...more }, [...services, ...own]));
  }
}

/** Keeps a process running, with the variables `set` besides its own, and no more of the network than `addresses`. */
function keep(run: Run, spec: ProcessSpec, set: Environment, addresses: readonly string[]): KeptProcess {
  const { root, printer, say } = run;
  const env = childEnvironment(run.env, { ...set, ...serviceName(spec) });
  return keepRunning({
    start: () => startChild(spec, { root, env, addresses, printer }),
    onEnd: (how, delayMs) => say(`${spec.name} ${how}; starting it again in ${delayMs / 1000} s`),
    onRestart: (pid) => say(`${spec.name} started again (process ${pid})`),
    onWrongConfiguration: () => {
      fail(run, `${spec.name} cannot work with this configuration: stopping everything`, EXIT_CONFIG);
    },
  });
}

async function reportWhenReady(
  run: Run,
  urls: Readonly<Record<"apiUrl" | "databaseUrl" | "amqpUrl", string>>,
) {
  const { settings, printer, broker, database, home, startedAt, processes, stopping: { signal: stop } } = run;
  const pids = () => new Map([...processes].map(([{ name }, { pid }]) => [name, pid]));
  const readiness = readinessOf(urls.apiUrl, settings.topology, stop);
  const notReady = `not ready after ${PATIENCE_MS / 1000} s, see their lines`;
  const onLate = (names: readonly string[]) => run.say(`${notReady}; still waiting for ${names.join(", ")}`);
  if (!await untilReady(() => readiness(pids()), { patienceMs: PATIENCE_MS, onLate, stop })) return;
  const all = [...broker ? [[BROKER, broker] as const] : [], ...processes];
  await printer.block(banner({
    ...urls,
    embedded: { database: database !== null, broker: broker !== null },
    home: shellWord(home.shown),
    status: run.advise("status"),
    processes: all.map(([{ name }, { pid }]) => ({ name, pid })),
    startMs: performance.now() - startedAt,
  }));
}

function watch(run: Run): void {
  const { root, processes, stopping, say } = run;
  const onChange = (specs: readonly ProcessSpec[], changed: readonly string[]) => {
    say(`changed: ${changed.map((path) => relative(root, path)).join(", ")}`);
    for (const spec of specs) processes.get(spec)?.restart(GRACE_MS);
  };
  watchSources({ root, specs: PROCESSES, onPage: () => bundle(run), onChange, stop: stopping.signal })
    .catch((error) => say(`no longer watching the sources: ${messageOf(error)}`));
}

/** In the order that lets everyone finish: first who works, then the broker, then the database. */
async function stopAll({ processes, broker, database, home, say }: Run): Promise<void> {
  if (processes.size > 0) say("stopping");
  removeEnvFile(home.env);
  await Promise.all([...processes.values()].map((process) => process.stop(GRACE_MS)));
  await broker?.stop(BROKER_GRACE_MS);
  await database?.stop();
}

/** Where the API can be reached from this machine when it listens on `host`. */
function localUrl({ host, port }: { readonly host: string; readonly port: number }): string {
  return `http://${joinAddress(host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host, port)}`;
}

if (import.meta.main) {
  const read = (args: readonly string[]) => readFlags(args, FLAGS)?.flags ?? null;
  Deno.exit(await runCommand({ task: "dev", usage, read, run: dev }, Deno.args));
}
