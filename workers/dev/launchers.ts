/**
 * Notices that whoever started the supervisor is gone. `npx` passes a SIGTERM to a shell that does not pass it on, and
 * a killed `deno task` passes on nothing: both would leave the whole system running with nobody to stop it.
 *
 * @module
 */
import { pause } from "../../shared/stop.ts";

/** A process above this one. */
export interface Ancestor {
  /** Its process id. */
  readonly pid: number;
  /** The name that the system shows for it. */
  readonly name: string;
}

/**
 * The ids of those of `ancestors` (nearest first) that wait for this process and so live as long: `deno task`, then
 * `npx` or `npm` and the shell in between. Nobody beyond: with `nohup` this process may outlive a login shell.
 */
export function launchers(ancestors: readonly Ancestor[]): number[] {
  const npm = ancestors.findIndex(({ name }) => name.startsWith("npm"));
  return ancestors.slice(0, npm === -1 ? 1 : npm + 1).map(({ pid }) => pid);
}

const LOOK_EVERY_MS = 500;

/**
 * Resolves with true once a process that started this one, `deno task` included, is gone; with false at `stop`. Above
 * `deno task` it can look on Linux only.
 */
export async function launchersGone(stop: AbortSignal): Promise<boolean> {
  const parent = Deno.ppid;
  const above = launchers(await readAncestors(parent));
  while (!stop.aborted) {
    if (Deno.ppid !== parent || !above.every(isAlive)) return true;
    await pause(LOOK_EVERY_MS, stop);
  }
  return false;
}

/** From `deno task` up to `npx`, there are as many at most. */
const MAX_ANCESTORS = 3;

async function readAncestors(parent: number): Promise<Ancestor[]> {
  const found: Ancestor[] = [];
  if (Deno.build.os !== "linux") return found;
  for (let pid = parent; pid > 1 && found.length < MAX_ANCESTORS;) {
    // Deno keeps /proc to itself; what another program may read there is not its concern.
    const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/stat`], stderr: "null" })
      .output();
    const stat = parseStat(new TextDecoder().decode(stdout));
    if (!stat) break;
    found.push({ pid, name: stat.name });
    pid = stat.parent;
  }
  return found;
}

/** Name and parent out of the text of `/proc/<pid>/stat` (proc(5)); null for a process that is gone. */
export function parseStat(text: string): { name: string; parent: number } | null {
  const [, name, parent] = /^\d+ \((.*)\) \S (\d+) /s.exec(text) ?? [];
  return name === undefined || parent === undefined ? null : { name, parent: Number(parent) };
}

function isAlive(pid: number): boolean {
  try {
    Deno.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Deno.errors.PermissionDenied; // alive, and another user's
  }
}
