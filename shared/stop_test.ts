import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";

Deno.test("a supervised process that takes its time to stop ends with 0, not as after a second signal", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "--no-prompt", fileURLToPath(new URL("testdata/stop_slowly.ts", import.meta.url))],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const output = child.stdout.getReader();
  await output.read(); // it listens
  child.kill("SIGTERM");
  assertEquals((await child.status).code, 0);
  await output.cancel();
  await child.stdin.close().catch(() => {});
});
