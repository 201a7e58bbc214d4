/**
 * Fresh databases for tests, on a real Postgres: the server that `DATABASE_URL` names, or an embedded one.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import postgres from "postgres";
import { removePostgres, startPostgres } from "../../shared/embedded/postgres.ts";

/** An empty database of one test. Disposing of it drops it, whoever is still connected. */
export interface TestDatabase extends AsyncDisposable {
  /** Names this database alone; the user may create roles and databases. */
  url: string;
}

interface TestServer {
  url: string;
  stop(): Promise<void>;
}

/** An initialised database, copied for each server. Kept between runs, one for each user who runs tests. */
const template = fileURLToPath(new URL(`../../.orderflow/test_template_${Deno.uid()}`, import.meta.url));

/** The server that this test file shares between its tests, once its `beforeAll` hook has run. */
let shared: TestServer | undefined;

/**
 * Makes an empty database: `await using db = await testDatabase()` inside a test. It starts a server for it
 * (0.3 s), unless the file called {@linkcode shareTestServer} (0.05 s) or `DATABASE_URL` is set.
 *
 * @throws Error if no server can be started or reached
 */
export async function testDatabase(): Promise<TestDatabase> {
  const server = shared ?? await startTestServer();
  const name = `orderflow_test_${crypto.randomUUID().replaceAll("-", "")}`;
  const stopOwn = async () => {
    if (server !== shared) await server.stop();
  };
  try {
    await withConnection(server.url, (sql) => sql`create database ${sql(name)} template template0`);
  } catch (error) {
    await stopOwn();
    throw error;
  }
  const url = new URL(server.url);
  url.pathname = name;
  return {
    url: url.href,
    [Symbol.asyncDispose]: async () => {
      await withConnection(server.url, (sql) => sql`drop database ${sql(name)} with (force)`);
      await stopOwn();
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

/** The server of `DATABASE_URL`, or an embedded one on a temporary folder, which goes when it is stopped. */
async function startTestServer(): Promise<TestServer> {
  const url = Deno.env.get("DATABASE_URL");
  if (url) return { url, stop: () => Promise.resolve() };
  const dataDir = await Deno.makeTempDir({ prefix: "orderflow_test_" });
  await Deno.chmod(dataDir, 0o711); // root's server runs under another account, which must pass through
  await copyTemplate(dataDir);
  const server = await startPostgres({ dataDir, durable: false });
  const stop = async () => {
    await server.stop();
    await removePostgres(dataDir);
  };
  return { url: server.url, stop };
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
