/**
 * The data of one embedded Postgres on disk.
 *
 * ```text
 * <dataDir>/lock       held by the process that runs the server
 * <dataDir>/password   of the superuser, readable by its owner only
 * <dataDir>/port       of the last run, tried again first
 * <dataDir>/server/    the server's account's own: data/ (what Postgres calls PGDATA) and log;
 *                      a link to such a folder elsewhere if that account cannot enter <dataDir>
 * ```
 *
 * @module
 */
import { join } from "node:path";
import { absent, type Account, reachableRootFolder, reaches, runAs } from "./postgres_account.ts";
import { type PostgresBinaries, withPlainPath } from "./postgres_binaries.ts";

/** The superuser, and the database made for the application. */
export const databaseName = "orderflow";

/** An initialised cluster: what is needed to run a server on it. */
export interface Cluster {
  /** Under which account the server runs: it owns the files. */
  account: Account;
  /** The programs. */
  binaries: PostgresBinaries;
  /** Absolute path of the data folder, without symbolic links. */
  data: string;
  /** Absolute path of the server's log, which starts anew with each start. */
  log: string;
  /** Password of the superuser. */
  password: string;
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
  binaries: PostgresBinaries,
  durable: boolean,
  onProgress: (message: string) => void,
): Promise<Cluster> {
  const password = await ownPassword(join(dataDir, "password"));
  const folder = await serverFolder(dataDir, account);
  const data = join(folder, "data");
  const cluster = { account, binaries, data, log: join(folder, "log"), password };
  const version = await Deno.readTextFile(join(data, "PG_VERSION")).catch(absent);
  if (version === undefined) {
    onProgress("initialising a Postgres database");
    await removeUnfinished(folder);
    await initialise(cluster, folder, durable);
  } else if (version.trim() !== binaries.major) {
    throw new Error(
      `the database in ${dataDir} is of Postgres ${version.trim()}, the programs are of ${binaries.major}: ` +
        "delete it with `deno task reset`",
    );
  }
  return cluster;
}

/** Reads the password, after making one up on the first start. */
async function ownPassword(path: string): Promise<string> {
  const known = await Deno.readTextFile(path).catch(absent);
  if (known) return known;
  const password = crypto.getRandomValues(new Uint8Array(24)).toHex();
  await Deno.writeTextFile(path, password, { mode: 0o600 });
  return password;
}

/** Finds or makes the folder `server`, where `account` can reach it and nobody else can. */
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
  if (!account) {
    await Deno.mkdir(path, { mode: 0o700 });
    return await Deno.realPath(path);
  }
  const reachable = await reaches(account, dataDir);
  const folder = reachable
    ? path
    : await Deno.makeTempDir({ dir: await reachableRootFolder(), prefix: "data-" });
  if (reachable) await Deno.mkdir(path, { mode: 0o700 });
  else await Deno.symlink(folder, path);
  await Deno.chown(folder, account.uid, account.gid);
  return await Deno.realPath(path);
}

/** Deletes what killed initialisations left; one may still be writing, then it goes at a later start. */
async function removeUnfinished(folder: string): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.startsWith("unfinished-")) continue;
    await Deno.remove(join(folder, name), { recursive: true }).catch(() => {});
  }
}

/** Runs `initdb` in a temporary folder and renames the result, so that `data` is never half a cluster. */
async function initialise(cluster: Cluster, folder: string, durable: boolean): Promise<void> {
  const { account, binaries, data, password } = cluster;
  const unfinished = await Deno.makeTempDir({ dir: folder, prefix: "unfinished-" });
  if (account) await Deno.chown(unfinished, account.uid, account.gid);
  const args = [`--pgdata=${unfinished}`, `--username=${databaseName}`, "--auth=scram-sha-256"];
  args.push("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8");
  if (!durable) args.push("--no-sync");
  // Through a pipe that `sh` makes as `account`: that account may open no file or pipe of the caller's.
  const script = 'cat | "$@" --pwfile=/dev/stdin';
  const { code, output } = await withPlainPath(binaries, (folder) => {
    const command = ["-c", script, "sh", join(folder, "bin/initdb"), ...args];
    return runAs(account, "/bin/sh", command, { stdin: password, timeoutMs: 60_000 });
  });
  if (code !== 0) {
    await Deno.remove(unfinished, { recursive: true });
    throw new Error(
      `initdb of the embedded Postgres failed with code ${code}; repair what it says, or set DATABASE_URL ` +
        `to a Postgres server:\n${output}`,
    );
  }
  await Deno.rename(unfinished, data);
}
