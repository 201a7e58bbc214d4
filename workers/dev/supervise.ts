/**
 * The supervisor: starts, restarts and stops the processes.
 *
 * @module
 */
import { relative } from "node:path";
import { brokerUrls } from "../../shared/broker/connection.ts";
import { kindOfError, messageOf } from "../../shared/process/errors.ts";
import { migrate } from "../../shared/sql/migrate.ts";
import { aborted, pause } from "../../shared/process/stop.ts";
import { banner, type System, systemChecks, untilReady } from "./readiness.ts";
import { bundlePage, watchSources } from "./watch_sources.ts";
import {
  addressOf,
  childEnvironment,
  type Environment,
  joinAddress,
  keepRunning,
  type KeptProcess,
  type Printer,
  restartDelayMs,
  serviceName,
  startChild,
} from "./child.ts";
import {
  type EmbeddedDatabase,
  freePort,
  type HomePaths,
  removeEnvFile,
  startEmbeddedDatabase,
  writeEnvFile,
} from "./services.ts";
import {
  API,
  BROKER,
  BROKER_PORT_VARIABLE,
  metricsPorts,
  PROCESSES,
  type ProcessSpec,
  type Settings,
} from "./processes.ts";

/** A Ctrl-C within this time is the first one again: the terminal sends it to the group, and `deno task` passes it on. */
const SAME_SIGNAL_MS = 500;

/** Whether a further signal is a second request, and not an echo of the first one. */
export function isSecondRequest(firstAt: number, now: number): boolean {
  return now - firstAt > SAME_SIGNAL_MS;
}

/**
 * Calls `onFirst` at the first SIGINT (Ctrl-C), SIGTERM or SIGHUP (the terminal was closed), and `onSecond` when somebody
 * insists. Answers with a function that stops listening.
 */
export function onStopSignals(onFirst: (signal: Deno.Signal) => void, onSecond: () => void): () => void {
  let firstAt: number | null = null;
  const handlers = (["SIGINT", "SIGTERM", "SIGHUP"] as const).map((signal) => {
    const handle = () => {
      const now = performance.now();
      if (firstAt === null) {
        firstAt = now;
        onFirst(signal);
      } else if (isSecondRequest(firstAt, now)) onSecond();
    };
    Deno.addSignalListener(signal, handle);
    return () => Deno.removeSignalListener(signal, handle);
  });
  return () => handlers.forEach((remove) => remove());
}

/** What a run is given. */
export interface SuperviseOptions {
  /** What is given and what is to be embedded. */
  readonly settings: Settings;
  /** The supervisor's own environment, of which children get what is theirs. */
  readonly env: Environment;
  /** The project's root. */
  readonly root: string;
  /** Where data and env file are; locked by the caller. */
  readonly home: HomePaths;
  /** Prints the lines of all. */
  readonly printer: Printer;
  /** Whether a process whose source changes is started anew. */
  readonly watch: boolean;
}

/** A run of the supervisor. */
export interface Supervisor {
  /** Resolves with the exit code once all is down again: 0 when asked to stop, 1 when something cannot work. */
  readonly done: Promise<number>;
  /** Asks it to stop. May be called again. */
  stop(): void;
  /** Kills every process at once. The embedded Postgres stops by itself when this process ends. */
  kill(): void;
}

/** How long a process may take to finish what it has in hand; the API gives its requests 3 s. */
const GRACE_MS = 3500;
/** The broker is asked last, when nobody is connected any more. */
const BROKER_GRACE_MS = 500;
const PATIENCE_MS = 30_000;

/** Starts everything. Whatever fails, what was started is stopped. */
export function supervise(options: SuperviseOptions): Supervisor {
  const { settings, env, root, home, printer } = options;
  const startedAt = performance.now();
  const stopping = new AbortController();
  const kept = new Map<ProcessSpec, KeptProcess>();
  let broker: KeptProcess | null = null;
  let database: EmbeddedDatabase | null = null;
  let exitCode = 0;
  const say = (text: string) => void printer.line("dev", text);

  async function run(): Promise<number> {
    try {
      await start();
      await aborted(stopping.signal);
    } catch (error) {
      // A Ctrl-C also ends what the start was waiting for, such as initdb.
      if (!stopping.signal.aborted) fail(messageOf(error));
    }
    await stopAll().catch((error) => fail(`Could not stop everything: ${messageOf(error)}`));
    await printer.flush();
    return exitCode;
  }

  function fail(message: string): void {
    exitCode = 1;
    say(message);
    stopping.abort();
  }

  async function start(): Promise<void> {
    const bundled = bundle();
    const amqpUrl = settings.amqpUrl ?? startBroker();
    const databaseUrl = settings.databaseUrl ?? await startDatabase();
    await migrateWhenReachable(databaseUrl);
    const port = settings.port || freePort(settings.host);
    const system = {
      apiUrl: localUrl(settings.host, port),
      databaseUrl,
      amqpUrl,
      topology: settings.topology,
    };
    await bundled;
    if (stopping.signal.aborted) return;
    await writeEnvFile(home.env, { DATABASE_URL: databaseUrl, AMQP_URL: amqpUrl });
    startProcesses(system, port);
    if (options.watch) watch();
    await reportWhenReady(system);
  }

  /** A page that cannot be bundled stops nobody else: the API says that it is missing. */
  async function bundle(): Promise<void> {
    const failure = await bundlePage({ root, env: childEnvironment(env, {}) });
    if (failure !== null) say(`the debug page could not be bundled: ${failure}`);
  }

  function startBroker(): string {
    const port = freePort("127.0.0.1");
    const address = joinAddress("127.0.0.1", port);
    broker = keep(BROKER, { [BROKER_PORT_VARIABLE]: `${port}` }, [address]);
    return `amqp://guest:guest@${address}`;
  }

  async function startDatabase(): Promise<string> {
    say("starting the embedded Postgres");
    database = await startEmbeddedDatabase(home.postgres, say);
    return database.url;
  }

  async function migrateWhenReachable(url: string): Promise<void> {
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

  function startProcesses(system: System, port: number): void {
    say("starting the API, the outbox relay and the consumers");
    const set = {
      DATABASE_URL: system.databaseUrl,
      AMQP_URL: system.amqpUrl,
      PORT: `${port}`,
      FAULTS_ENABLED: `${settings.faultsEnabled}`,
    };
    const services = [addressOf(system.databaseUrl), ...brokerUrls(system.amqpUrl).map(addressOf)];
    const { metricsHost, metricsPort } = settings;
    const ports = metricsPorts(metricsPort, () => freePort(metricsHost));
    for (const spec of PROCESSES) {
      const metrics = ports.get(spec);
      const own = [
        ...spec === API ? [joinAddress(settings.host, port)] : [],
        ...metrics === undefined ? [] : [joinAddress(metricsHost, metrics)],
      ];
      const more = metrics === undefined ? {} : { METRICS_PORT: `${metrics}` };
      kept.set(spec, keep(spec, { ...set, ...more }, [...services, ...own]));
    }
  }

  function keep(spec: ProcessSpec, set: Environment, addresses: readonly string[]): KeptProcess {
    const childEnv = childEnvironment(env, { ...set, ...serviceName(spec) });
    return keepRunning({
      start: () => startChild(spec, { root, env: childEnv, addresses, printer }),
      onEnd: (how, delayMs) => say(`${spec.name} ${how}; starting it again in ${delayMs / 1000} s`),
      onRestart: (pid) => say(`${spec.name} started again (process ${pid})`),
      onWrongConfiguration: () =>
        fail(`${spec.name} cannot work with this configuration: stopping everything`),
    });
  }

  async function reportWhenReady(system: System): Promise<void> {
    await using looks = systemChecks(system);
    const ready = await untilReady(looks.checks, {
      patienceMs: PATIENCE_MS,
      onLate: (names) =>
        say(
          `not ready after ${PATIENCE_MS / 1000} s, see their lines; still waiting for ${names.join(", ")}`,
        ),
      stop: stopping.signal,
    });
    if (!ready) return;
    const all = [...broker ? [[BROKER, broker] as const] : [], ...kept];
    await printer.block(banner({
      ...system,
      embedded: { database: database !== null, broker: broker !== null },
      home: home.shown,
      processes: all.map(([{ name }, { pid }]) => ({ name, pid })),
      startMs: performance.now() - startedAt,
    }));
  }

  function watch(): void {
    const onChange = (specs: readonly ProcessSpec[], changed: readonly string[]) => {
      say(`changed: ${changed.map((path) => relative(root, path)).join(", ")}`);
      for (const spec of specs) kept.get(spec)?.restart(GRACE_MS);
    };
    watchSources({ root, specs: PROCESSES, onPage: bundle, onChange, stop: stopping.signal })
      .catch((error) => say(`no longer watching the sources: ${messageOf(error)}`));
  }

  /** In the order that lets everyone finish: first who works, then the broker, then the database. */
  async function stopAll(): Promise<void> {
    if (kept.size > 0) say("stopping");
    removeEnvFile(home.env);
    await Promise.all([...kept.values()].map((process) => process.stop(GRACE_MS)));
    await broker?.stop(BROKER_GRACE_MS);
    await database?.stop();
  }

  return {
    done: run(),
    stop: () => stopping.abort(),
    kill() {
      for (const process of kept.values()) process.kill();
      broker?.kill();
      removeEnvFile(home.env);
    },
  };
}

/** Where the API can be reached from this machine when it listens on `host`. */
function localUrl(host: string, port: number): string {
  return `http://${joinAddress(host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host, port)}`;
}
