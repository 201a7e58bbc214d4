/**
 * The programs of installed services: this machine's, or those of another system in a folder (`.ci/debian`).
 *
 * @module
 */
import { join } from "node:path";

/** The folder of a system whose programs are run instead of this machine's; empty for none. Only root may. */
export const SERVICES_ROOT = Deno.env.get("SERVICES_ROOT") ?? "";

/** An account of the system that the programs belong to. */
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
  const lines = (await Deno.readTextFile(join(SERVICES_ROOT, "/etc/passwd"))).split("\n");
  const [uid, gid] = (lines.find((line) => line.startsWith(`${name}:`)) ?? "").split(":").slice(2, 4).map(
    Number,
  );
  if (uid === undefined || gid === undefined) {
    throw new Error(`There is no account ${name} to run a server under`);
  }
  return { uid, gid };
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
