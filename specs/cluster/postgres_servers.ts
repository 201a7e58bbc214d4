/**
 * Servers of PostgreSQL on loopback, a primary and, where asked for, a standby that confirms each commit: for tests that
 * kill one. It needs the programs of a server package; servers that run already are not touched.
 *
 * @module
 */
import { join } from "node:path";
import postgres from "postgres";
import { signalChild, withTimeout } from "../../shared/process/stop.ts";
import { freePort } from "../../workers/dev/services.ts";
import { eventually } from "../support/eventually.ts";
import { type Account, accountOf, makeHome, programOf, runProgram, SERVICES_ROOT } from "./programs.ts";

/** Where Debian keeps the programs, one folder for each version: the newest is taken. */
const VERSIONS = "/usr/lib/postgresql";
/** How long a server may take to start, to be copied or to catch up, on a machine that is busy with others. */
const READY_MS = 60_000;
const STOP_MS = 20_000;

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
  const servers = ["one", "two"].map((name) => createServer({ name, home, programs, account }));
  const [first, second] = servers;
  if (!first || !second) throw new Error("There are no two servers");
  for (const server of servers) resources.defer(() => server.end("SIGKILL"));
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
  const urlOf = ({ port }: { readonly port: number }) => `postgres://postgres@127.0.0.1:${port}/postgres`;
  return {
    url: urlOf(first),
    /** Names both, as `DATABASE_URL` takes it: the one that takes writes is meant. */
    bothUrl: `postgres://postgres@127.0.0.1:${first.port},127.0.0.1:${second.port}/postgres` +
      "?target_session_attrs=read-write",
    standbyUrl: () => urlOf(roles.standby),
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

interface ServerOptions {
  readonly name: string;
  readonly home: { readonly here: string; readonly theirs: string };
  readonly programs: string;
  readonly account: Account | null;
}

function createServer({ name, home, programs, account }: ServerOptions) {
  const folder = join(home.theirs, name);
  const port = freePort("127.0.0.1");
  const log = join(home.here, `${name}.log`);
  let child: Deno.ChildProcess | null = null;

  /** Runs one statement on a connection of its own. */
  async function ask(statement: string): Promise<postgres.RowList<postgres.Row[]>> {
    const sql = postgres(`postgres://postgres@127.0.0.1:${port}/postgres`, { max: 1, connect_timeout: 5 });
    try {
      return await sql.unsafe(statement);
    } finally {
      await sql.end({ timeout: 1 });
    }
  }

  return {
    folder,
    port,
    ask,
    async start(): Promise<void> {
      const settings = {
        port,
        listen_addresses: "127.0.0.1",
        unix_socket_directories: "",
        max_connections: 500,
      };
      const logging = { logging_collector: "on", log_directory: home.theirs, log_filename: `${name}.log` };
      const flags = Object.entries({ ...settings, ...logging }).flatMap((
        [key, value],
      ) => ["-c", `${key}=${value}`]);
      const args = ["-D", folder, ...flags];
      const silent = { stdin: "null", stdout: "null", stderr: "null" } as const;
      child = programOf(join(programs, "postgres"), args, silent, account).spawn();
      try {
        await eventually(`server ${name}`, () => ask("select 1"), READY_MS);
      } catch (cause) {
        const text = await Deno.readTextFile(log).catch(() => "no log");
        throw new Error(`Server ${name} did not start; its log ends with\n${text.slice(-2000)}`, { cause });
      }
    },
    /** Ends it with a signal. After SIGKILL its children end when they see that it is gone. */
    async end(signal: Deno.Signal): Promise<void> {
      const ending = child;
      child = null;
      if (!ending) return;
      signalChild(ending, signal);
      await withTimeout(STOP_MS, ending.status);
    },
  };
}
