/**
 * What a benchmark runs on: services, the whole system on an empty place there, load on it, and whose processor time was
 * used.
 *
 * @module
 */
import { startChaosBroker } from "../chaos/system.ts";
import { type LoadReport, loadReportSchema } from "../load_main.ts";
import { deleteTopology, type TestBroker, testTopology } from "../support/test_broker.ts";
import { ownSchema, startTestServer, type TestSchema } from "../support/test_schema.ts";
import { startStack, type TestStack } from "../support/test_stack.ts";
import { runScript } from "./bench.ts";

/** Services, and how to get an empty place on them. */
export interface BenchServices extends AsyncDisposable {
  readonly isDatabaseEmbedded: boolean;
  readonly isBrokerEmbedded: boolean;
  /** Makes a database with the project's schema and no rows; disposing of it drops it. */
  database(): Promise<TestSchema>;
  /** Makes names for an exchange and its queues; disposing of them deletes what has those names. */
  broker(): TestBroker;
}

/**
 * Starts what `DATABASE_URL` and `AMQP_URL` do not name, as `deno task dev` does: a commit of the embedded Postgres is on
 * disk, and the embedded broker is a process of its own.
 *
 * Errors: what does not start or cannot be reached.
 */
export async function startBenchServices(): Promise<BenchServices> {
  await using resources = new AsyncDisposableStack();
  const server = await startTestServer({}, true);
  resources.defer(() => server.stop());
  const { url } = resources.use(await startChaosBroker());
  const owned = resources.move();
  return {
    isDatabaseEmbedded: server.crash !== null,
    isBrokerEmbedded: !Deno.env.get("AMQP_URL"),
    database: () => ownSchema(server),
    broker() {
      const names = testTopology();
      return { url, ...names, [Symbol.asyncDispose]: () => deleteTopology(url, names.topology) };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Starts all processes with default settings, on a database and queues that are deleted with the stack. */
export async function startFlowStack(services: BenchServices): Promise<TestStack> {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(await services.database());
  const broker = resources.use(services.broker());
  const stack = resources.use(await startStack({}, { services: { db, broker } }));
  const owned = resources.move();
  return { ...stack, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Connections with one request under way on each; `rate` in orders per second, without it as many as go. */
interface FlowLoad {
  readonly orders: number;
  readonly connections: number;
  readonly rate?: number;
}

/**
 * Creates orders with the load generator, a process of its own, and waits until all of them have ended.
 *
 * Errors: when an order is not created, does not end, or ends otherwise than completed.
 */
export async function putLoad(stack: Pick<TestStack, "url" | "db">, load: FlowLoad) {
  const { end, ...report } = await runLoad({ url: stack.url, database: stack.db.url, ...load });
  if (end?.statuses["COMPLETED"] !== load.orders) {
    const found = JSON.stringify(end?.statuses ?? null);
    throw new Error(`${load.orders} orders were to be completed, but they ended as ${found}`);
  }
  return { ...report, end };
}

/**
 * Creates orders at the API of `url` as {@linkcode putLoad} does, without looking what becomes of them.
 *
 * Errors: when an order is not created.
 */
export function putLoadUnseen(url: string, load: FlowLoad): Promise<LoadReport> {
  return runLoad({ url, ...load }, "--no-wait");
}

function runLoad(values: object, ...more: string[]): Promise<LoadReport> {
  const flags = Object.entries(values).map(([name, value]) => `--${name}=${value}`);
  return runScript("specs/load_main.ts", [...flags, ...more, "--json"], loadReportSchema);
}

/**
 * Starts a meter of the whole machine; whoever calls it is told the processor time in seconds since then, nothing where
 * there is no /proc.
 * The processes of `ours` go by their names; the others by `postgres`, `broker`, `benchmark` (whoever reads the meter) and
 * `others`. Those that have ended meanwhile are left out.
 */
export async function startMachineMeter(ours: ReadonlyMap<string, number>) {
  const before = await readMachine();
  return async () => usedBetween(before, await readMachine(), ours, Deno.pid);
}

/**
 * `/proc/<pid>/stat` of all processes. Through a program, because Deno itself may read /proc only with every permission
 * there is.
 */
async function readMachine(): Promise<string> {
  if (Deno.build.os !== "linux") return "";
  const args = ["-c", "cat /proc/[0-9]*/stat 2>/dev/null"]; // some end between the listing and the reading
  const { stdout } = await new Deno.Command("sh", { args, stdout: "piped", stderr: "null" }).output();
  return new TextDecoder().decode(stdout);
}

/** Linux counts processor time in hundredths of a second, whatever the kernel's own clock (USER_HZ, `man 5 proc`). */
const TICKS_PER_SECOND = 100;

/** Of each process its id, its program's name, which may contain anything, its parent, and the seconds of its threads. */
function parseStats(stats: string) {
  const lines = stats.matchAll(/^(\d+) \((.*)\) \S (\d+) (?:\S+ ){9}(\d+) (\d+) /gm);
  return [...lines].map(([, pid, program = "", parent, user, system]) => {
    const cpuSeconds = (Number(user) + Number(system)) / TICKS_PER_SECOND;
    return { pid: Number(pid), program, parent: Number(parent), cpuSeconds };
  });
}

/** The services, by the names of their programs. */
const SERVICES = new Map([["postgres", "postgres"], ["beam.smp", "broker"]]);

/** Processor time used between two looks at the machine; `self` is the process that looks. Pure. */
export function usedBetween(before: string, after: string, ours: ReadonlyMap<string, number>, self: number) {
  const names = new Map([...ours].map(([name, pid]) => [pid, name]));
  const used = new Map<string, number>([...ours.keys()].map((name) => [name, 0]));
  const earlier = new Map(parseStats(before).map(({ pid, cpuSeconds }) => [pid, cpuSeconds]));
  for (const { pid, program, parent, cpuSeconds } of parseStats(after)) {
    // Besides the processes of ours, the embedded broker is the only lasting child of a benchmark.
    const isBroker = parent === self && program === "deno";
    const other = pid === self ? "benchmark" : isBroker ? "broker" : SERVICES.get(program) ?? "others";
    const name = names.get(pid) ?? other;
    used.set(name, (used.get(name) ?? 0) + cpuSeconds - (earlier.get(pid) ?? 0));
  }
  return used;
}
