import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { copyOnce, openCluster, postgresBinaries } from "./postgres_files.ts";
import { serverAccount, startServer } from "./postgres_process.ts";
import { temporaryFolder } from "./testdata/postgres_runs.ts";

Deno.test("a checkout's path may mean something to a shell: the database is initialised, and served", async () => {
  await using temporary = await temporaryFolder();
  const account = await serverAccount();
  const binaries = await postgresBinaries(account, () => {});
  const odd = join(dirname(temporary.dataDir), 'a $HOME "b" `c`');
  const [programs, dataDir] = [join(odd, "native"), join(odd, "data")];
  await Deno.mkdir(dataDir, { recursive: true, mode: 0o755 });
  await new Deno.Command("cp", { args: ["-a", binaries.programs, programs] }).output();
  const cluster = await openCluster(dataDir, account, { ...binaries, programs }, false, () => {});
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  const settings = { listen_addresses: "127.0.0.1", unix_socket_directories: "" };
  const result = await startServer(cluster, listener.addr.port, settings);
  assert("stop" in result, "log" in result ? result.log : "");
  await result.stop();
});

Deno.test("copyOnce() gives every one of several copiers the whole folder, readable by all", async () => {
  await using temporary = await temporaryFolder();
  const folder = temporary.dataDir;
  const source = join(folder, "source");
  await Deno.mkdir(join(source, "bin"), { recursive: true, mode: 0o700 });
  for (let i = 0; i < 50; i++) await Deno.writeTextFile(join(source, "bin", `${i}`), "x", { mode: 0o700 });
  await Deno.symlink("1", join(source, "bin/link"));
  const copy = join(folder, "copy");
  await Promise.all(Array.from({ length: 5 }, async () => {
    assertEquals(await copyOnce(source, copy, () => {}), copy);
    assertEquals((await Array.fromAsync(Deno.readDir(join(copy, "bin")))).length, 51);
  }));
  assertEquals((await Deno.stat(join(copy, "bin/0"))).mode! & 0o777, 0o755);
  assertEquals(await Deno.readLink(join(copy, "bin/link")), "1");
  const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
  assertEquals(names.sort(), ["copy", "source"]); // no partial one is left
});
