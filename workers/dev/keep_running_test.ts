import { assertEquals } from "@std/assert";
import { EXIT_CONFIG } from "../../shared/process.ts";
import { signalChild } from "../../shared/signal_child.ts";
import { type Child, describeEnd, failuresAfter, keepRunning, restartDelayMs } from "./keep_running.ts";

Deno.test("restartDelayMs() doubles from 200 ms up to 5 s", () => {
  assertEquals([1, 2, 3, 4, 5, 6, 50].map(restartDelayMs), [200, 400, 800, 1600, 3200, 5000, 5000]);
});

Deno.test("failuresAfter() counts ends in a row, and starts over after 10 s of running", () => {
  assertEquals(failuresAfter(0, 100), 1);
  assertEquals(failuresAfter(4, 9_999), 5);
  assertEquals(failuresAfter(4, 10_000), 1);
});

Deno.test("describeEnd() names the signal, else the code", () => {
  assertEquals(describeEnd({ code: 137, signal: "SIGKILL" }), "was ended by SIGKILL");
  assertEquals(describeEnd({ code: 1, signal: null }), "ended with code 1");
});

Deno.test("keepRunning() starts a process again when it ends, and stops it for good", async () => {
  const seen: string[] = [];
  const { promise: restarted, resolve } = Promise.withResolvers<void>();
  const scripts = ["exit 3", "sleep 60"];
  const kept = keepRunning({
    start: () => shell(scripts.shift() ?? "exit 0"),
    onEnd: (how, delayMs) => seen.push(`${how}, ${delayMs}`),
    onRestart: () => resolve(),
    onWrongConfiguration: () => seen.push("wrong configuration"),
  });
  await restarted;
  await kept.stop(5000);
  assertEquals(seen, ["ended with code 3, 200"]);
  assertEquals(scripts, []);
});

Deno.test("keepRunning() restarts at once on demand, cutting a pause short", async () => {
  const { promise: ended, resolve: onEnd } = Promise.withResolvers<void>();
  let restarts = 0;
  const { promise: restarted, resolve: onRestart } = Promise.withResolvers<void>();
  const scripts = ["exit 1", "sleep 60", "sleep 60"];
  const kept = keepRunning({
    start: () => shell(scripts.shift() ?? "exit 0"),
    onEnd: () => onEnd(),
    onRestart: () => {
      if (++restarts === 2) onRestart();
      else kept.restart(5000);
    },
    onWrongConfiguration: () => {},
  });
  await ended;
  await kept.restart(5000);
  await restarted;
  await kept.stop(5000);
  assertEquals(restarts, 2);
});

Deno.test("keepRunning() does not start again what says that its configuration is wrong", async () => {
  const { promise: wrong, resolve } = Promise.withResolvers<void>();
  let starts = 0;
  const kept = keepRunning({
    start: () => (starts++, shell(`exit ${EXIT_CONFIG}`)),
    onEnd: () => {},
    onRestart: () => {},
    onWrongConfiguration: resolve,
  });
  await wrong;
  await kept.stop(5000);
  assertEquals(starts, 1);
});

Deno.test("keepRunning() kills a process that does not stop when asked", async () => {
  const deaf = new Deno.Command("/bin/sh", {
    args: ["-c", "trap '' TERM; echo deaf; exec sleep 60"],
    stdout: "piped",
  }).spawn();
  const output = deaf.stdout.getReader();
  await output.read(); // by now it ignores the signal
  const kept = keepRunning({
    start: () => ({ pid: deaf.pid, ended: deaf.status, signal: (name) => signalChild(deaf, name) }),
    onEnd: () => {},
    onRestart: () => {},
    onWrongConfiguration: () => {},
  });
  await kept.stop(300);
  assertEquals((await deaf.status).signal, "SIGKILL");
  await output.cancel();
});

function shell(script: string): Child {
  const child = new Deno.Command("/bin/sh", { args: ["-c", `${script}`] }).spawn();
  return { pid: child.pid, ended: child.status, signal: (name) => signalChild(child, name) };
}
