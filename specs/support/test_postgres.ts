/**
 * Fresh databases for tests, on a real Postgres: the server that `DATABASE_URL` names, or an embedded one.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import postgres from "postgres";
import { removePostgres, startPostgres } from "../../shared/embedded/postgres.ts";
import { parsePostmasterPid } from "../../shared/embedded/postgres_process.ts";

/** An empty database of one test. Disposing of it drops it, whoever is still connected. */
export interface TestDatabase extends AsyncDisposable {
  /** Names this database alone; the user may create roles and databases. */
  url: string;
}

/** A Postgres server for tests. */
export interface TestServer {
  url: string;
  /** Stops it and deletes its data, if it is ours. */
  stop(): Promise<void>;
  /**
   * Crashes it (immediate mode: no checkpoint, no goodbye) and starts it again on the same data and port; resolves once
   * it has recovered. Null for the server of `DATABASE_URL`, which is not ours to stop.
   */
  crash: (() => Promise<void>) | null;
}

/** An initialised database, copied for each server. Kept between runs, one for each user who runs tests. */
const template = fileURLToPath(new URL(`../../.orderflow/test_template_${Deno.uid()}`, import.meta.url));

/** Names the server that `run_tests.ts` has started for all files of a run; a file that is run by itself starts its own. */
export const RUN_SERVER_VARIABLE = "ORDERFLOW_TEST_POSTGRES";

/** The server that this test file shares between its tests, once its `beforeAll` hook has run. */
let shared: TestServer | undefined;

/**
 * Makes a database, a copy of the one named `source`, by default an empty one: `await using db = await testDatabase()`
 * inside a test. It starts a server for it (0.3 s), unless the file called {@linkcode shareTestServer} (0.05 s).
 *
 * Errors: when no server can be started or reached.
 */
export async function testDatabase(source?: string): Promise<TestDatabase> {
  await using resources = new AsyncDisposableStack();
  const server = shared ?? await startTestServer();
  if (server !== shared) resources.defer(() => server.stop());
  const { url } = resources.use(await databaseOn(server, source));
  const owned = resources.move();
  return { url, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** As {@linkcode testDatabase}, on a server that the caller has started. */
export async function databaseOn(server: TestServer, source = "template0"): Promise<TestDatabase> {
  const name = `orderflow_test_${crypto.randomUUID().replaceAll("-", "")}`;
  await withConnection(
    server.url,
    (sql) => sql`create database ${sql(name)} template ${sql(source)} strategy file_copy`,
  );
  const url = new URL(server.url);
  url.pathname = name;
  return {
    url: url.href,
    [Symbol.asyncDispose]: async () => {
      await withConnection(server.url, (sql) => sql`drop database ${sql(name)} with (force)`);
    },
  };
}

/**
 * Call at the top of a test file with several tests: one server runs from before its first test until after
 * its last one. It starts and stops in hooks, so the sanitizers do not see it as a leak of any test.
 */
export function shareTestServer(): void {
  Deno.test.beforeAll(async () => {
    shared = await startTestServer();
  });
  Deno.test.afterAll(async () => {
    const server = shared;
    shared = undefined;
    await server?.stop();
  });
}

/**
 * The server of `DATABASE_URL`, that of the run, or an embedded one on a temporary folder, which goes when it is stopped.
 * `settings` ask for one of the caller's own, and are over those of tests, with which a crash loses the last commits
 * unless it is to be `durable`.
 */
export async function startTestServer(
  settings?: Record<string, string>,
  durable = false,
): Promise<TestServer> {
  const url = Deno.env.get("DATABASE_URL") || (settings ? undefined : Deno.env.get(RUN_SERVER_VARIABLE));
  if (url) return { url, stop: () => Promise.resolve(), crash: null };
  const dataDir = await Deno.makeTempDir({ prefix: "orderflow_test_" });
  await Deno.chmod(dataDir, 0o711); // root's server runs under another account, which must pass through
  await copyTemplate(dataDir);
  const start = (port: number) => startPostgres({ dataDir, port, durable, settings: settings ?? {} });
  let server = await start(0);
  return {
    url: server.url,
    async stop() {
      await server.stop();
      await removePostgres(dataDir);
    },
    async crash() {
      const port = Number(new URL(server.url).port);
      const { pid } = parsePostmasterPid(
        await Deno.readTextFile(join(dataDir, "server/data/postmaster.pid")),
      );
      if (pid === undefined) throw new Error(`Cannot crash the Postgres in ${dataDir}: it has no process id`);
      Deno.kill(pid, "SIGQUIT");
      await server.stop();
      server = await start(port);
    },
  };
}

/** Fills the folder with an initialised database: a tenth of the time that initialising one takes. */
async function copyTemplate(dataDir: string): Promise<void> {
  await makeTemplate();
  const parts = [join(template, "password"), join(template, "server")];
  const cp = new Deno.Command("cp", { args: ["-R", "-L", "-p", ...parts, dataDir] }); // keeps owners and modes
  const { success, stderr } = await cp.output();
  if (success) return;
  throw new Error(`cannot copy the database in ${template}; delete it: ${new TextDecoder().decode(stderr)}`);
}

/** Makes the template unless it is there; of several processes doing so at once, one wins. */
async function makeTemplate(): Promise<void> {
  const isThere = () => Deno.stat(join(template, "server/data/PG_VERSION")).then(() => true, () => false);
  if (await isThere()) return;
  await Deno.mkdir(dirname(template), { recursive: true });
  const unfinished = await Deno.makeTempDir({ dir: dirname(template), prefix: "test_template_" });
  try {
    await Deno.chmod(unfinished, 0o711);
    await (await startPostgres({ dataDir: unfinished })).stop();
    await Deno.rename(unfinished, template);
  } catch (error) {
    await removePostgres(unfinished);
    if (!(await isThere())) throw error;
  }
}

async function withConnection(
  url: string,
  run: (sql: postgres.Sql) => Promise<unknown>,
): Promise<void> {
  const sql = postgres(url, { max: 1, connect_timeout: 10, onnotice: () => {} });
  try {
    await run(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** Connections of one whole system with the test's own; the most that was seen is 40. */
const STACK_CONNECTIONS = 40;
/** Left to tests that run no system, and to whoever else uses the server. */
const OTHER_CONNECTIONS = 20;
/** Any number that no other lock of this project has. */
const LOCK_CLASS = 7_203_115;
/** Every test that is ahead has long ended by then. */
const SLOT_WAIT_MS = 900_000;
const SLOT_LOOK_MS = 200;

/**
 * Waits until one more whole system may run on the server of `DATABASE_URL`: no more than it has connections for. Without
 * that variable everybody has a server of their own and nobody waits. A test has one system at a time: with a slot in hand
 * nobody waits for a second one.
 *
 * Errors: when the server cannot be asked, or no slot comes free within 15 minutes.
 */
export async function takeStackSlot(): Promise<AsyncDisposable> {
  const url = Deno.env.get("DATABASE_URL");
  return url ? await lockSlot(url) : { [Symbol.asyncDispose]: () => Promise.resolve() };
}

/** Locks a slot for as long as a connection is open: a test that is killed gives it back. */
async function lockSlot(url: string): Promise<AsyncDisposable> {
  const sql = postgres(url, { max: 1, connect_timeout: 10, max_lifetime: null, onnotice: () => {} });
  const close = () => sql.end({ timeout: 2 });
  try {
    const [row] = await sql<{ count: number }[]>`select current_setting('max_connections')::int as count`;
    const slots = Math.max(Math.floor(((row?.count ?? 0) - OTHER_CONNECTIONS) / STACK_CONNECTIONS), 1);
    for (const until = performance.now() + SLOT_WAIT_MS; performance.now() < until;) {
      for (let slot = 0; slot < slots; slot++) {
        const [lock] = await sql<{ ours: boolean }[]>`
          select pg_try_advisory_lock(${LOCK_CLASS}::int, ${slot}::int) as ours`;
        if (lock?.ours) return { [Symbol.asyncDispose]: close };
      }
      await delay(SLOT_LOOK_MS);
    }
    throw new Error(`None of ${slots} slots for a whole system came free within ${SLOT_WAIT_MS} ms`);
  } catch (error) {
    await close();
    throw error;
  }
}
