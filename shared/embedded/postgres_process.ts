/**
 * The server process of an embedded Postgres: started on a leash, watched until it is ready, stopped.
 *
 * @module
 */
import { join } from "node:path";
import { absent, feed, runAs, serverEnvironment, signalChild } from "./postgres_account.ts";
import type { Cluster } from "./postgres_cluster.ts";

/** A running server process. */
export interface ServerProcess {
  /** Stops it: fast shutdown, after 4 s immediate shutdown, after 6 s more SIGKILL. May be called again. */
  stop(): Promise<void>;
}

/** What a start came to: a server that accepts connections, or why there is none. */
export type StartResult =
  | { started: true; server: ServerProcess }
  | { started: false; reason: StartFailure; log: string };

/** Why a server did not start: `port taken` and `still stopping` pass when tried again. */
export type StartFailure = "port taken" | "still stopping" | "not ready in time" | "other";

/** How long a server may take to get ready. Long, because recovery after a crash replays the log. */
const readyTimeoutMs = 60_000;
const fastShutdownMs = 4_000;
/** Postgres itself kills backends that ignore an immediate shutdown after 5 s. */
const immediateShutdownMs = 6_000;

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
 * Starts a server on a cluster and waits until it accepts connections on 127.0.0.1.
 *
 * It has a session of its own, so a terminal's Ctrl-C does not reach it: it outlives the workers that drain.
 * It does not outlive this process.
 */
export async function startServer(
  cluster: Cluster,
  port: number,
  settings: Record<string, string>,
): Promise<StartResult> {
  const options = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const server = [
    join(cluster.binaries.folder, "bin/postgres"),
    "-D",
    cluster.data,
    "-p",
    `${port}`,
    ...options,
  ];
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", leash, "sh", cluster.log, ...server],
    ...cluster.account,
    cwd: "/",
    clearEnv: true,
    env: serverEnvironment,
    detached: true,
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let running = true;
  // Letting the watcher go at once keeps it from signalling a process that gets the same id later.
  const exited = child.status.then(async () => {
    running = false;
    await feed(child.stdin, "released\n");
  });
  const stop = async () => {
    for (const [signal, waitMs] of shutdownSteps) {
      if (!running) break;
      signalChild(child, signal);
      if (await eventually(() => !running, waitMs)) break;
    }
    await exited;
  };
  const ready = async () => !running || await isReady(cluster, child.pid);
  const inTime = await eventually(ready, readyTimeoutMs);
  if (inTime && running) return { started: true, server: { stop } };
  await stop();
  const log = (await Deno.readTextFile(cluster.log).catch(absent)) ?? "";
  return { started: false, reason: inTime ? startFailure(log) : "not ready in time", log };
}

/** Signals to stop a server with, and how long to wait after each: PostgreSQL documentation, section 18.5. */
const shutdownSteps: [Deno.Signal, number][] = [
  ["SIGINT", fastShutdownMs],
  ["SIGQUIT", immediateShutdownMs],
  ["SIGKILL", 0],
];

/** Reads the reason of a failed start off the server's log. */
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

async function isReady(cluster: Cluster, pid: number): Promise<boolean> {
  const text = await Deno.readTextFile(join(cluster.data, "postmaster.pid")).catch(absent);
  const found = parsePostmasterPid(text ?? "");
  return found.pid === pid && found.state === "ready";
}

/**
 * Makes way for a new server: stops one that a killed process left on this data folder, and clears a
 * `postmaster.pid` that would block the start. The caller holds the lock, so nobody else is starting one.
 *
 * @throws Error if the old server does not stop
 */
export async function stopLeftover(data: string, onProgress: (message: string) => void): Promise<void> {
  const path = join(data, "postmaster.pid");
  const text = await Deno.readTextFile(path).catch(absent);
  if (text === undefined) return;
  const { pid } = parsePostmasterPid(text);
  if (pid === undefined) return await Deno.remove(path); // the crash was before the id was written
  if (!(await servesData(pid, data))) return await disownPid(path, text);
  onProgress(`stopping the Postgres that an earlier run left behind (process ${pid})`);
  const gone = async () => (await Deno.stat(path).catch(absent)) === undefined;
  for (const [signal, waitMs] of shutdownSteps.slice(0, 2)) {
    Deno.kill(pid, signal);
    if (await eventually(gone, waitMs)) return;
  }
  throw new Error(`the Postgres that an earlier run left behind does not stop: end process ${pid}`);
}

/** Whether the process is a Postgres of this data folder: after a crash its id may be another program's. */
async function servesData(pid: number, data: string): Promise<boolean> {
  const script = 'cat "/proc/$1/cmdline" 2>/dev/null || ps -ww -o args= -p "$1"';
  const { output } = await runAs(undefined, "/bin/sh", ["-c", script, "sh", `${pid}`], { timeoutMs: 5_000 });
  return output.replaceAll("\0", " ").includes(`postgres -D ${data} `);
}

/**
 * Postgres refuses to start while the process in `postmaster.pid` lives, though it may be some other program
 * by now. Deleting the file would also delete the note by which Postgres sees that a crashed server's
 * backends still use the data; so only the process id is replaced, by one that no system gives out.
 */
async function disownPid(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(path, text.replace(/^\s*\d+/, "2147483647"));
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
