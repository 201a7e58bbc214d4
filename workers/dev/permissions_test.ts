import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { BROKER, PROCESSES } from "./processes.ts";

const ROOT = join(import.meta.dirname ?? "", "../..");
const SETS = [...new Set([BROKER, ...PROCESSES].map(({ permissions }) => permissions))];

for (const set of SETS) {
  Deno.test(`permission set "${set}" keeps files, programs, others' variables and other hosts out`, async () => {
    assertEquals(await runUnder(set, "try_everything.ts"), "[]\n");
  });
}

Deno.test("a permission set makes a variable that it does not list an error, not a silent default", async () => {
  const variable = "PAYMENT_PROVIDER_LATENCY_MS";
  assertStringIncludes(
    await runUnder("consumer", "read_variable.ts", variable),
    `Requires env access to "${variable}"`,
  );
  assertEquals(await runUnder("payments", "read_variable.ts", variable), "unset\n");
});

Deno.test("a permission set hides Postgres's own variables: the URL alone says where to connect", async () => {
  assertEquals(await runUnder("consumer", "read_variable.ts", "PGPASSWORD"), "unset\n");
});

/** Runs a script of testdata under a permission set of deno.json; answers with all that it printed. */
async function runUnder(set: string, script: string, ...args: string[]): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "--no-prompt", `-P=${set}`, `workers/dev/testdata/${script}`, ...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", PGPASSWORD: "sesame" },
  }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}
