// A real Postgres server without Docker or an installed server: programs out of an npm package, data in a
// folder that the caller names. Used by the development supervisor and the tests while `DATABASE_URL` is unset.

import { join, resolve } from "node:path";
import postgres from "postgres";
import { type Cluster, databaseName, openCluster, postgresBinaries } from "./postgres_files.ts";
import {
  absent,
  eventually,
  readIfThere,
  runScript,
  serverAccount,
  startServer,
  stopLeftover,
} from "./postgres_process.ts";

export interface PostgresOptions {
  /** Folder for the data, made if absent. Data is kept between runs. */
  dataDir: string;
  /** Port on 127.0.0.1. 0 or absent: the one of the last run if it is free, else any free one. */
  port?: number;
  /** Told about what takes long: initialising, copying, stopping an old server. */
  onProgress?: (message: string) => void;
  /** Whether a commit survives a crash of server and machine; default true. False is faster, for tests. */
  durable?: boolean;
  /** Server settings, over the defaults: PostgreSQL documentation, chapter 19. */
  settings?: Record<string, string>;
}

export interface EmbeddedPostgres {
  /** `postgres://user:password@127.0.0.1:port/database`; the user is the superuser. */
  url: string;
  /** Stops the server and resolves once it is gone. May be called any number of times. */
  stop(): Promise<void>;
  /** Resolves when the server has ended, whether it was stopped or not. */
  ended: Promise<void>;
}

const defaultSettings = {
  listen_addresses: "127.0.0.1", // this machine only
  unix_socket_directories: "", // a socket's path has a length limit, and TCP is enough
  max_connections: "200", // a pool each for the API, the relay and the consumers, several copies of them
  shared_buffers: "128MB",
  max_wal_size: "2GB", // a load test should not force a checkpoint every few seconds
  timezone: "UTC",
  log_timezone: "UTC",
  log_min_messages: "log", // start, stop, crashes; statements that fail are reported by who sent them
  log_checkpoints: "off",
};

/** Trades safety for speed: a killed server loses its last commits, a crash of the machine all data. */
const fastSettings = { fsync: "off", synchronous_commit: "off", full_page_writes: "off" };

const maxStarts = 10;
const lockWaitMs = 2_000;

/**
 * Starts Postgres 18 on `dataDir` and waits until it takes connections: about 1 s the first time, 0.1 s later.
 *
 * One process at a time may use a folder; a second start fails. If this process ends, even by SIGKILL, the
 * server shuts down by itself. If one is left over all the same, the next start stops it first.
 *
 * @throws Error if the folder is in use, the port is taken, or the server does not start; the message says
 * what to do and holds the last lines of the server's log
 */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const dataDir = resolve(options.dataDir);
  try {
    await using started = new AsyncDisposableStack();
    const locked = await lockFolder(dataDir);
    if ("holder" in locked) {
      throw new Error(
        `process ${locked.holder} runs the embedded Postgres in ${dataDir} already: stop that one first ` +
          "(it may be a `deno task dev` in another terminal), or use another data folder",
      );
    }
    started.defer(() => locked.lock.close());
    const { url, server } = await startLocked(dataDir, options);
    started.defer(server.stop);
    await createDatabase(dataDir, url);
    const running = started.move();
    let stopped: Promise<void> | undefined;
    return { url, ended: server.ended, stop: () => stopped ??= running.disposeAsync() };
  } catch (error) {
    throw await withDiskAdvice(error, dataDir);
  }
}

async function startLocked(dataDir: string, options: PostgresOptions) {
  const { durable = true, onProgress: report = () => {} } = options;
  const account = await serverAccount();
  const binaries = await postgresBinaries(account, report);
  const cluster = await openCluster(dataDir, account, binaries, durable, report);
  await stopLeftover(cluster.data, report);
  const settings = { ...defaultSettings, ...(durable ? {} : fastSettings), ...options.settings };
  const server = await startOnPort(dataDir, cluster, options.port ?? 0, settings);
  const url = `postgres://${databaseName}:${cluster.password}@127.0.0.1:${server.port}/${databaseName}`;
  return { url, server };
}

/** Below this, the disk is the first to be suspected: a new cluster takes 40 MB, and its log grows by 16 MB at a time. */
const suspectMb = 64;

/** The error, with advice where the disk is full: that can show as anything, even as a server that logs nothing. */
export async function withDiskAdvice(error: unknown, dataDir: string): Promise<unknown> {
  const message = error instanceof Error ? error.message : String(error);
  const script = 'df -Pk "$1" 2>/dev/null || df -Pk "$(dirname "$1")"';
  const { output } = await runScript(undefined, script, [dataDir]);
  const freeMb = Math.floor(Number(output.trimEnd().split("\n").at(-1)?.split(/\s+/)[3]) / 1024);
  if (!(freeMb < suspectMb) && !/No space left on device|Disk quota exceeded/.test(message)) return error;
  return new Error(
    `the disk that holds ${dataDir} is full (${freeMb} MB left): free some space, or put the data on another one. ` +
      `What failed for it: ${message}`,
    { cause: error },
  );
}

/**
 * Stops the Postgres that runs on `dataDir`, whoever started it, and deletes the data, wherever it lies.
 * A folder that does not exist is fine.
 *
 * @throws Error if the server does not stop, or the data belongs to another user
 */
export async function removePostgres(dataDir: string): Promise<void> {
  const server = await Deno.realPath(join(dataDir, "server")).catch(absent);
  if (server !== undefined) {
    await stopLeftover(join(server, "data"), () => {});
    await Deno.remove(server, { recursive: true });
  }
  await Deno.remove(dataDir, { recursive: true }).catch(absent);
}

/**
 * Locks a folder for this process, making it where it is missing; or tells the id of the process that holds it. The system
 * drops the lock when the process ends, however it does.
 */
export async function lockFolder(folder: string): Promise<{ lock: Deno.FsFile } | { holder: string }> {
  if (!(await Deno.stat(folder).catch(absent))) {
    await Deno.mkdir(folder, { recursive: true });
    await Deno.chmod(folder, 0o755); // the server's account passes through it; what is private is inside
  }
  const file = await Deno.open(join(folder, "lock"), { read: true, write: true, create: true });
  // A process that was killed just now may take a moment to let go.
  if (!(await eventually(() => file.tryLock(true), lockWaitMs))) {
    return { holder: (await new Response(file.readable).text()).trim() };
  }
  await file.truncate();
  await file.write(new TextEncoder().encode(`${Deno.pid}\n`));
  return { lock: file };
}

/** On another port if the chosen one is taken in between; bounded. */
async function startOnPort(
  dataDir: string,
  cluster: Cluster,
  wanted: number,
  settings: Record<string, string>,
) {
  const memory = join(dataDir, "port");
  let preferred = Number(await readIfThere(memory)) || 0;
  for (let start = 1;; start++) {
    const port = wanted || freePort(preferred);
    const result = await startServer(cluster, port, settings);
    if (result.server) {
      await Deno.writeTextFile(memory, `${port}`);
      return { ...result.server, port };
    }
    const { failure, log } = result;
    const passing = failure === "still stopping" || (failure === "port taken" && !wanted);
    if (!passing || start === maxStarts) throw startError(dataDir, port, failure, log);
    if (failure === "port taken") preferred = 0;
    else await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function startError(dataDir: string, port: number, reason: string, log: string): Error {
  const action = reason === "port taken"
    ? "end the program that uses the port, or choose another port"
    : "repair what the log says, delete the data with `deno task reset`, or set DATABASE_URL";
  const lines = log.trimEnd().split("\n").slice(-20).join("\n");
  return new Error(
    `cannot start Postgres on port ${port} in ${dataDir} (${reason}): ${action}. Last lines of its log:\n${lines}`,
  );
}

/** A port on 127.0.0.1 that is free now: `preferred` if that one is, and not 0. */
function freePort(preferred: number): number {
  try {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: preferred });
    listener.close();
    return listener.addr.port;
  } catch (error) {
    if (preferred && error instanceof Deno.errors.AddrInUse) return freePort(0);
    throw error;
  }
}

async function createDatabase(dataDir: string, url: string): Promise<void> {
  const sql = postgres(url, { database: "postgres", max: 1, connect_timeout: 10, onnotice: () => {} });
  try {
    const found = await sql`select from pg_database where datname = ${databaseName}`;
    if (found.count === 0) await sql`create database ${sql(databaseName)}`;
  } catch (cause) {
    throw new Error(
      `cannot log in to the embedded Postgres in ${dataDir} (${cause}): if its file "password" was ` +
        "changed, put it back, or delete the data with `deno task reset`",
      { cause },
    );
  } finally {
    await sql.end({ timeout: 5 });
  }
}
