/**
 * The database and the broker of a chaos run, and how each is taken down: by a crash where it is ours, by all that a
 * client can do to it where it is a real one that others use too.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Topology } from "../../shared/topology.ts";
import { migrate } from "../../shared/sql/migrate.ts";
import { childEnvironment } from "../../workers/dev/child.ts";
import { freePort } from "../../workers/dev/services.ts";
import { BROKER, BROKER_PORT_VARIABLE } from "../../workers/dev/processes.ts";
import type { CutProxy } from "../support/cut_proxy.ts";
import { eventually } from "../support/eventually.ts";
import { deleteTopology, testTopology } from "../support/test_broker.ts";
import { wipeBroker } from "../support/wipe_broker.ts";
import { databaseOn, startTestServer } from "../support/test_postgres.ts";
import { startTestProcess } from "../support/test_process.ts";
import { schemaAt, type TestSchema } from "../support/test_schema.ts";

/** A database that can be taken down. Disposing of it drops it. */
export interface ChaosDatabase extends AsyncDisposable {
  /** The run's own connections, which go by no proxy. */
  readonly db: TestSchema;
  /** What a restart is here, in words. */
  readonly restartIs: string;
  /** Takes it down and brings it back; `lastsMs` counts only where it cannot be crashed. */
  restart(wire: CutProxy, lastsMs: number): Promise<void>;
}

/** A broker that can be wiped. Disposing of it deletes what is the run's. */
export interface ChaosBroker extends AsyncDisposable {
  /** Where it is, as an AMQP URL. */
  readonly url: string;
  /** The names of the run's exchange and queues. */
  readonly topology: Topology;
  /** The same names as variables. */
  readonly env: Record<string, string>;
  /** The id of the embedded broker's process as it runs now; null for a real broker. */
  pid(): number | null;
  /** What a wipe is here, in words. */
  readonly wipeIs: string;
  /** Deletes the run's queues and all that is in them. */
  wipe(): Promise<void>;
}

/** With fsync off a crash of the server alone loses nothing that was written, and a commit waits until it is. */
const CRASH_SAFE = { synchronous_commit: "on" };

/** Starts the embedded Postgres, or makes a database on the server of `DATABASE_URL`; migrated. */
export async function startChaosDatabase(): Promise<ChaosDatabase> {
  await using resources = new AsyncDisposableStack();
  const server = await startTestServer(CRASH_SAFE);
  resources.defer(() => server.stop());
  const { url } = resources.use(await databaseOn(server));
  await migrate(url, { roles: true });
  const db = resources.use(schemaAt(url));
  const owned = resources.move();
  const { crash } = server;
  return {
    db,
    restartIs: crash
      ? "the server is stopped in immediate mode, as by a crash, and started again on the same data"
      : "new connections are refused and those that are open are terminated: the server is not the run's own",
    restart: crash ? () => crash() : (wire, lastsMs) => refuse(db, wire, lastsMs),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const TERMINATE_EVERY_MS = 50;

/** For a while nobody gets in, and who is in is thrown out by the server. */
async function refuse({ sql }: TestSchema, wire: CutProxy, lastsMs: number): Promise<void> {
  const terminate = () =>
    sql`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()`.catch(() => {});
  await terminate(); // the first ones hear it from the server, not from the wire
  wire.cut();
  try {
    for (const until = performance.now() + lastsMs; performance.now() < until;) {
      await delay(TERMINATE_EVERY_MS);
      await terminate();
    }
  } finally {
    wire.restore();
  }
}

/** Starts the embedded broker as a process of its own, or takes the broker of `AMQP_URL`. */
export async function startChaosBroker(logs: string | undefined): Promise<ChaosBroker> {
  const url = Deno.env.get("AMQP_URL") || undefined; // an empty one counts as unset
  return url ? realBroker(url) : await startBrokerProcess(logs);
}

function realBroker(url: string): ChaosBroker {
  const names = testTopology();
  return {
    url,
    ...names,
    pid: () => null,
    wipeIs: "the run's exchange and queues are deleted: the broker is not the run's own",
    wipe: () => wipeBroker(url, names.topology),
    [Symbol.asyncDispose]: () => deleteTopology(url, names.topology),
  };
}

async function startBrokerProcess(logs: string | undefined): Promise<ChaosBroker> {
  const port = freePort("127.0.0.1");
  const env = childEnvironment(Deno.env.toObject(), { [BROKER_PORT_VARIABLE]: String(port) });
  const start = () => startTestProcess(BROKER, { addresses: [`127.0.0.1:${port}`], env, logs });
  const listening = () =>
    eventually("the embedded broker to listen", async () => {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return true;
    });
  let broker = start();
  await listening();
  return {
    url: `amqp://guest:guest@127.0.0.1:${port}`,
    ...testTopology(),
    pid: () => broker.pid,
    wipeIs: "SIGKILL of the broker's process, which keeps everything in memory, and a new one",
    async wipe() {
      await broker.end("SIGKILL");
      broker = start();
      await listening();
    },
    [Symbol.asyncDispose]: async () => void await broker.end("SIGTERM"),
  };
}
