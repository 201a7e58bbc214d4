import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { copyOnce, openCluster, postgresBinaries } from "./postgres_files.ts";
import {
  parsePostmasterPid,
  runScript,
  serverAccount,
  startFailure,
  startServer,
} from "./postgres_process.ts";
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
  assert(result.server, result.log);
  await result.server.stop();
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

Deno.test("runScript() passes input and no environment, answers with output and code, and ends what takes too long", async () => {
  const script = 'cat; echo "home:$HOME" >&2; exit 3';
  const result = await runScript(undefined, script, [], { stdin: "in " });
  assertEquals(result, { code: 3, output: "in home:\n" });
  assertEquals((await runScript(undefined, "exit", [], { stdin: "x".repeat(1_000_000) })).code, 0);
  assertEquals((await runScript(undefined, "exec sleep 60", [], { timeoutMs: 50 })).code, 143); // 128 + SIGTERM
});

Deno.test("parsePostmasterPid() reads process id and state, and takes a file that is still being written", () => {
  const text = "8128\n/data\n1795364567\n38295\n\n127.0.0.1\n  1234   0\nready   \n";
  assertEquals(parsePostmasterPid(text), { pid: 8128, state: "ready" });
  assertEquals(parsePostmasterPid("8128\n/data\n"), { pid: 8128, state: undefined });
  assertEquals(parsePostmasterPid("junk\n"), { pid: undefined, state: undefined });
});

Deno.test("startFailure() tells failures that pass by themselves from those that do not", () => {
  const bind = 'LOG:  could not bind IPv4 address "127.0.0.1": ';
  assertEquals(startFailure(`${bind}Address already in use\nFATAL:  could not create`), "port taken");
  assertEquals(startFailure(`${bind}Permission denied`), "other");
  assertEquals(startFailure('FATAL:  lock file "postmaster.pid" already exists'), "still stopping");
  const shared = "FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use";
  assertEquals(startFailure(shared), "still stopping");
});
