import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { postgresBinaries } from "./postgres_files.ts";
import { serverAccount } from "./postgres_process.ts";
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

Deno.test("a server ends when its process is killed, not at the terminal's Ctrl-C; the next start finds all data", async () => {
  await using folder = await temporaryFolder();
  const first = await supervise(folder.dataDir, "postgres:");
  Deno.kill(-first.child.pid, "SIGINT"); // what a terminal does: signals the whole process group
  await first.waitFor("SIGINT");
  await query(first.url, "create table kept as select 'still here' as value");
  const pid = await serverPid(folder.dataDir);
  first.child.kill("SIGKILL");
  await first.end();
  await eventually(() => !isAlive(pid), "the server ends");

  const second = await supervise(folder.dataDir, "postgres:");
  second.child.kill("SIGKILL");
  await using server = await start(folder); // follows at once
  assertEquals(await query(server.url, "select value from kept"), { value: "still here" });
  await second.end();
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

Deno.test("startPostgres() stops a server left behind without a leash, and no other program whose id it had", async () => {
  await using folder = await temporaryFolder();
  await (await start(folder)).stop();
  const account = await serverAccount();
  const { programs } = await postgresBinaries(account, () => {});
  const data = await Deno.realPath(join(folder.dataDir, "server/data"));
  const leftover = new Deno.Command(join(programs, "bin/postgres"), {
    args: ["-D", data, "-c", "listen_addresses=", "-c", `unix_socket_directories=${data}`], // or it would end by itself
    ...account,
    cwd: "/",
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const pidFile = postmasterPid(folder.dataDir);
  const isReady = async () => /^ready *$/m.test(await Deno.readTextFile(pidFile).catch(() => ""));
  await eventually(isReady, "it is ready"); // stopped before that, it ends with 1
  const first = await start(folder);
  assertEquals((await leftover.status).code, 0);
  await first.stop();

  const bystander = new Deno.Command("/bin/sleep", { args: ["60"], ...account, cwd: "/" }).spawn();
  try {
    const stale = `${bystander.pid}\n${data}\n1\n5432\n\n127.0.0.1\n   1234         0\nready   \n`;
    await Deno.writeTextFile(pidFile, stale, { mode: 0o600 });
    if (account) await Deno.chown(pidFile, account.uid, account.gid);
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
