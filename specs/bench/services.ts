// What a benchmark runs on: services, the whole system on an empty place there, and load on it.

import { startChaosBroker } from "../chaos/system.ts";
import type { LoadReport } from "../load_main.ts";
import { deleteTopology, testTopology } from "../support/test_broker.ts";
import { ownSchema, startTestServer } from "../support/test_schema.ts";
import type { TestStack } from "../support/test_stack.ts";
import { runScript } from "./bench.ts";

/** Services, and how to get an empty place on them. */
export type BenchServices = Awaited<ReturnType<typeof startBenchServices>>;

/**
 * Starts what `DATABASE_URL` and `AMQP_URL` do not name, as `deno task dev` does: a commit of the embedded Postgres is on
 * disk, and the embedded broker is a process of its own.
 *
 * Errors: what does not start or cannot be reached.
 */
export async function startBenchServices() {
  await using resources = new AsyncDisposableStack();
  const server = await startTestServer({}, true);
  resources.defer(() => server.stop());
  const { url } = resources.use(await startChaosBroker());
  const owned = resources.move();
  return {
    isDatabaseEmbedded: server.crash !== null,
    isBrokerEmbedded: !Deno.env.get("AMQP_URL"),
    /** Makes a database with the project's schema and no rows; disposing of it drops it. */
    database: () => ownSchema(server),
    /** Makes names for an exchange and its queues; disposing of them deletes what has those names. */
    broker() {
      const names = testTopology();
      return { url, ...names, [Symbol.asyncDispose]: () => deleteTopology(url, names.topology) };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Connections with one request under way on each; `rate` in orders per second, without it as many as go. */
interface Load {
  readonly orders: number;
  readonly connections: number;
  readonly rate?: number;
}

/**
 * Creates orders at the API of `url` with the load generator, a process of its own; with a `database` it waits until all of
 * them have ended.
 *
 * Errors: when an order is not created, or does not end.
 */
export function putLoad(url: string, load: Load & { readonly database?: string }): Promise<LoadReport> {
  const flags = Object.entries({ url, ...load }).map(([name, value]) => `--${name}=${value}`);
  const more = load.database === undefined ? ["--no-wait"] : [];
  return runScript("specs/load_main.ts", [...flags, ...more, "--json"]);
}

/** As {@linkcode putLoad}, to the orders' end. Errors: when one ends otherwise than completed, too. */
export async function completeLoad({ url, db }: Pick<TestStack, "url" | "db">, load: Load) {
  const { end, ...report } = await putLoad(url, { ...load, database: db.url });
  if (end?.statuses["COMPLETED"] === load.orders) return { ...report, end };
  const found = JSON.stringify(end?.statuses ?? null);
  throw new Error(`${load.orders} orders were to be completed, but they ended as ${found}`);
}
