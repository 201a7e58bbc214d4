// Programs and the server of an embedded Postgres as processes: under which account they run, how the server is started on a
// leash, watched until it is ready, and stopped.

import { join } from "node:path";
import type { Cluster } from "./postgres_files.ts";

/** The user and group ids that a process runs with; `undefined` stands for the caller's own. */
export type Account = { uid: number; gid: number } | undefined;

/** What every program is given: nothing of the caller's `PG*`, and messages in English. */
const inherited = {
  cwd: "/",
  clearEnv: true,
  env: { LC_ALL: "C", PATH: "/usr/local/bin:/usr/bin:/bin" },
  stdin: "piped",
} as const;

/**
 * The account to run Postgres with, which refuses to run as root: the caller's own, or when the caller is root one that
 * systems have for services. Then neither the programs nor the data may lie below a folder closed to that account.
 *
 * @throws Error if the caller is root and the system has no account to hand over to
 */
export async function serverAccount(): Promise<Account> {
  if (Deno.uid() !== 0) return undefined;
  const script =
    'for name in nobody postgres daemon; do id -u "$name" 2>/dev/null && id -g "$name" && exit; done';
  const { output } = await runScript(undefined, script);
  const [uid = 0, gid = 0] = output.trim().split("\n").map(Number);
  if (uid > 0) return { uid, gid };
  throw new Error(
    "Postgres does not run as root, and this system has none of the accounts nobody, postgres, daemon: " +
      "add one, run as another user, or set DATABASE_URL to a Postgres server",
  );
}

/**
 * Runs a shell script with these arguments to its end under `account`, from the root folder and with an empty environment.
 * Answers with its exit code and everything it printed, standard error last.
 *
 * @param options `stdin`: text fed to it; `timeoutMs`: after that it is ended, which shows as a failed run; default 5,000
 */
export async function runScript(
  account: Account,
  script: string,
  args: string[] = [],
  { stdin = "", timeoutMs = 5_000 } = {},
): Promise<{ code: number; output: string }> {
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", script, "sh", ...args],
    ...account,
    ...inherited,
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(timeoutMs),
  }).spawn();
  await feed(child.stdin, stdin);
  const { code, stdout, stderr } = await child.output();
  return { code, output: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

/**
 * Sends `signal` to `child`; one that has ended takes none. Nobody can ask first: from the moment in which Deno has reaped a
 * child it refuses to signal it, and `status` tells of that a turn of the event loop later.
 */
export function signalChild(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** A child that has gone already is no error. */
async function feed(stdin: WritableStream<Uint8Array>, text: string): Promise<void> {
  await new Blob([text]).stream().pipeTo(stdin).catch((error) => {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  });
}

/**
 * Whether `account` can read every file and enter every folder of `paths`. Asks the kernel, so modes, groups
 * and ACLs all count.
 */
export async function reaches(account: Account, ...paths: string[]): Promise<boolean> {
  const script =
    'for path; do if test -d "$path"; then test -x "$path"; else test -r "$path"; fi || exit; done';
  return (await runScript(account, script, paths)).code === 0;
}

/** Why a server did not start: `port taken` and `still stopping` pass when tried again. */
type StartFailure = "port taken" | "still stopping" | "not ready in time" | "other";

/** How long a server may take to get ready. Long, because recovery after a crash replays the log. */
const readyTimeoutMs = 60_000;

/**
 * Signals to stop a server with, and how long to wait after each: PostgreSQL documentation, section 18.5. Postgres itself
 * kills backends that ignore an immediate shutdown (SIGQUIT) after 5 s.
 */
const shutdownSteps: [Deno.Signal, number][] = [["SIGINT", 4_000], ["SIGQUIT", 6_000], ["SIGKILL", 0]];

/**
 * Becomes the server ("$2" and on), logging to "$1", after leaving behind a watcher that waits for a line on
 * the pipe from the supervisor. The end of the pipe instead of a line means that the supervisor was killed:
 * then the watcher asks the server for a fast shutdown. `$$` stays this process's id in the subshell, and
 * the doubled brackets keep the watcher from being a child of the server, which would wonder about it.
 */
const leash = `
log=$1; shift
exec 3<&0 </dev/null >"$log" 2>&1
( ( read -r released <&3 || kill -INT $$ ) >/dev/null 2>&1 & )
exec "$@" 3<&-`;

/**
 * Starts a server on a cluster and waits until it accepts connections on 127.0.0.1; answers with what stops it (fast
 * shutdown, after 4 s immediate shutdown, after 6 s more SIGKILL) and its end, for whatever reason, or why there is none.
 *
 * It has a session of its own, so a terminal's Ctrl-C does not reach it: it outlives the workers that drain.
 * It does not outlive this process.
 */
export async function startServer(
  { account, programs, data, log: logPath }: Cluster,
  port: number,
  settings: Record<string, string>,
) {
  const options = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const server = [join(programs, "bin/postgres"), "-D", data, "-p", `${port}`, ...options];
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", leash, "sh", logPath, ...server],
    ...account,
    ...inherited,
    detached: true,
    stdout: "null",
    stderr: "null",
  }).spawn();
  let running = true;
  // Letting the watcher go at once keeps it from signalling a process that gets the same id later.
  const ended = child.status.then(async () => {
    running = false;
    await feed(child.stdin, "released\n");
  });
  const stop = async () => {
    for (const [signal, waitMs] of shutdownSteps) {
      if (!running) break;
      signalChild(child, signal);
      if (await eventually(() => !running, waitMs)) break;
    }
    await ended;
  };
  const isReady = async () => {
    const { pid, state } = parsePostmasterPid(await readIfThere(join(data, "postmaster.pid")) ?? "");
    return pid === child.pid && state === "ready";
  };
  const inTime = await eventually(async () => !running || await isReady(), readyTimeoutMs);
  if (inTime && running) return { server: { stop, ended } };
  await stop();
  const log = await readIfThere(logPath) ?? "";
  return { failure: inTime ? startFailure(log) : "not ready in time", log };
}

export function startFailure(log: string): StartFailure {
  if (/could not bind .*Address already in use/.test(log)) return "port taken";
  if (/lock file ".*" already exists|pre-existing shared memory block/.test(log)) return "still stopping";
  return "other";
}

/** The process id and the state out of a `postmaster.pid` file (its lines 1 and 8), as far as they are there. */
export function parsePostmasterPid(text: string): { pid: number | undefined; state: string | undefined } {
  const lines = text.split("\n").map((line) => line.trim());
  const pid = Number.parseInt(lines[0] ?? "", 10);
  return { pid: pid > 0 ? pid : undefined, state: lines[7] };
}

/**
 * Makes way for a new server: stops one that a killed process left on this data folder, and clears a
 * `postmaster.pid` that would block the start. The caller holds the lock, so nobody else is starting one.
 *
 * @throws Error if the old server does not stop
 */
export async function stopLeftover(data: string, onProgress: (message: string) => void): Promise<void> {
  const path = join(data, "postmaster.pid");
  const text = await readIfThere(path);
  if (text === undefined) return;
  const { pid } = parsePostmasterPid(text);
  if (pid === undefined) return await Deno.remove(path); // the crash was before the id was written
  if (!(await servesData(pid, data))) {
    // Postgres refuses to start while the process in `postmaster.pid` lives, though it may be some other program by now.
    // Deleting the file would also delete the note by which Postgres sees that a crashed server's backends still use the
    // data; so only the process id is replaced, by one that no system gives out.
    return await Deno.writeTextFile(path, text.replace(/^\s*\d+/, "2147483647"));
  }
  onProgress(`stopping the Postgres that an earlier run left behind (process ${pid})`);
  for (const [signal, waitMs] of shutdownSteps.slice(0, 2)) {
    Deno.kill(pid, signal);
    if (await eventually(async () => await readIfThere(path) === undefined, waitMs)) return;
  }
  throw new Error(`the Postgres that an earlier run left behind does not stop: end process ${pid}`);
}

/** Whether the process is a Postgres of this data folder: after a crash its id may be another program's. */
async function servesData(pid: number, data: string): Promise<boolean> {
  const script = 'cat "/proc/$1/cmdline" 2>/dev/null || ps -ww -o args= -p "$1"';
  const { output } = await runScript(undefined, script, [`${pid}`]);
  return output.replaceAll("\0", " ").includes(`postgres -D ${data} `);
}

/** Polls a condition until it holds; false if it did not within `timeoutMs`. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() >= deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return true;
}

/** Turns "no such file" into `undefined`; any other failure stays one. */
export function absent(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

export async function readIfThere(path: string): Promise<string | undefined> {
  return await Deno.readTextFile(path).catch(absent);
}
