// Servers of PostgreSQL on loopback, a primary and, where asked for, a standby that confirms each commit: for tests that
// kill one. It needs the programs of a server package; servers that run already are not touched.

import { join } from "node:path";
import postgres from "postgres";
import { freePort } from "../../workers/dev/services.ts";
import { eventually } from "../support/eventually.ts";
import {
  type Account,
  accountOf,
  createServer,
  makeHome,
  programOf,
  READY_MS,
  runProgram,
  SERVICES_ROOT,
} from "./programs.ts";

/** Where Debian keeps the programs, one folder for each version: the newest is taken. */
const VERSIONS = "/usr/lib/postgresql";

/**
 * Starts a primary, and a standby once that is to `follow` it. Disposing ends both and deletes their data.
 *
 * Errors: when the programs are not installed, or a server does not start within a minute, with the end of its log.
 */
export async function startPostgresServers() {
  const programs = programsFolder();
  await using resources = new AsyncDisposableStack();
  const account = await accountOf("postgres");
  const home = resources.use(await makeHome("orderflow_servers_", account));
  const run = (program: string, args: readonly string[]) =>
    runProgram(join(programs, program), args, {}, account);
  const [first, second] = [
    serverOf("one", home, programs, account),
    serverOf("two", home, programs, account),
  ];
  for (const { end } of [first, second]) resources.defer(() => end("SIGKILL"));
  const roles = { primary: first, standby: second };

  async function follow(): Promise<void> {
    const { primary, standby } = roles;
    await Deno.remove(join(SERVICES_ROOT, standby.folder), { recursive: true }).catch(() => {});
    const from = ["-h", "127.0.0.1", "-p", `${primary.port}`, "-U", "postgres"];
    await run("pg_basebackup", [...from, "-D", standby.folder, "-R", "-c", "fast"]);
    await standby.start();
    await primary.ask(`alter system set synchronous_standby_names = '*'`);
    await primary.ask(`select pg_reload_conf()`);
    await eventually("the standby to confirm commits", async () => {
      const [row] = await primary.ask(`select from pg_stat_replication where sync_state = 'sync'`);
      return row;
    }, READY_MS);
  }

  await run("initdb", ["-D", first.folder, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"]);
  await first.start();
  const owned = resources.move();
  return {
    url: first.url,
    /** Names both, as `DATABASE_URL` takes it: the one that takes writes is meant. */
    bothUrl: `postgres://postgres@127.0.0.1:${first.port},127.0.0.1:${second.port}/postgres` +
      "?target_session_attrs=read-write",
    standbyUrl: () => roles.standby.url,
    /** Has the primary crash (immediate mode: no checkpoint, no goodbye), and starts it again on the same data. */
    async crash(): Promise<void> {
      await roles.primary.end("SIGQUIT");
      await roles.primary.start();
    },
    /** Kills the primary and promotes the standby, which waits for nobody then; resolves once it takes writes. */
    async failOver(): Promise<void> {
      const { primary, standby } = roles;
      await primary.end("SIGKILL");
      await standby.ask(`select pg_promote()`);
      await standby.ask(`alter system set synchronous_standby_names = ''`);
      await standby.ask(`select pg_reload_conf()`);
      [roles.primary, roles.standby] = [standby, primary];
    },
    /** Makes the other server, or the one that was killed, a copy of the primary, which then waits for it with each commit. */
    follow,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function programsFolder(): string {
  const given = Deno.env.get("POSTGRES_PROGRAMS");
  if (given) return given;
  try {
    const versions = [...Deno.readDirSync(join(SERVICES_ROOT, VERSIONS))].map(({ name }) => Number(name));
    return join(VERSIONS, `${Math.max(...versions)}`, "bin");
  } catch {
    throw new Error(
      `This test needs the programs of a PostgreSQL server, and there is no ${VERSIONS}. On Debian: apt-get install ` +
        "postgresql. Elsewhere name their folder in POSTGRES_PROGRAMS.",
    );
  }
}

/** One server, whose data are in a folder of `home`. */
function serverOf(
  name: string,
  home: { here: string; theirs: string },
  programs: string,
  account: Account | null,
) {
  const folder = join(home.theirs, name);
  const port = freePort("127.0.0.1");
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  const settings = {
    port,
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    max_connections: 500,
    logging_collector: "on",
    log_directory: home.theirs,
    log_filename: `${name}.log`,
  };
  const flags = Object.entries(settings).flatMap(([key, value]) => ["-c", `${key}=${value}`]);
  const silent = { stdin: "null", stdout: "null", stderr: "null" } as const;

  async function ask(statement: string): Promise<postgres.RowList<postgres.Row[]>> {
    const sql = postgres(url, { max: 1, connect_timeout: 5 });
    try {
      return await sql.unsafe(statement);
    } finally {
      await sql.end({ timeout: 1 });
    }
  }

  const server = createServer({
    name: `Server ${name}`,
    log: join(home.here, `${name}.log`),
    spawn: () => programOf(join(programs, "postgres"), ["-D", folder, ...flags], silent, account).spawn(),
    isUp: () => ask("select 1"),
  });
  return { ...server, folder, port, url, ask };
}
