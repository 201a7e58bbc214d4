/**
 * The whole system as real processes, each under its own permission set, for one test.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import type { Topology } from "../../shared/broker/topology.ts";
import { within } from "../../shared/stop.ts";
import { addressOf, childEnvironment, denoArguments } from "../../workers/dev/child_command.ts";
import { PROCESSES, type ProcessSpec } from "../../workers/dev/processes.ts";
import { type CutProxy, startCutProxy } from "./cut_proxy.ts";
import { eventually } from "./eventually.ts";
import { testBroker } from "./test_broker.ts";
import { type TestSchema, testSchema } from "./test_schema.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** How long a process may take to stop, in milliseconds, before it is killed. */
const STOP_MS = 5000;

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
  /** Sends SIGKILL to a process and resolves when it is gone. */
  kill(name: string): Promise<void>;
  /** Starts a process that is not running. */
  start(name: string): void;
  /** Stops a process as the supervisor does; resolves with its exit code. */
  stop(name: string): Promise<number>;
}

/** A running system whose wires can be cut. */
export interface CuttableStack extends TestStack {
  /** The wires between its processes and the services; the test's own connections do not go by them. */
  readonly wires: { readonly database: CutProxy; readonly broker: CutProxy };
}

/** As {@linkcode startStack}, supervised, with a proxy before the database and one before the broker. */
export async function startCuttableStack(): Promise<CuttableStack> {
  await using resources = new AsyncDisposableStack();
  let wires: CuttableStack["wires"] | undefined;
  const via = (urls: ServiceUrls): ServiceUrls => {
    wires = {
      database: resources.use(startCutProxy(urls.database, 5432)),
      broker: resources.use(startCutProxy(urls.broker, 5672)),
    };
    return { database: wires.database.url, broker: wires.broker.url };
  };
  const stack = await startStack({}, { via, revive: true });
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
}

/** Where the services are. */
export interface ServiceUrls {
  /** The database's URL. */
  readonly database: string;
  /** The broker's URL. */
  readonly broker: string;
}

/** Starts all processes on a database and queues of their own, and waits until the API is ready. */
export async function startStack(
  env: Record<string, string> = {},
  { via = (urls) => urls, revive = false }: StackOptions = {},
): Promise<TestStack> {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(await testSchema());
  const broker = resources.use(await testBroker());
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  const running = new Map<string, Deno.ChildProcess>();
  const urls = via({ database: db.url, broker: broker.url });
  const childEnv = childEnvironment(Deno.env.toObject(), {
    DATABASE_URL: urls.database,
    AMQP_URL: urls.broker,
    ...broker.env,
    PORT: String(port),
    ...env,
  });

  function start(name: string): void {
    const spec = specOf(name);
    const output = Deno.env.get("ORDERFLOW_TEST_LOGS") ? "inherit" : "null";
    const child = new Deno.Command(Deno.execPath(), {
      args: denoArguments(spec, [addressOf(urls.database), addressOf(urls.broker), `127.0.0.1:${port}`]),
      cwd: root,
      clearEnv: true,
      env: childEnv,
      stdin: "piped",
      stdout: output,
      stderr: output,
    }).spawn();
    running.set(name, child);
    if (revive) {
      child.status.then(async () => {
        if (running.get(name) !== child) return; // it was told to
        start(name);
        await child.stdin.close().catch(() => {});
      });
    }
  }

  async function end(name: string, signal: Deno.Signal): Promise<number> {
    const child = running.get(name);
    if (!child) throw new Error(`${name} is not running`);
    running.delete(name);
    send(child, signal);
    await within(STOP_MS, child.status);
    send(child, "SIGKILL");
    const { code } = await child.status;
    await child.stdin.close().catch(() => {});
    return code;
  }

  resources.defer(async () =>
    void await Promise.all([...running.keys()].map((name) => end(name, "SIGTERM")))
  );
  for (const { name } of PROCESSES) start(name);
  await eventually("the API to be ready", async () => {
    const response = await fetch(`${url}/readyz`);
    await response.body?.cancel();
    return response.ok;
  }, 30_000);
  const owned = resources.move();
  return {
    url,
    db,
    broker,
    processes: PROCESSES.map(({ name }) => name),
    start,
    kill: async (name) => void await end(name, "SIGKILL"),
    stop: (name) => end(name, "SIGTERM"),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Sends a signal to a process, which may have ended by itself. */
function send(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    // There is nobody left to signal.
  }
}

function specOf(name: string): ProcessSpec {
  const spec = PROCESSES.find((spec) => spec.name === name);
  if (!spec) throw new Error(`There is no process ${name}`);
  return spec;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
