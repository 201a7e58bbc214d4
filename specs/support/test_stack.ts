/**
 * The whole system as real processes, each under its own permission set, for one test.
 *
 * @module
 */
import type { Topology } from "../../shared/topology.ts";
import { brokerUrls } from "../../shared/broker/connection.ts";
import { addressOf, childEnvironment, serviceName } from "../../workers/dev/child.ts";
import { freePort } from "../../workers/dev/services.ts";
import { API, metricsPorts, PROCESSES, type ProcessSpec } from "../../workers/dev/processes.ts";
import { type CutProxy, startCutProxy } from "./cut_proxy.ts";
import { eventually } from "./eventually.ts";
import { takeStackSlot } from "./stack_slot.ts";
import { type TestBroker, testBroker } from "./test_broker.ts";
import { logInto, startInside, startTestProcess, type TestProcess } from "./test_process.ts";
import { type TestSchema, testSchema } from "./test_schema.ts";

/** A running system. Disposing of it stops its processes and deletes its database and queues. */
export interface TestStack extends AsyncDisposable {
  /** Where the API listens. */
  readonly url: string;
  /** Its database, migrated. */
  readonly db: TestSchema;
  /** Where its broker is, as an AMQP URL, and the names of the exchange and the queues on it. */
  readonly broker: { readonly url: string; readonly topology: Topology };
  /** The names of its processes. */
  readonly processes: readonly string[];
  /** Where each worker serves its metrics, without a path, by its name; none unless asked for. */
  readonly metricsUrls: ReadonlyMap<string, string>;
  /** The ids of the processes that run now, by name. */
  pids(): Map<string, number>;
  /** Sends SIGKILL to a process and resolves when it is gone. */
  kill(name: string): Promise<void>;
  /** Starts a process that is not running. */
  start(name: string): void;
  /** Stops a process as the supervisor does; resolves with its exit code. */
  stop(name: string): Promise<number>;
  /** Starts one more copy of a process, which is its caller's to end. */
  startCopy(name: string): TestProcess;
  /** Which processes ended although nobody told them to, once for each time. */
  readonly crashes: readonly string[];
}

/** A running system whose wires can be cut. */
export interface CuttableStack extends TestStack {
  /** The wires between its processes and the services; the test's own connections do not go by them. */
  readonly wires: { readonly database: CutProxy; readonly broker: CutProxy };
}

/** As {@linkcode startStack}, supervised, with a proxy before the database and one before the broker. */
export async function startCuttableStack(
  env: Record<string, string> = {},
  options: Omit<StackOptions, "via" | "revive"> = {},
): Promise<CuttableStack> {
  await using resources = new AsyncDisposableStack();
  let wires: CuttableStack["wires"] | undefined;
  const via = (urls: ServiceUrls): ServiceUrls => {
    wires = {
      database: resources.use(startCutProxy(urls.database, 5432)),
      broker: resources.use(startCutProxy(urls.broker, 5672)),
    };
    return { database: wires.database.url, broker: wires.broker.url };
  };
  const stack = await startStack(env, { ...options, via, revive: true });
  resources.use(stack);
  if (!wires) throw new Error("The stack was started without its wires");
  const owned = resources.move();
  return { ...stack, wires, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** How a stack is started. */
export interface StackOptions {
  /** Puts something between the processes and the services. */
  readonly via?: (urls: ServiceUrls) => ServiceUrls;
  /** Whether a process that ends by itself is started again, as the supervisor does. */
  readonly revive?: boolean;
  /** The database, migrated, and the broker, both their caller's to dispose of; unless told, the test's own. */
  readonly services?: { readonly db: TestSchema; readonly broker: Omit<TestBroker, keyof AsyncDisposable> };
  /** A folder for what the processes write, a file for each. */
  readonly logs?: string | undefined;
  /** The names of the processes to start; all, unless told. Without the API nothing is waited for. */
  readonly processes?: readonly string[];
  /**
   * The names of those that are processes of their own; all, by default. The others run in the test's, which costs a
   * third of the processor time. Whoever is to be killed, or ends itself by a fault, has to be apart.
   */
  readonly apart?: readonly string[];
  /** Whether the workers serve their metrics; they do not, unless told. */
  readonly metrics?: boolean;
}

/** Where the services are. */
export interface ServiceUrls {
  /** The database's URL. */
  readonly database: string;
  /** The broker's URL, or those of a cluster's nodes, as in `AMQP_URL`. */
  readonly broker: string;
}

const ALL = PROCESSES.map(({ name }) => name);

/** Starts processes on a database and queues of their own, and waits until the API is ready. */
export async function startStack(
  env: Record<string, string> = {},
  options: StackOptions = {},
): Promise<TestStack> {
  const {
    via = (urls) => urls,
    revive = false,
    services,
    logs,
    processes = ALL,
    apart = ALL,
    metrics = false,
  } = options;
  await using resources = new AsyncDisposableStack();
  resources.use(await takeStackSlot());
  const db = services?.db ?? resources.use(await testSchema());
  const broker = services?.broker ?? resources.use(await testBroker());
  const port = freePort("127.0.0.1");
  const ports = metricsPorts(metrics ? 0 : null, () => freePort("127.0.0.1"));
  const url = `http://127.0.0.1:${port}`;
  const running = new Map<string, TestProcess>();
  const crashes: string[] = [];
  const urls = via({ database: db.url, broker: broker.url });
  const childEnv = childEnvironment(Deno.env.toObject(), {
    DATABASE_URL: urls.database,
    AMQP_URL: urls.broker,
    ...broker.env,
    PORT: String(port),
    METRICS_PORT: "", // one in the environment of the tests would be everybody's
    ...env,
  });
  const addresses = [
    addressOf(urls.database),
    ...brokerUrls(urls.broker).map(addressOf),
    `127.0.0.1:${port}`,
  ];

  function startCopy(name: string): TestProcess {
    const spec = specOf(name);
    const own = ports.get(spec);
    const named = { ...childEnv, ...serviceName(spec), ...(own ? { METRICS_PORT: `${own}` } : {}) };
    if (!apart.includes(name)) return startInside(spec, named);
    return startTestProcess(spec, {
      addresses: own ? [...addresses, `127.0.0.1:${own}`] : addresses,
      env: named,
      logs,
    });
  }

  function start(name: string): void {
    const child = startCopy(name);
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
    broker,
    processes,
    metricsUrls: new Map([...ports].map(([{ name }, own]) => [name, `http://127.0.0.1:${own}`])),
    pids: () => new Map([...running].map(([name, { pid }]) => [name, pid])),
    start,
    kill: async (name) => void await end(name, "SIGKILL"),
    stop: (name) => end(name, "SIGTERM"),
    startCopy,
    crashes,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
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
