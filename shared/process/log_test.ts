import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("./testdata/log_and_end.ts", import.meta.url));

/** The lines that a process which ends so has written to standard output. */
async function linesOf(end: string): Promise<string[]> {
  const args = ["run", "-q", "-A", "--no-check", SCRIPT, end];
  const { stdout } = await new Deno.Command(Deno.execPath(), { args, stdin: "null", stderr: "null" })
    .output();
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
}

Deno.test("whatever ends a process, its lines are written, but for the last moments before a SIGKILL", async () => {
  const both = ["info    First  n=1", "info    Second"];
  const cases = [
    ["return", both],
    ["throw", both],
    ["reject", both],
    ["exit", both],
    ["killed after a warning", [...both, "warning Third"]],
    ["killed", []], // so they do wait, and hold up nobody
  ] as const;
  await Promise.all(cases.map(async ([end, lines]) => assertEquals(await linesOf(end), lines, end)));
});
