/**
 * The services that a benchmark runs on: those of `DATABASE_URL` and `AMQP_URL`, or embedded ones as `deno task dev`
 * starts them.
 *
 * @module
 */
import { migrate } from "../../shared/sql/migrate.ts";
import { startPostgres } from "../../shared/embedded/postgres.ts";
import { startChaosBroker } from "../chaos/services.ts";
import { deleteTopology, type TestBroker, testTopology } from "../support/test_broker.ts";
import { databaseOn } from "../support/test_postgres.ts";
import { schemaAt, type TestSchema } from "../support/test_schema.ts";

/** Services, and how to get an empty place on them. */
export interface BenchServices extends AsyncDisposable {
  /** Whether the database is an embedded one. */
  readonly isDatabaseEmbedded: boolean;
  /** Whether the broker is an embedded one. */
  readonly isBrokerEmbedded: boolean;
  /** The id of the embedded broker's process; null where the broker is a real one. */
  readonly brokerPid: number | null;
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
  const { url, pid } = resources.use(await startChaosBroker(undefined));
  const owned = resources.move();
  return {
    isDatabaseEmbedded: givenDatabase === undefined,
    isBrokerEmbedded: !Deno.env.get("AMQP_URL"),
    brokerPid: pid(),
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
