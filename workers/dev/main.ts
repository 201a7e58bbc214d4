/**
 * `deno task dev`: the whole system on one machine, with one command.
 *
 * @module
 */
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { brokerUrls } from "../../shared/broker/connection.ts";
import { ConfigError, type VariableName } from "../../shared/process/config.ts";
import { kindOfError, messageOf } from "../../shared/process/errors.ts";
import { aborted, pause, stopOnSignals } from "../../shared/process/stop.ts";
import { migrate } from "../../shared/sql/migrate.ts";
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
  metricsPorts,
  PROCESSES,
  type ProcessSpec,
  readSettings,
  type Settings,
} from "./processes.ts";
import { banner, type System, systemChecks, untilReady } from "./readiness.ts";
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

/** The end comes by then, in milliseconds after the first request to stop, whoever has not finished. */
const STOP_LIMIT_MS = 4700;
/** The exit code after a second Ctrl-C: 128 + SIGINT, as shells have it. */
const EXIT_INTERRUPTED = 130;
/** How long a process may take to finish its current work; the API gives its requests 3 s. */
const GRACE_MS = 3500;
/** The broker is asked last, when nobody is connected any more. */
const BROKER_GRACE_MS = 500;
const PATIENCE_MS = 30_000;

if (import.meta.main) {
  try {
    const run = readRun(Deno.args, Deno.env.toObject());
    using _lock = await lockHome(run.home);
    refuseTakenPorts(run.settings);
    stopWhenAsked(run);
    Deno.exit(await supervise(run));
  } catch (error) {
    console.error(messageOf(error));
    Deno.exit(1);
  }
}

/** A run of the system: what it is given, and what it has started so far. */
type Run = ReturnType<typeof readRun>;

function readRun(args: string[], env: Environment) {
  const { watch } = parseArgs({ args, options: { watch: { type: "boolean", default: false } } }).values;
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const names = ["dev", ...[BROKER, ...PROCESSES].map(({ name }) => name)];
  const printer = createPrinter(names, Deno.stdout.isTerminal() && !Deno.noColor, writeToStdout);
  return {
    settings: readSettings(env),
    env,
    root,
    home: homePaths(root, env[HOME_VARIABLE]),
    watch,
    printer,
    say: (text: string) => void printer.line("dev", text),
    startedAt: performance.now(),
    stopping: new AbortController(),
    exitCode: 0,
    processes: new Map<ProcessSpec, KeptProcess>(),
    broker: null as KeptProcess | null,
    database: null as EmbeddedDatabase | null,
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
    setTimeout(() => kill(1), STOP_LIMIT_MS);
  });
}

/**
 * Starts everything, and stops it when the run is asked to stop or cannot work. Whatever fails, what was started is
 * stopped. Resolves with the exit code once all is down again: 0 when asked to stop, 1 when something cannot work.
 */
async function supervise(run: Run): Promise<number> {
  try {
    await start(run);
    await aborted(run.stopping.signal);
  } catch (error) {
    // A Ctrl-C also ends what the start was waiting for, such as initdb.
    if (!run.stopping.signal.aborted) fail(run, messageOf(error));
  }
  await stopAll(run).catch((error) => fail(run, `Could not stop everything: ${messageOf(error)}`));
  await run.printer.flush();
  return run.exitCode;
}

function fail(run: Run, message: string): void {
  run.exitCode = 1;
  run.say(message);
  run.stopping.abort();
}

async function start(run: Run): Promise<void> {
  const { topology, host, port, ...settings } = run.settings;
  const bundled = bundle(run);
  const amqpUrl = settings.amqpUrl ?? startBroker(run);
  const databaseUrl = settings.databaseUrl ?? await startDatabase(run);
  await migrateWhenReachable(run, databaseUrl);
  const apiAddress = { host, port: port || freePort(host) };
  const system = { apiUrl: localUrl(apiAddress), databaseUrl, amqpUrl, topology };
  await bundled;
  if (run.stopping.signal.aborted) return;
  await writeEnvFile(run.home.env, { DATABASE_URL: databaseUrl, AMQP_URL: amqpUrl });
  startProcesses(run, system, apiAddress.port);
  if (run.watch) watch(run);
  await reportWhenReady(run, system);
}

/** A page that cannot be bundled stops nobody else: the API says that it is missing. */
async function bundle({ root, env, say }: Run): Promise<void> {
  const failure = await bundlePage({ root, env: childEnvironment(env, {}) });
  if (failure !== null) say(`the debug page could not be bundled: ${failure}`);
}

/** The password is made up, and outlives a restart of the broker as the port does. */
function startBroker(run: Run): string {
  const port = freePort("127.0.0.1");
  const address = joinAddress("127.0.0.1", port);
  const password = crypto.getRandomValues(new Uint8Array(24)).toHex();
  const env = { [BROKER_PORT_VARIABLE]: `${port}`, [BROKER_PASSWORD_VARIABLE]: password };
  run.broker = keep(run, BROKER, env, [address]);
  return `amqp://guest:${password}@${address}`;
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
        say(`cannot reach the database of DATABASE_URL (${messageOf(error)}); waiting for it`);
      }
      await pause(restartDelayMs(failures), stopping.signal);
    }
  }
}

function startProcesses(run: Run, { databaseUrl, amqpUrl }: System, port: number): void {
  run.say("starting the API, the outbox relay and the consumers");
  const { host, metricsHost, metricsPort, faultsEnabled } = run.settings;
  const set = {
    DATABASE_URL: databaseUrl,
    AMQP_URL: amqpUrl,
    PORT: `${port}`,
    FAULTS_ENABLED: `${faultsEnabled}`,
  };
  const services = [databaseUrl, ...brokerUrls(amqpUrl)].map(addressOf);
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
    onWrongConfiguration: () =>
      fail(run, `${spec.name} cannot work with this configuration: stopping everything`),
  });
}

async function reportWhenReady(run: Run, system: System): Promise<void> {
  const { printer, broker, database, home, startedAt } = run;
  await using looks = systemChecks(system);
  const notReady = `not ready after ${PATIENCE_MS / 1000} s, see their lines`;
  const ready = await untilReady(looks.checks, {
    patienceMs: PATIENCE_MS,
    onLate: (names) => run.say(`${notReady}; still waiting for ${names.join(", ")}`),
    stop: run.stopping.signal,
  });
  if (!ready) return;
  const all = [...broker ? [[BROKER, broker] as const] : [], ...run.processes];
  await printer.block(banner({
    ...system,
    embedded: { database: database !== null, broker: broker !== null },
    home: home.shown,
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
