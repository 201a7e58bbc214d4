// The programs of installed services: this machine's, or those of another system in a folder (`.ci/debian`).

import { join } from "node:path";
import { signalChild, withTimeout } from "../../shared/process/stop.ts";
import { eventually } from "../support/eventually.ts";

/** The folder of a system whose programs are run instead of this machine's; empty for none. Only root may. */
export const SERVICES_ROOT = Deno.env.get("SERVICES_ROOT") ?? "";

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/**
 * The account of that name, to run a server under that refuses to run as root; null where this process is not root's.
 *
 * Errors: when there is no such account.
 */
export async function accountOf(name: string): Promise<Account | null> {
  if (Deno.uid() !== 0) return null;
  const accounts = await Deno.readTextFile(join(SERVICES_ROOT, "/etc/passwd"));
  const [, uid, gid] = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, "m").exec(accounts) ?? [];
  if (!uid || !gid) throw new Error(`There is no account ${name} to run a server under`);
  return { uid: Number(uid), gid: Number(gid) };
}

/** A folder for data that the programs can reach, by its path here and by theirs. Disposing of it deletes it. */
export async function makeHome(prefix: string, account: Account | null = null) {
  const here = await Deno.makeTempDir({
    prefix,
    ...SERVICES_ROOT ? { dir: join(SERVICES_ROOT, "tmp") } : {},
  });
  if (account) await Deno.chown(here, account.uid, account.gid);
  return {
    here,
    theirs: here.slice(SERVICES_ROOT.length),
    [Symbol.asyncDispose]: () => Deno.remove(here, { recursive: true }),
  };
}

/** A program, which has no environment but that of `options`. It becomes the process: `chroot` only leads to it. */
export function programOf(
  program: string,
  args: readonly string[],
  options: Omit<Deno.CommandOptions, "args" | "uid" | "gid" | "clearEnv"> = {},
  account: Account | null = null,
): Deno.Command {
  if (!SERVICES_ROOT) {
    return new Deno.Command(program, { ...options, ...account ?? {}, args: [...args], clearEnv: true });
  }
  const user = account ? [`--userspec=${account.uid}:${account.gid}`] : [];
  return new Deno.Command("chroot", {
    ...options,
    args: [...user, SERVICES_ROOT, program, ...args],
    clearEnv: true,
  });
}

/** Runs a program to its end; answers with what it printed. Errors: when it fails, with what it said. */
export async function runProgram(...[program, args, ...more]: Parameters<typeof programOf>): Promise<string> {
  const { success, stdout, stderr } = await programOf(program, args, ...more).output();
  const [out = "", err = ""] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  if (!success) throw new Error(`${program} ${args.join(" ")} failed: ${err || out}`);
  return out;
}

/** How long a server may take to start, on a machine that is busy with others, in milliseconds. */
export const READY_MS = 60_000;
const STOP_MS = 20_000;

/**
 * How often a server that ends while it starts is started anew, as a service manager does: of two nodes of RabbitMQ that
 * start at once one now and then kills the other (mnesia's `negotiate_protocol`).
 */
const RESTARTS = 3;

/** A server that can be started and ended again and again. */
export function createServer({ name, log, spawn, isUp }: {
  readonly name: string;
  readonly log: string;
  readonly spawn: () => Deno.ChildProcess;
  /** Throws while it does not answer. */
  readonly isUp: () => Promise<unknown>;
}) {
  let child: Deno.ChildProcess | null = null;

  function run(): void {
    const running = child = spawn();
    running.status.then(() => {
      if (child === running) child = null;
    });
  }

  return {
    /** Resolves once it answers. Errors: when it does not within a minute, with the end of its log. */
    async start(): Promise<void> {
      run();
      let restarts = 0;
      try {
        await eventually(`${name} to answer`, async () => {
          if (!child && restarts++ < RESTARTS) run();
          await isUp();
          return true;
        }, READY_MS);
      } catch (cause) {
        const text = await Deno.readTextFile(log).catch(() => "no log");
        throw new Error(`${name} did not start; its log ends with\n${text.slice(-2000)}`, { cause });
      }
    },
    /** Ends it, if it runs, with a signal and after 20 s with SIGKILL. */
    async end(signal: Deno.Signal): Promise<void> {
      const ending = child;
      child = null;
      if (!ending) return;
      signalChild(ending, signal);
      await withTimeout(STOP_MS, ending.status);
      signalChild(ending, "SIGKILL");
      await ending.status;
    },
  };
}

/** Waits until somebody listens on a port of 127.0.0.1. */
export async function listening(what: string, port: number): Promise<void> {
  await eventually(`${what} to listen`, async () => {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  });
}
