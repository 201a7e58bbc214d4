/**
 * What a benchmark runs on: the services of `DATABASE_URL` and `AMQP_URL`, or embedded ones as `deno task dev` starts
 * them, the whole system on an empty place there, and load on it.
 *
 * @module
 */
import { startPostgres } from "../../shared/embedded/postgres.ts";
import { migrate } from "../../shared/sql/migrate.ts";
import { startChaosBroker } from "../chaos/system.ts";
import { type LoadReport, loadReportSchema } from "../load_main.ts";
import { deleteTopology, type TestBroker, testTopology } from "../support/test_broker.ts";
import { databaseOn } from "../support/test_postgres.ts";
import { schemaAt, type TestSchema } from "../support/test_schema.ts";
import { type StackOptions, startStack, type TestStack } from "../support/test_stack.ts";
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
 * Starts what is not given. The embedded Postgres is as durable as in `deno task dev`: a commit is on disk. The embedded
 * broker is a process of its own.
 *
 * Errors: what does not start or cannot be reached.
 */
export async function startBenchServices(): Promise<BenchServices> {
  await using resources = new AsyncDisposableStack();
  const givenDatabase = Deno.env.get("DATABASE_URL") || undefined; // an empty one counts as unset
  const databaseUrl = givenDatabase ?? await embeddedDatabase(resources);
  const { url } = resources.use(await startChaosBroker());
  const owned = resources.move();
  return {
    isDatabaseEmbedded: givenDatabase === undefined,
    isBrokerEmbedded: !Deno.env.get("AMQP_URL"),
    database: () => freshDatabase(databaseUrl),
    broker() {
      const names = testTopology();
      return { url, ...names, [Symbol.asyncDispose]: () => deleteTopology(url, names.topology) };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function embeddedDatabase(resources: AsyncDisposableStack): Promise<string> {
  const dataDir = await Deno.makeTempDir({ prefix: "orderflow_bench_" });
  resources.defer(() => Deno.remove(dataDir, { recursive: true }));
  await Deno.chmod(dataDir, 0o711); // root's server runs under another account, which must pass through
  const server = await startPostgres({ dataDir });
  resources.defer(() => server.stop());
  return server.url;
}

async function freshDatabase(url: string): Promise<TestSchema> {
  await using resources = new AsyncDisposableStack();
  const database = resources.use(await databaseOn({ url, stop: () => Promise.resolve(), crash: null }));
  await migrate(database.url, { roles: true });
  const schema = resources.use(schemaAt(database.url));
  const owned = resources.move();
  return { ...schema, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Starts all processes with default settings, on a database and queues that are deleted with the stack. */
export async function startFlowStack(
  services: BenchServices,
  options: Pick<StackOptions, "via"> = {},
): Promise<TestStack> {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(await services.database());
  const broker = resources.use(services.broker());
  const stack = resources.use(await startStack({}, { ...options, services: { db, broker } }));
  const owned = resources.move();
  return { ...stack, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

export interface FlowLoad {
  readonly orders: number;
  /** Connections, with one request under way on each. */
  readonly connections: number;
  /** Orders per second; by default as many as go. */
  readonly rate?: number;
}

/** What came of load whose orders have all ended. */
export type EndedLoad = LoadReport & { readonly end: NonNullable<LoadReport["end"]> };

/**
 * Creates orders with the load generator, a process of its own, and waits until all of them have ended.
 *
 * Errors: when an order is not created, does not end, or ends otherwise than completed.
 */
export async function putLoad(stack: Pick<TestStack, "url" | "db">, load: FlowLoad): Promise<EndedLoad> {
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

function runLoad(
  values: FlowLoad & { readonly url: string; readonly database?: string },
  ...more: string[]
): Promise<LoadReport> {
  const flags = Object.entries(values).map(([name, value]) => `--${name}=${value}`);
  return runScript("specs/load_main.ts", [...flags, ...more, "--json"], loadReportSchema);
}
