import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { runTask } from "../../specs/support/run_task.ts";
import { homePaths, lockHome } from "./services.ts";

/** A home folder with something in it that looks like data. */
async function homeWithData() {
  const home = homePaths(await Deno.makeTempDir({ prefix: "orderflow_reset_" }), undefined);
  await Deno.mkdir(home.postgres, { recursive: true });
  await Deno.writeTextFile(join(home.postgres, "password"), "sesame");
  await Deno.writeTextFile(home.env, "DATABASE_URL='postgres://x'\n");
  return {
    ...home,
    left: () => [...Deno.readDirSync(home.home)].map(({ name }) => name).toSorted(),
    reset: (...flags: string[]) => runTask("reset", flags, { env: { ORDERFLOW_HOME: home.home } }),
    [Symbol.asyncDispose]: () => Deno.remove(join(home.home, ".."), { recursive: true }),
  };
}

Deno.test("deno task reset says what it would delete, deletes it, and then finds nothing", async () => {
  await using home = await homeWithData();
  const dry = await home.reset("--dry-run");
  assertEquals([dry.code, dry.out, dry.err], [
    0,
    `Would delete ${home.postgres}\nWould delete ${home.env}\n`,
    "",
  ]);
  assertEquals(home.left(), ["env", "postgres"]);
  const done = await home.reset(); // nobody is asked: its standard input is no terminal
  assertEquals([done.code, done.err], [0, ""]);
  assertStringIncludes(
    done.out,
    `To be deleted: ${home.postgres}\nTo be deleted: ${home.env}\nDeleted the embedded data in `,
  );
  assertEquals(home.left(), ["lock"]);
  const again = await home.reset("--yes");
  assertEquals([again.code, again.out], [0, `There is no embedded data in ${home.home}.\n`]);
});

Deno.test("deno task reset --json prints one object, and nothing else", async () => {
  await using home = await homeWithData();
  const found = [home.postgres, home.env];
  const dry = await home.reset("--json", "--dry-run");
  assertEquals([dry.code, JSON.parse(dry.out)], [0, { dryRun: true, found, deleted: [] }]);
  const done = await home.reset("--json");
  assertEquals([done.code, JSON.parse(done.out)], [0, { dryRun: false, found, deleted: found }]);
  const again = await home.reset("--json");
  assertEquals([again.code, JSON.parse(again.out)], [0, { dryRun: false, found: [], deleted: [] }]);
});

Deno.test("deno task reset ends with 1 while somebody uses the data, and with 64 for a wrong usage", async () => {
  await using home = await homeWithData();
  using _lock = await lockHome(home);
  const taken = await home.reset("--json");
  assertEquals([taken.code, taken.out], [1, ""]);
  assertStringIncludes(taken.err, `(process ${Deno.pid}). Stop that one first.`);
  const unknown = await home.reset("--force");
  assertEquals([unknown.code, unknown.out], [64, ""]);
  assertStringIncludes(unknown.err, "There is no flag --force");
  assertEquals(home.left(), ["env", "lock", "postgres"]);
});
