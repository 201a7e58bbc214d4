// Fresh databases for tests, on a real Postgres: the server that `DATABASE_URL` names, or an embedded one.

import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import postgres from "postgres";
import { removePostgres, startPostgres } from "../../shared/embedded/postgres.ts";
import { parsePostmasterPid } from "../../shared/embedded/postgres_process.ts";
import { atomicallyOn, connect, type Sql } from "../../shared/sql/connect.ts";
import type { Inbox } from "../../shared/sql/inbox.ts";
import { type DatabaseRole, migrate } from "../../shared/sql/migrate.ts";
import { openSession, type Session } from "../../shared/sql/session.ts";

export interface TestServer {
  url: string;
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

/** A migrated database on the server of a run, to copy: a third of the time that migrating takes. */
export const MIGRATED = "orderflow_migrated";

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
      const noted = await Deno.readTextFile(join(dataDir, "server/data/postmaster.pid"));
      const { pid } = parsePostmasterPid(noted);
      if (pid === undefined) throw new Error(`Cannot crash the Postgres in ${dataDir}: it has no process id`);
      Deno.kill(pid, "SIGQUIT");
      await server.stop();
      server = await start(Number(new URL(server.url).port));
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

/** One connection as the owner of the server. Disposing closes it. */
function connection(url: string) {
  const sql = postgres(url, { max: 1, connect_timeout: 10, max_lifetime: null, onnotice: () => {} });
  return { sql, [Symbol.asyncDispose]: () => sql.end({ timeout: 5 }) };
}

/** A database of one test; its user may create roles and databases. Disposing of it drops it, whoever is connected. */
type TestDatabase = AsyncDisposable & { readonly url: string };

/** What the test file shares between its tests, once its `beforeAll` hooks have run. */
let sharedServer: TestServer | undefined;
let sharedDatabase: TestDatabase | undefined;

/**
 * Call at the top of a test file with several tests: one server runs from before its first test until after
 * its last one. It starts and stops in hooks, so the sanitizers do not see it as a leak of any test.
 */
export function shareTestServer(): void {
  Deno.test.beforeAll(async () => {
    sharedServer = await startTestServer();
  });
  Deno.test.afterAll(async () => {
    const server = sharedServer;
    sharedServer = undefined;
    await server?.stop();
  });
}

/**
 * Call at the top of a test file: one migrated database serves its tests, each of which finds it empty. Emptying tables
 * takes a tenth of the time that making a database does; deleting a few rows a hundredth of what `truncate` takes, which
 * makes files anew for every table and index.
 */
export function shareTestSchema(): void {
  shareTestServer();
  Deno.test.beforeAll(async () => {
    const isRun = Deno.env.has(RUN_SERVER_VARIABLE);
    sharedDatabase = await testDatabase(sharedServer, isRun ? MIGRATED : undefined);
    if (!isRun) await migrate(sharedDatabase.url, { roles: true });
  });
  Deno.test.afterAll(async () => {
    await sharedDatabase?.[Symbol.asyncDispose]();
    sharedDatabase = undefined;
  });
}

/**
 * Makes a database, a copy of the one named `source`, by default an empty one: `await using db = await testDatabase()`
 * inside a test. Without a `server` (0.05 s) it starts one (0.3 s).
 *
 * Errors: when no server can be started or reached.
 */
export async function testDatabase(
  server = sharedServer,
  source = "template0",
): Promise<TestDatabase> {
  await using resources = new AsyncDisposableStack();
  const { url: serverUrl, stop } = server ?? await startTestServer();
  if (!server) resources.defer(stop);
  const name = `orderflow_test_${crypto.randomUUID().replaceAll("-", "")}`;
  await using owner = connection(serverUrl);
  await owner.sql`create database ${owner.sql(name)} template ${owner.sql(source)} strategy file_copy`;
  resources.defer(async () => {
    await using owner = connection(serverUrl);
    await owner.sql`drop database ${owner.sql(name)} with (force)`;
  });
  const url = new URL(serverUrl);
  url.pathname = name;
  const owned = resources.move();
  return { url: url.href, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** A table beyond it is truncated: what is left of many deleted rows would be in the way of what reads the table whole. */
const LARGE_BYTES = 500_000;

/**
 * The file's database, empty: `await using db = await testSchema()` inside a test.
 *
 * Errors: when the file has not called {@linkcode shareTestSchema}.
 */
export async function testSchema(): Promise<TestSchema> {
  if (!sharedDatabase) throw new Error("Call shareTestSchema() at the top of the test file");
  const schema = schemaAt(sharedDatabase.url);
  const { sql } = schema;
  const tables = await sql<{ name: string; isLarge: boolean }[]>`
    select tablename as name, pg_table_size(tablename::regclass) > ${LARGE_BYTES} as "isLarge"
    from pg_tables where schemaname = 'public' and tablename <> 'schema_migrations'`;
  const large = tables.filter(({ isLarge }) => isLarge).map(({ name }) => name);
  if (large.length > 0) await sql`truncate ${sql(large)} cascade`;
  const names = tables.map(({ name }) => name);
  const deletes = names.map((name) => `${name}_gone as (delete from ${name})`);
  // The lock waits for whoever still writes for the test before. One statement, so that no key to another table is in the way.
  await sql.unsafe(`lock table ${names.join()} in exclusive mode; with ${deletes.join(", ")} select`);
  return schema;
}

/** A migrated database of its own, on `server` or as {@linkcode testDatabase}; disposing of it drops it. */
export async function ownSchema(server?: TestServer): Promise<TestSchema> {
  await using resources = new AsyncDisposableStack();
  const { url } = resources.use(await testDatabase(server));
  await migrate(url, { roles: true });
  const schema = resources.use(schemaAt(url));
  const owned = resources.move();
  return { ...schema, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** What a test prepares may be much, on a machine that does much else: longer than a process waits, in milliseconds. */
const OWNER_MS = 60_000;

export type TestSchema = ReturnType<typeof schemaAt>;

/** Pools on a migrated database, as it is. Disposing closes them. */
export function schemaAt(url: string, options: { readonly statementTimeoutMs?: number } = {}) {
  const resources = new AsyncDisposableStack();
  const pool = (role: DatabaseRole | null): Sql => {
    const sql = connect(url, {
      name: "test",
      role,
      max: 4,
      ...(role ? {} : { statementTimeoutMs: OWNER_MS, settings: { lock_timeout: "0" } }),
      ...options,
    });
    resources.defer(() => sql.end({ timeout: 2 }));
    return sql;
  };
  return {
    url,
    /** A pool as the owner of everything, for looking. */
    sql: pool(null),
    as: (role: DatabaseRole) => pool(role),
    session(role: DatabaseRole): Session {
      const session = openSession(url, { name: "test", role });
      resources.defer(() => session.end());
      return session;
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** The inbox of `consumer` on a pool. Nobody is woken: tests look by themselves. */
export function testInbox(sql: Sql, consumer: string): Inbox {
  return { consumer, atomically: atomicallyOn(sql), wakeUps: { carry: (run) => run(false) } };
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
 * nobody waits for a second one. It is locked for as long as a connection is open: a test that is killed gives it back.
 *
 * Errors: when the server cannot be asked, or no slot comes free within 15 minutes.
 */
export async function takeStackSlot(): Promise<AsyncDisposable> {
  await using slot = new AsyncDisposableStack();
  const url = Deno.env.get("DATABASE_URL");
  if (!url) return slot.move();
  const { sql } = slot.use(connection(url));
  const [row] = await sql<{ count: number }[]>`select current_setting('max_connections')::int as count`;
  const slots = Math.max(Math.floor(((row?.count ?? 0) - OTHER_CONNECTIONS) / STACK_CONNECTIONS), 1);
  for (const until = performance.now() + SLOT_WAIT_MS; performance.now() < until;) {
    for (let slotNumber = 0; slotNumber < slots; slotNumber++) {
      const [lock] = await sql<{ ours: boolean }[]>`
        select pg_try_advisory_lock(${LOCK_CLASS}::int, ${slotNumber}::int) as ours`;
      if (lock?.ours) return slot.move();
    }
    await delay(SLOT_LOOK_MS);
  }
  throw new Error(`None of ${slots} slots for a whole system came free within ${SLOT_WAIT_MS} ms`);
}
