/**
 * The folder `.orderflow`: what a run of `deno task dev` keeps on disk.
 *
 * ```text
 * .orderflow/lock       held by the supervisor that uses the folder
 * .orderflow/env        DATABASE_URL and AMQP_URL in use; there only while it runs
 * .orderflow/postgres/  the embedded Postgres's data
 * ```
 *
 * @module
 */
import { join, resolve } from "node:path";

/** The folder's variable, for a second `deno task dev` in the same checkout, and for tests. */
export const HOME_VARIABLE = "ORDERFLOW_HOME";

/** Where things are in the folder. */
export interface HomePaths {
  /** The folder as a person in the project's root would type it. */
  readonly shown: string;
  /** The folder's absolute path. */
  readonly home: string;
  /** The lock file. */
  readonly lock: string;
  /** The env file. */
  readonly env: string;
  /** The folder of the embedded Postgres. */
  readonly postgres: string;
}

/** The paths in the folder `given`, or in `.orderflow` where none is; a relative one starts from the project's root. */
export function homePaths(root: string, given: string | undefined): HomePaths {
  const shown = given || ".orderflow";
  const home = resolve(root, shown);
  const inside = (name: string) => join(home, name);
  return { shown, home, lock: inside("lock"), env: inside("env"), postgres: inside("postgres") };
}

/** The folder is in use by another process. The message names that. */
export class HomeTakenError extends Error {
  /** Tells it from other errors. */
  override name = "HomeTakenError";
}

/**
 * Locks the folder for this process, making it where it is missing. The system drops the lock when the process ends,
 * however it does.
 *
 * Errors: `HomeTakenError` when another process holds it.
 */
export async function lockHome(paths: HomePaths): Promise<Deno.FsFile> {
  await Deno.mkdir(paths.home, { recursive: true });
  const file = await Deno.open(paths.lock, { read: true, write: true, create: true });
  if (!await file.tryLock(true)) {
    const holder = (await new Response(file.readable).text()).trim();
    throw new HomeTakenError(
      `\`deno task dev\` runs already with ${paths.home} (process ${holder}). Stop that one first.`,
    );
  }
  await file.truncate();
  await file.write(new TextEncoder().encode(`${Deno.pid}\n`));
  return file;
}

/**
 * The text of an env file that a shell (`set -a; . .orderflow/env`) and Deno (`--env-file`) read alike: in single quotes
 * nothing has a meaning, and a URL can do without a quote of its own.
 */
export function envFileText(urls: Readonly<Record<string, string>>): string {
  return Object.entries(urls).map(([name, url]) => `${name}='${url.replaceAll("'", "%27")}'\n`).join("");
}

/** Writes the env file, whole or not at all, readable by its owner only: a URL may hold a password. */
export async function writeEnvFile(path: string, urls: Readonly<Record<string, string>>): Promise<void> {
  const unfinished = `${path}.${Deno.pid}`;
  await Deno.writeTextFile(unfinished, envFileText(urls), { mode: 0o600 });
  await Deno.rename(unfinished, path);
}

/** Removes the env file. Synchronous, so that it also works on the way out. */
export function removeEnvFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
