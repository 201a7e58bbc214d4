// The system under chaos: all processes, behind wires that can be cut, on services that can be taken down. These are
// embedded, or a RabbitMQ and a PostgreSQL of the run's own out of `SERVICES_ROOT`, which crash; or those of `DATABASE_URL`
// and `AMQP_URL`, which others use too: then all is done to them that a client can do.

import { setTimeout as delay } from "node:timers/promises";
import { connect } from "../../shared/sql/connect.ts";
import { childEnvironment } from "../../workers/dev/child.ts";
import { BROKER, BROKER_PORT_VARIABLE } from "../../workers/dev/processes.ts";
import { freePort } from "../../workers/dev/services.ts";
import { startPostgresServers } from "../cluster/postgres_servers.ts";
import { listening, SERVICES_ROOT } from "../cluster/programs.ts";
import { startRabbitCluster } from "../cluster/rabbitmq_cluster.ts";
import type { CutProxy } from "../support/cut_proxy.ts";
import { eventually } from "../support/eventually.ts";
import { deleteTopology, testTopology, wipeBroker } from "../support/test_broker.ts";
import { ownSchema, startTestServer, type TestServer } from "../support/test_schema.ts";
import { startCuttableStack, startTestProcess } from "../support/test_stack.ts";

/** The largest message that a consumer looks into. */
export const MAX_MESSAGE_BYTES = 262_144;

/**
 * What the processes are started with, so that a short run sees as much recovery as a long one: lost events are looked
 * for all the time, and count as lost when they are older than any fault is long. The rest is as in production.
 */
export const CHAOS_SETTINGS: Readonly<Record<string, string>> = {
  OUTBOX_RECONCILE_INTERVAL_MS: "200",
  OUTBOX_RECONCILE_AFTER_MS: "2000",
  CONSUMER_MAX_MESSAGE_BYTES: String(MAX_MESSAGE_BYTES),
};

/** A running system. Disposing of it stops all, and deletes its database and queues. */
export type ChaosSystem = Awaited<ReturnType<typeof startChaosSystem>>;

/** Starts it, and waits until the API is ready. `logs` is a folder for what the processes write. */
export async function startChaosSystem(logs: string | undefined) {
  await using resources = new AsyncDisposableStack();
  const database = resources.use(await startChaosDatabase());
  const broker = resources.use(await startChaosBroker(logs));
  const services = { db: database.db, broker };
  const stack = resources.use(await startCuttableStack({ ...CHAOS_SETTINGS }, { services, logs }));
  const owned = resources.move();
  return { stack, database, broker, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Another fault may have the server down meanwhile. */
const ALTERED_MS = 60_000;
/**
 * With fsync off a crash of the server alone loses nothing that was written, and a commit waits until it is. What it keeps
 * to recover by is soon as large as it may get: 100,000 orders write 1 GB.
 */
const CRASH_SAFE = { synchronous_commit: "on", max_wal_size: "512MB" };

/** A database that can be taken down. Disposing of it drops it. */
async function startChaosDatabase() {
  await using resources = new AsyncDisposableStack();
  const server = await startServer();
  resources.defer(() => server.stop());
  const db = resources.use(await ownSchema(server));
  const owned = resources.move();
  const { crash } = server;
  return {
    /** The run's own connections, which go by no proxy. */
    db,
    restartIs: crash
      ? "the server is stopped in immediate mode, as by a crash, and started again on the same data"
      : "open connections are terminated and new ones refused for a while: the server is not the run's own",
    /** Takes it down and brings it back; `lastsMs` counts only where it cannot be crashed. */
    async restart(wire: CutProxy, lastsMs: number): Promise<void> {
      if (crash) return await crash();
      await db.sql`
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()`.catch(() => {});
      await cutOff(wire, lastsMs);
    },
    /** Runs `alter database` on it, from another one: it may let nobody in. */
    async alter(what: string): Promise<void> {
      await eventually(`the database to ${what}`, async () => {
        const sql = connect(server.url, { name: "chaos", role: null, max: 1 });
        await sql.unsafe(`alter database ${new URL(db.url).pathname.slice(1)} ${what}`)
          .finally(() => sql.end({ timeout: 1 }));
        return true;
      }, ALTERED_MS);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function startServer(): Promise<TestServer> {
  if (!SERVICES_ROOT || Deno.env.get("DATABASE_URL")) return await startTestServer(CRASH_SAFE);
  const { url, crash, [Symbol.asyncDispose]: stop } = await startPostgresServers();
  return { url, crash, stop };
}

/** For a while nobody reaches a service: all that a client can do to one which is not the run's own. */
export async function cutOff(wire: CutProxy, lastsMs: number): Promise<void> {
  wire.cut();
  await delay(lastsMs);
  wire.restore();
}

/** A broker that can be taken down and wiped, and the run's names on it. Disposing of it deletes what is the run's. */
export async function startChaosBroker(logs?: string) {
  const { url, crash, isInMemory, stop } = await startBroker(logs);
  const names = testTopology();
  const killed = "SIGKILL of the broker's process, which keeps everything in memory, and a new one";
  const crashed = "SIGKILL of RabbitMQ, which is started again on the same data";
  const unreachable = "nobody reaches it for a while: the broker is not the run's own";
  return {
    url,
    ...names,
    /** Whether a restart loses all that is in the queues. */
    isInMemory,
    restartIs: isInMemory ? killed : crash ? crashed : unreachable,
    /** Takes it down and brings it back; `lastsMs` counts only where it cannot be crashed. */
    restart: (wire: CutProxy, lastsMs: number) => crash ? crash() : cutOff(wire, lastsMs),
    wipeIs: isInMemory ? killed : "the run's exchange and queues are deleted",
    /** Deletes the run's queues and all that is in them. */
    wipe: () => isInMemory && crash ? crash() : wipeBroker(url, names.topology),
    async [Symbol.asyncDispose]() {
      if (!crash) await deleteTopology(url, names.topology);
      await stop();
    },
  };
}

/** The broker of `AMQP_URL`, one of `SERVICES_ROOT`, or the embedded one as a process of its own. */
async function startBroker(logs: string | undefined): Promise<TestServer & { readonly isInMemory: boolean }> {
  const given = Deno.env.get("AMQP_URL"); // an empty one counts as unset
  if (given) return { url: given, crash: null, isInMemory: false, stop: () => Promise.resolve() };
  if (SERVICES_ROOT) {
    const { url, nodes: [node], [Symbol.asyncDispose]: stop } = await startRabbitCluster(["chaos@localhost"]);
    const crash = async () => {
      await node?.kill();
      await node?.start();
    };
    return { url, crash, isInMemory: false, stop };
  }
  const port = freePort("127.0.0.1");
  const env = childEnvironment(Deno.env.toObject(), { [BROKER_PORT_VARIABLE]: String(port) });
  const start = () => startTestProcess(BROKER, { env, logs });
  const isUp = () => listening("the embedded broker", port);
  let broker = start();
  await isUp();
  return {
    url: `amqp://guest:guest@127.0.0.1:${port}`,
    isInMemory: true,
    async crash() {
      await broker.end("SIGKILL");
      broker = start();
      await isUp();
    },
    stop: async () => void await broker.end("SIGTERM"),
  };
}
