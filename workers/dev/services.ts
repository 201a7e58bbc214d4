// What a run brings up besides its own processes: a folder, ports, the embedded Postgres; and who launched it.

import { join, resolve } from "node:path";
import { lockFolder, startPostgres } from "../../shared/embedded/postgres.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { aborted, pause } from "../../shared/process/stop.ts";
import { type Environment, restartDelayMs } from "./child.ts";
import { ROOT } from "./processes.ts";

/** The folder's variable, for a second `deno task dev` in the same checkout, and for tests. */
export const HOME_VARIABLE = "ORDERFLOW_HOME";

/**
 * The absolute paths in the folder `given`, or in `.orderflow` where none is; a relative one starts from the project's
 * root. `shown` is the folder as a person there would type it.
 */
export function homePaths(given: string | undefined, root = ROOT) {
  const shown = given || ".orderflow";
  const home = resolve(root, shown);
  return { shown, home, env: join(home, "env"), postgres: join(home, "postgres") };
}

/**
 * Locks the folder for this process, making it where it is missing.
 *
 * Errors: when another process holds it, which the message names; when nothing can be written there.
 */
export async function lockHome({ home }: ReturnType<typeof homePaths>): Promise<Deno.FsFile> {
  const locked = await lockFolder(home).catch((error) => {
    const advice = `Make room or give the right to write there, or name another folder in ${HOME_VARIABLE}`;
    throw new Error(`Cannot write to ${home}: ${messageOf(error)}. ${advice}.`);
  });
  if ("lock" in locked) return locked.lock;
  throw new Error(
    `\`deno task dev\` runs already with ${home} (process ${locked.holder}). Stop that one first, or name another folder in ${HOME_VARIABLE}.`,
  );
}

/**
 * Writes the env file, whole or not at all, readable by its owner only: a URL may hold a password. A shell
 * (`set -a; . .orderflow/env`) and Deno (`--env-file`) read it alike: in single quotes nothing has a meaning, and a URL can
 * do without a quote of its own.
 */
export async function writeEnvFile(path: string, variables: Environment): Promise<void> {
  const unfinished = `${path}.${Deno.pid}`;
  const lines = Object.entries(variables).map(([name, value]) =>
    `${name}='${value.replaceAll("'", "%27")}'\n`
  );
  await Deno.writeTextFile(unfinished, lines.join(""), { mode: 0o600 });
  await Deno.rename(unfinished, path);
}

/** Below what Linux and macOS hand out to outgoing connections, whose ports come and go at any moment. */
const FIRST_PORT = 20_000;
const LAST_PORT = 31_999;
const MAX_TRIES = 100;

/** Whether nothing listens on the port now. Errors: rejects an address that is not this machine's. */
export function isPortFree(hostname: string, port: number): boolean {
  try {
    Deno.listen({ hostname, port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}

/** A port that is free now, picked at random so that two who ask at the same time rarely get the same one. */
export function freePort(hostname: string): number {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT + 1));
    if (isPortFree(hostname, port)) return port;
  }
  throw new Error(`cannot find a free port from ${FIRST_PORT} to ${LAST_PORT} on ${hostname}: free some`);
}

/**
 * Starts Postgres on `dataDir`. A server that has ended is started again on the same port, with growing pauses for as long as
 * that fails; the processes wait it out. Disposing stops watching, and the server.
 *
 * Errors: those of `startPostgres` for the first start.
 */
export async function startEmbeddedDatabase(dataDir: string, say: (message: string) => void) {
  let server = await startPostgres({ dataDir, onProgress: say });
  const { url } = server;
  const port = Number(new URL(url).port);
  const stopping = new AbortController();
  const watching = watch();

  async function watch(): Promise<void> {
    for (let failures = 0;;) {
      if (failures === 0) {
        await Promise.race([server.ended, aborted(stopping.signal)]);
        await server.stop(); // lets go of the folder
        if (!stopping.signal.aborted) say("the embedded Postgres is gone; starting it again");
      } else {
        await pause(restartDelayMs(failures), stopping.signal);
      }
      if (stopping.signal.aborted) return;
      try {
        server = await startPostgres({ dataDir, port, onProgress: say });
        failures = 0;
        say("the embedded Postgres is back");
      } catch (error) {
        failures++;
        say(messageOf(error));
      }
    }
  }

  return {
    url,
    async [Symbol.asyncDispose](): Promise<void> {
      stopping.abort();
      await watching;
    },
  };
}

const LOOK_EVERY_MS = 500;

/** From `deno task` up to `npx`, there are as many at most. */
const MAX_LAUNCHERS = 3;

/**
 * The ids of those processes that wait for this one and so live as long: its parent, which is `deno task`, then `npx` or
 * `npm` and the shell in between. Nobody beyond: with `nohup` this process may outlive a login shell. `statOf` reads
 * `/proc/<pid>/stat` (proc(5)), which has the name in brackets and the parent; it is empty where there is none.
 */
export async function launchers(parent: number, statOf: (pid: number) => Promise<string>): Promise<number[]> {
  const above: number[] = [];
  for (let pid = parent; pid > 1 && above.length < MAX_LAUNCHERS;) {
    const [, name = "", next] = /^\d+ \((.*)\) \S (\d+) /s.exec(await statOf(pid)) ?? [];
    above.push(pid);
    if (name.startsWith("npm")) return above;
    pid = Number(next ?? 0);
  }
  return above.slice(0, 1);
}

/** Deno keeps /proc to itself; what another program may read there is not its concern. Empty but on Linux. */
async function readStat(pid: number): Promise<string> {
  const cat = new Deno.Command("cat", { args: [`/proc/${pid}/stat`], stderr: "null" });
  return new TextDecoder().decode((await cat.output()).stdout);
}

/**
 * Resolves once a process that started this one, `deno task` included, is gone, or at `stop`. Above `deno task` it can look
 * on Linux only.
 */
export async function launchersGone(stop: AbortSignal): Promise<void> {
  const parent = Deno.ppid;
  const above = await launchers(parent, readStat);
  while (!stop.aborted && Deno.ppid === parent && above.every(isAlive)) await pause(LOOK_EVERY_MS, stop);
}

function isAlive(pid: number): boolean {
  try {
    Deno.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Deno.errors.PermissionDenied; // alive, and another user's
  }
}
