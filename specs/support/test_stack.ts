// The whole system for one test: as real processes, each under its own permission set, or in the test's own.

import { configure, getJsonLinesFormatter, getLogger, type LogRecord, reset } from "@logtape/logtape";
import { join } from "node:path";
import { ConfigError, type VariableName } from "../../shared/process/config.ts";
import "../../shared/process/metrics.ts"; // its package opens a channel when it is loaded: in a test that is a leak
import { EXIT_CONFIG, type ProcessScript, readProcessConfig, runWork } from "../../shared/process/run.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import { childEnvironment, endChild, startChild } from "../../workers/dev/child.ts";
import { API, metricsPorts, PROCESSES, type ProcessSpec } from "../../workers/dev/processes.ts";
import { freePort } from "../../workers/dev/services.ts";
import { startCutProxy } from "./cut_proxy.ts";
import { eventually } from "./eventually.ts";
import { type TestBroker, testBroker } from "./test_broker.ts";
import { takeStackSlot, type TestSchema, testSchema } from "./test_schema.ts";

export interface StackOptions {
  /**
   * Where the processes find the services, if not where these are; the broker's may be those of a cluster's nodes, as in
   * `AMQP_URL`.
   */
  readonly urls?: { readonly database: string; readonly broker: string };
  /** Whether a process that ends by itself is started again, as the supervisor does. */
  readonly revive?: boolean;
  /** The database, migrated, and the broker, both their caller's to dispose of; by default, the test's own. */
  readonly services?: { readonly db: TestSchema; readonly broker: Omit<TestBroker, keyof AsyncDisposable> };
  /** A folder for what the processes write, a file for each. */
  readonly logs?: string | undefined;
  /** The names of the processes to start; all, by default. Without the API nothing is waited for. */
  readonly processes?: readonly string[];
  /**
   * The names of those that are processes of their own; all, by default. The others run in the test's, which costs a
   * third of the processor time. Whoever is to be killed, or ends itself by a fault, has to be apart.
   */
  readonly apart?: readonly string[];
  /** Whether the workers serve their metrics. */
  readonly metrics?: boolean;
}

const ALL = PROCESSES.map(({ name }) => name);

export type TestStack = Awaited<ReturnType<typeof startStack>>;

/**
 * Starts processes on a database and queues of their own, and waits until the API is ready. Disposing stops the processes,
 * and deletes that database and the queues.
 */
export async function startStack(env: Record<string, string> = {}, options: StackOptions = {}) {
  const { revive = false, services, logs, processes = ALL, apart = ALL, metrics = false } = options;
  await using resources = new AsyncDisposableStack();
  resources.use(await takeStackSlot());
  const db = services?.db ?? resources.use(await testSchema());
  const broker = services?.broker ?? resources.use(await testBroker());
  const port = freePort("127.0.0.1");
  const ports = metricsPorts(metrics ? 0 : undefined, () => freePort("127.0.0.1"));
  const url = `http://127.0.0.1:${port}`;
  const running = new Map<string, TestProcess>();
  const crashes: string[] = [];
  const urls = options.urls ?? { database: db.url, broker: broker.url };
  const childEnv = childEnvironment(Deno.env.toObject(), {
    DATABASE_URL: urls.database,
    AMQP_URL: urls.broker,
    ...broker.env,
    PORT: String(port),
    ...env,
  });

  function startCopy(name: string, flags: readonly string[] = []): TestProcess {
    const spec = specOf(name);
    const METRICS_PORT = `${ports.get(spec) ?? ""}`; // one in the environment of the tests would be everybody's
    const named = { ...childEnv, METRICS_PORT };
    if (!apart.includes(name)) return startInside(spec, named);
    return startTestProcess(spec, { env: named, flags, logs });
  }

  function start(name: string, flags?: readonly string[]): void {
    const child = startCopy(name, flags);
    running.set(name, child);
    child.ended.then(() => {
      if (running.get(name) !== child) return; // it was told to
      crashes.push(name);
      if (revive) start(name);
    });
  }

  async function end(name: string, signal: Deno.Signal): Promise<number> {
    const child = running.get(name);
    if (!child) throw new Error(`${name} is not running`);
    if (signal === "SIGKILL" && !apart.includes(name)) {
      throw new Error(`${name} runs in the test's own process: start it apart`);
    }
    running.delete(name);
    return await child.end(signal);
  }

  resources.defer(async () =>
    void await Promise.all([...running.keys()].map((name) => end(name, "SIGTERM")))
  );
  if ((logs || Deno.env.get("ORDERFLOW_TEST_LOGS")) && processes.some((name) => !apart.includes(name))) {
    resources.use(await logInto(logs));
  }
  for (const name of processes) start(name);
  if (processes.includes(API.name)) await untilReady(url);
  const owned = resources.move();
  return {
    url,
    db,
    /** Where its broker is, as an AMQP URL, and the names of the exchange and the queues on it. */
    broker,
    processes,
    /** Where each worker serves its metrics, without a path, by its name; none unless asked for. */
    metricsUrls: new Map([...ports].map(([{ name }, own]) => [name, `http://127.0.0.1:${own}`])),
    pids: () => new Map([...running].map(([name, { pid }]) => [name, pid])),
    /** With more of Deno's own `flags`, until it is started again; only one that is apart. */
    start,
    kill: async (name: string) => void await end(name, "SIGKILL"),
    /** Stops a process as the supervisor does; resolves with its exit code. */
    stop: (name: string) => end(name, "SIGTERM"),
    startCopy: (name: string) => startCopy(name),
    /** Which processes ended although nobody told them to, once for each time. */
    crashes: crashes as readonly string[],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

export type CuttableStack = Awaited<ReturnType<typeof startCuttableStack>>;

/**
 * As {@linkcode startStack}, supervised, with a proxy before the database and one before the broker: these wires can be
 * cut, the test's own go elsewhere.
 */
export async function startCuttableStack(
  env: Record<string, string> = {},
  options: Omit<StackOptions, "urls" | "revive"> = {},
) {
  await using resources = new AsyncDisposableStack();
  const services = options.services ??
    { db: resources.use(await testSchema()), broker: resources.use(await testBroker()) };
  const wires = {
    database: resources.use(startCutProxy(services.db.url, 5432)),
    broker: resources.use(startCutProxy(services.broker.url, 5672)),
  };
  const urls = { database: wires.database.url, broker: wires.broker.url };
  const stack = resources.use(await startStack(env, { ...options, services, urls, revive: true }));
  const owned = resources.move();
  return { ...stack, wires, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function untilReady(url: string): Promise<void> {
  await eventually("the API to be ready", async () => {
    const response = await fetch(`${url}/readyz`);
    await response.body?.cancel();
    return response.ok;
  }, 60_000);
}

function specOf(name: string): ProcessSpec {
  const spec = PROCESSES.find((spec) => spec.name === name);
  if (!spec) throw new Error(`There is no process ${name}`);
  return spec;
}

/** How long a process may take to stop, in milliseconds, before it is killed. */
const STOP_MS = 5000;
/** The same where nobody can be killed: longer, because all of them stop in one process. */
const INSIDE_STOP_MS = 30_000;

interface TestProcess {
  readonly pid: number;
  /** Resolves once it has ended, by itself or not, and all that it wrote is kept. */
  readonly ended: Promise<Deno.CommandStatus>;
  /** Sends it a signal, and SIGKILL if it has not ended after 5 s; resolves with its exit code. */
  end(signal: Deno.Signal): Promise<number>;
}

/**
 * Starts a process as `startChild` does. What it writes goes into a file of its name in the folder `logs`; else it is
 * dropped, or shown with `ORDERFLOW_TEST_LOGS`.
 */
export function startTestProcess(
  spec: ProcessSpec,
  { logs, ...options }: Pick<Parameters<typeof startChild>[1], "env" | "flags"> & {
    readonly logs?: string | undefined;
  },
): TestProcess {
  const keep = logs ? (from: Output) => append(from, join(logs, `${spec.name}.log`)) : copyOut;
  const isKept = logs || Deno.env.get("ORDERFLOW_TEST_LOGS");
  const child = startChild(spec, { ...options, ...isKept ? { print: keep } : {} });
  const { pid, ended } = child;
  return { pid, ended, end: async (signal) => (await endChild(child, STOP_MS, signal)).code };
}

/** Starts the work of a process in this one, under `env` alone. It cannot be killed. */
function startInside(spec: ProcessSpec, env: Readonly<Record<string, string>>): TestProcess {
  const controller = new AbortController();
  const log = getLogger(["orderflow", spec.name]);
  const work = async () => {
    const { script }: { script: ProcessScript } = await import(`../../${spec.entry}`);
    const config = readProcessConfig(script, (name) => env[name]);
    await runWork<VariableName>(script, { config, log, stop: controller.signal });
  };
  const ended = work().then(() => 0, (error) => {
    log.fatal("Cannot go on", { error });
    return error instanceof ConfigError ? EXIT_CONFIG : 1;
  }).then((code) => ({ code, success: code === 0, signal: null }));
  return {
    pid: Deno.pid,
    ended,
    async end() {
      controller.abort();
      const status = await withTimeout(INSIDE_STOP_MS, ended);
      if (!status) throw new Error(`${spec.name} did not stop within ${INSIDE_STOP_MS} ms`);
      return status.code;
    },
  };
}

/** Has what runs inside write its log as processes do, into a file of `folder` for each, or out. Disposing ends that. */
async function logInto(folder: string | undefined): Promise<AsyncDisposable> {
  const format = getJsonLinesFormatter({ properties: "flatten", categorySeparator: "." });
  const sink = (record: LogRecord) => {
    if (!folder) Deno.stdout.writeSync(new TextEncoder().encode(format(record)));
    else Deno.writeTextFileSync(join(folder, `${record.category[1]}.log`), format(record), { append: true });
  };
  await configure({
    reset: true,
    sinks: { sink },
    loggers: [
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: [] },
      { category: ["orderflow"], lowestLevel: "info", sinks: ["sink"] },
    ],
  });
  return { [Symbol.asyncDispose]: reset };
}

type Output = ReadableStream<Uint8Array<ArrayBuffer>>;

async function append(from: Output, path: string): Promise<void> {
  using file = await Deno.open(path, { append: true, create: true });
  await copyOut(from, file);
}

async function copyOut(from: Output, to: Pick<Deno.FsFile, "write"> = Deno.stdout): Promise<void> {
  for await (const chunk of from) { // not pipeTo(file.writable), which writes nothing before the stream ends
    for (let at = 0; at < chunk.length;) at += await to.write(chunk.subarray(at));
  }
}
