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
    ["goes on", both], // without the line that could not be made
    ["throw", both],
    ["reject", both],
    ["exit", both],
    ["killed after a warning", [...both, "warning Third"]],
    ["killed", []], // so they do wait, and hold up nobody
  ] as const;
  await Promise.all(cases.map(async ([end, lines]) => assertEquals(await linesOf(end), lines, end)));
});

const isLinux = Deno.build.os === "linux"; // which has a device that is always full

Deno.test("a process goes on where its log cannot be written", { ignore: !isLinux }, async () => {
  const args = ["-c", 'exec "$0" run -q -A --no-check "$1" "goes on" > /dev/full', Deno.execPath(), SCRIPT];
  const { code, stderr } = await new Deno.Command("/bin/sh", { args, stdin: "null" }).output();
  assertEquals([code, new TextDecoder().decode(stderr)], [0, "went on\n"]);
});
