// What the tests of the embedded Postgres share: folders, servers in this process and in another one. Run as a script, it
// is that other process: it has a server on the folder that its argument names, prints what happens a line each, ignores
// Ctrl-C, and stops once its standard input ends.

import { join } from "node:path";
import postgres from "postgres";
import { type EmbeddedPostgres, type PostgresOptions, removePostgres, startPostgres } from "../postgres.ts";
import { eventually as within, parsePostmasterPid, signalChild } from "../postgres_process.ts";

/** A data folder for one test; at the end its server is stopped and everything deleted. */
export async function temporaryFolder(mode = 0o711): Promise<{ dataDir: string } & AsyncDisposable> {
  const parent = await Deno.makeTempDir({ prefix: "orderflow_postgres_test_" });
  await Deno.chmod(parent, mode);
  const dataDir = join(parent, "data");
  const dispose = async () => {
    await removePostgres(dataDir);
    await Deno.remove(parent, { recursive: true });
  };
  return { dataDir, [Symbol.asyncDispose]: dispose };
}

/** Starts a server, not durable unless asked for, and stops it when it goes out of scope. */
export async function start(options: PostgresOptions): Promise<EmbeddedPostgres & AsyncDisposable> {
  const server = await startPostgres({ durable: false, ...options });
  return { ...server, [Symbol.asyncDispose]: () => server.stop() };
}

/** Connects, runs one statement, and returns its first row. */
export async function query(url: string, text: string): Promise<Record<string, string>> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    return (await sql.unsafe(text))[0] ?? {};
  } finally {
    await sql.end();
  }
}

/**
 * Runs this script in a process group of its own, and resolves once it has printed the text `until`.
 *
 * @param options `command`: over the usual ones; `project`: a checkout to run it from instead of this one
 */
export async function supervise(
  dataDir: string,
  until: string,
  options: { command?: Deno.CommandOptions; project?: string } = {},
) {
  const project = options.project ?? join(import.meta.dirname ?? "", "../../..");
  const script = join(project, "shared/embedded/testdata/postgres_runs.ts");
  const child = new Deno.Command(Deno.execPath(), {
    // "manual" takes node_modules as it is: a user with an empty cache then downloads nothing
    args: ["run", "-A", "--node-modules-dir=manual", script, dataDir],
    stdin: "piped",
    stdout: "piped",
    detached: true,
    ...options.command,
  }).spawn();
  let output = "";
  const collect = new WritableStream<string>({ write: (text) => void (output += text) });
  const reading = child.stdout.pipeThrough(new TextDecoderStream()).pipeTo(collect);
  /** Resolves once the process has printed the text; after 30 s it kills the process and rejects. */
  const waitFor = async (text: string) => {
    if (await within(() => output.includes(text), 30_000)) return;
    signalChild(child, "SIGKILL");
    throw new Error(`the supervisor did not print ${text}: ${output}`);
  };
  await waitFor(until);
  /** Asks the process to stop, unless it was killed, and waits for its end. */
  const end = async () => {
    await child.stdin.close().catch(() => {}); // closed already if it was killed
    await child.status;
    await reading;
  };
  return { child, waitFor, end, url: /postgres:\S+/.exec(output)?.[0] ?? "" };
}

export function postmasterPid(dataDir: string): string {
  return join(dataDir, "server/data/postmaster.pid");
}

export async function serverPid(dataDir: string): Promise<number> {
  const { pid } = parsePostmasterPid(await Deno.readTextFile(postmasterPid(dataDir)));
  if (pid === undefined) throw new Error(`${postmasterPid(dataDir)} holds no process id yet`);
  return pid;
}

export function isAlive(pid: number): boolean {
  try {
    Deno.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Polls until the condition holds, for at most 10 s. */
export async function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  if (!await within(condition, 10_000)) throw new Error(`not within 10 s: ${what}`);
}

if (import.meta.main) {
  Deno.addSignalListener("SIGINT", () => console.log("SIGINT"));
  const server = await startPostgres({
    dataDir: Deno.args[0] ?? "",
    onProgress: console.log,
    durable: false,
  });
  console.log(server.url);
  for await (const _ of Deno.stdin.readable);
  await server.stop();
  Deno.exit();
}
