import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { removePostgres } from "./postgres.ts";
import { reaches, serverAccount } from "./postgres_process.ts";
import { query, start, supervise, temporaryFolder } from "./testdata/postgres_runs.ts";

const ignore = Deno.uid() !== 0; // only root hands over to another account
const account = await serverAccount();
const project = join(import.meta.dirname ?? "", "../..");

Deno.test({
  name:
    "startPostgres() as root below a closed folder keeps data where its account can reach it, and uses nobody else's",
  ignore,
  fn: async () => {
    await using folder = await temporaryFolder(0o700);
    const first = await start(folder);
    await query(first.url, "create table kept as select 'still here' as value");
    await first.stop();
    const elsewhere = await Deno.readLink(join(folder.dataDir, "server"));
    const second = await start(folder);
    assertEquals(await query(second.url, "select value from kept"), { value: "still here" });
    await second.stop();
    await Deno.chown(elsewhere, 12345, 12345);
    await assertRejects(() => start(folder), Error, "belongs to the user with id 12345");
    await removePostgres(folder.dataDir);
    await assertRejects(() => Deno.stat(elsewhere), Deno.errors.NotFound);
    await assertRejects(() => Deno.stat(folder.dataDir), Deno.errors.NotFound);
  },
});

Deno.test({
  name: "startPostgres() as an ordinary user runs under that user",
  // Run by another user than root, every test here is this test; and root's other account must reach Deno.
  ignore: ignore || !(await reaches(account, Deno.execPath(), project)),
  fn: async () => {
    assert(account);
    const home = await Deno.makeTempDir({ prefix: "orderflow_postgres_test_" });
    await Deno.chown(home, account.uid, account.gid);
    const env = { HOME: home, DENO_DIR: join(home, "deno") };
    const dataDir = join(home, "data");
    try {
      const supervisor = await supervise(dataDir, "postgres:", { command: { ...account, env } });
      assertEquals(await query(supervisor.url, "select 'well' as state"), { state: "well" });
      assertEquals((await Deno.lstat(join(dataDir, "server"))).uid, account.uid);
      await supervisor.end();
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  },
});

Deno.test({
  name: "startPostgres() as root from a checkout below a closed folder runs a copy of the programs",
  ignore,
  fn: async () => {
    const closed = await Deno.makeTempDir({ prefix: "orderflow_postgres_test_" }); // mode 0700
    const dataDir = join(closed, "data");
    try {
      for (const path of ["deno.json", "deno.lock", "node_modules", "shared", "specs"]) {
        await new Deno.Command("cp", { args: ["-a", join(project, path), join(closed, path)] }).output();
      }
      const supervisor = await supervise(dataDir, "postgres:", { project: closed });
      assertEquals(await query(supervisor.url, "select 'well' as state"), { state: "well" });
      await supervisor.end();
    } finally {
      await removePostgres(dataDir);
      await Deno.remove(closed, { recursive: true });
    }
  },
});
