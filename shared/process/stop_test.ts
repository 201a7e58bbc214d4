import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fileURLToPath } from "node:url";
import { createAlarm, signalChild, withTimeout } from "./stop.ts";

const SCRIPT = fileURLToPath(new URL("testdata/log_and_end.ts", import.meta.url));

Deno.test("a supervised process that takes its time to stop ends with 0, not as after a second signal", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", "--no-check", SCRIPT, "slowly, when asked"],
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

Deno.test("signalChild() signals a child that runs, lets one be that has ended, and passes on what stands in the way", async () => {
  const child = new Deno.Command("/bin/sh", { args: ["-c", "exec sleep 60"] }).spawn();
  signalChild(child, "SIGTERM");
  assertEquals((await child.status).signal, "SIGTERM");
  signalChild(child, "SIGTERM");
  const kill = () => {
    throw new Deno.errors.NotCapable("Requires run access");
  };
  assertThrows(() => signalChild({ kill }, "SIGTERM"), Deno.errors.NotCapable);
});

Deno.test("withTimeout() gives what comes in time, null when nothing has, and tells nobody of what comes later", async () => {
  assertEquals(await withTimeout(60_000, Promise.resolve(7)), 7);
  await assertRejects(() => withTimeout(60_000, Promise.reject(new Error("in time"))), Error, "in time");
  const { promise, reject } = Promise.withResolvers<never>();
  assertEquals(await withTimeout(1, promise), null);
  reject(new Error("late")); // an unhandled rejection would end the test run
});

const HOUR_MS = 3_600_000;

Deno.test("createAlarm() waits no longer than it was told, for a ring, or for the end", async () => {
  const stop = new AbortController();
  const alarm = createAlarm(stop.signal);
  assertEquals(await alarm.wait(1), false);
  alarm.ring();
  assertEquals(await alarm.wait(HOUR_MS), true, "a ring before the wait");
  const waiting = alarm.wait(HOUR_MS);
  alarm.ring();
  assertEquals([await waiting, await alarm.wait(1)], [true, false], "one ring ends one wait");
  const last = alarm.wait(HOUR_MS);
  stop.abort();
  assertEquals([await last, await alarm.wait(HOUR_MS)], [false, false]);
});
