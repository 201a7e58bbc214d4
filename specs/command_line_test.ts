/**
 * What all tasks of the command line have in common.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { runTask } from "./support/run_task.ts";

const TASKS = ["status", "replay", "redrive", "audit", "load", "bench", "chaos", "reset"];

Deno.test("every task of the command line says with --help what it takes, how it ends, and gives an example", async () => {
  const results = await Promise.all(
    TASKS.map(async (task) => [task, await runTask(task, ["--help"])] as const),
  );
  for (const [task, { code, out, err }] of results) {
    assertEquals([code, err], [0, ""], task);
    for (
      const part of [
        `deno task ${task}`,
        "--json ",
        "--help ",
        "64 for a wrong usage",
        `Example: deno task ${task} `,
      ]
    ) {
      assertStringIncludes(out, part, task);
    }
    assert(/nds with\s+0 /.test(out), `${task} does not say how it ends`);
  }
});

Deno.test("every task of the command line ends with 64 and one line on standard error for a flag that there is not", async () => {
  const results = await Promise.all(
    TASKS.map(async (task) => [task, await runTask(task, ["--no-such"])] as const),
  );
  for (const [task, result] of results) {
    const err = `There is no flag --no-such (deno task ${task} --help says more)\n`;
    assertEquals(result, { code: 64, out: "", err });
  }
});
