import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { serverAccount } from "./postgres_account.ts";
import { postgresBinaries } from "./postgres_binaries.ts";
import {
  eventually,
  isAlive,
  postmasterPid,
  query,
  serverPid,
  start,
  supervise,
  temporaryFolder,
} from "./testdata/postgres_runs.ts";

Deno.test("startPostgres() ends its server when its process is killed, and the next start finds all data", async () => {
  await using folder = await temporaryFolder();
  const supervisor = await supervise(folder.dataDir, "postgres:");
  await query(supervisor.url, "create table kept as select 'still here' as value");
  const pid = await serverPid(folder.dataDir);
  supervisor.child.kill("SIGKILL");
  await supervisor.end();
  await eventually(() => !isAlive(pid), "the server ends");
  await using server = await start(folder);
  assertEquals(await query(server.url, "select value from kept"), { value: "still here" });
});

Deno.test("startPostgres() can follow at once on a process that was killed", async () => {
  await using folder = await temporaryFolder();
  const supervisor = await supervise(folder.dataDir, "postgres:");
  supervisor.child.kill("SIGKILL");
  await using server = await start(folder);
  assertEquals(await query(server.url, "select 'well' as state"), { state: "well" });
  await supervisor.end();
});

Deno.test("startPostgres() starts over after it was killed while initialising", async () => {
  await using folder = await temporaryFolder();
  const supervisor = await supervise(folder.dataDir, "initialising");
  const unfinished = async () => {
    const names = await Array.fromAsync(Deno.readDir(join(folder.dataDir, "server")), ({ name }) => name);
    return names.filter((name) => name.startsWith("unfinished-"));
  };
  await eventually(async () => (await unfinished()).length === 1, "initdb has begun");
  supervisor.child.kill("SIGKILL");
  await supervisor.end();
  await using server = await start(folder);
  assertEquals(await query(server.url, "select 'well' as state"), { state: "well" });
});

Deno.test("startPostgres() is not reached by the terminal's Ctrl-C", async () => {
  await using folder = await temporaryFolder();
  const supervisor = await supervise(folder.dataDir, "postgres:");
  Deno.kill(-supervisor.child.pid, "SIGINT"); // what a terminal does: signals the whole process group
  await supervisor.waitFor("SIGINT");
  assertEquals(await query(supervisor.url, "select 'well' as state"), { state: "well" });
  await supervisor.end();
});

Deno.test("startPostgres() stops a server that was left behind without a leash", async () => {
  await using folder = await temporaryFolder();
  await (await start(folder)).stop();
  const account = await serverAccount();
  const { folder: programs } = await postgresBinaries(account, () => {});
  const data = await Deno.realPath(join(folder.dataDir, "server/data"));
  const leftover = new Deno.Command(join(programs, "bin/postgres"), {
    args: ["-D", data, "-c", "listen_addresses=", "-c", `unix_socket_directories=${data}`], // or it would end by itself
    ...account,
    cwd: "/",
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const isReady = async () =>
    /^ready *$/m.test(await Deno.readTextFile(postmasterPid(folder.dataDir)).catch(() => ""));
  await eventually(isReady, "it is ready"); // stopped before that, it ends with 1
  await using server = await start(folder);
  assertEquals((await leftover.status).code, 0);
  assertEquals(await query(server.url, "select 'well' as state"), { state: "well" });
});

Deno.test("startPostgres() is not misled by a postmaster.pid whose process id is another program's", async () => {
  await using folder = await temporaryFolder();
  await (await start(folder)).stop();
  const account = await serverAccount();
  const bystander = new Deno.Command("/bin/sleep", { args: ["60"], ...account, cwd: "/" }).spawn();
  try {
    const data = await Deno.realPath(join(folder.dataDir, "server/data"));
    const stale = `${bystander.pid}\n${data}\n1\n5432\n\n127.0.0.1\n   1234         0\nready   \n`;
    const path = postmasterPid(folder.dataDir);
    await Deno.writeTextFile(path, stale, { mode: 0o600 });
    if (account) await Deno.chown(path, account.uid, account.gid);
    await using server = await start(folder);
    assertEquals(await query(server.url, "select 'well' as state"), { state: "well" });
    assert(isAlive(bystander.pid));
  } finally {
    bystander.kill("SIGKILL");
    await bystander.status;
  }
});

Deno.test("startPostgres() recovers after its server was killed", async () => {
  await using folder = await temporaryFolder();
  const first = await start({ ...folder, durable: true }); // else the last commits may be gone
  await query(first.url, "create table kept as select 'still here' as value");
  Deno.kill(await serverPid(folder.dataDir), "SIGKILL");
  await first.stop();
  await using second = await start(folder);
  assertEquals(await query(second.url, "select value from kept"), { value: "still here" });
});
