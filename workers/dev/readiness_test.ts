import { assertEquals } from "@std/assert";
import { untilReady } from "./readiness.ts";

Deno.test("untilReady() waits until each check was met once, and a failing look is just not yet", async () => {
  let looks = 0;
  const checks = [
    { name: "at once", isReady: () => Promise.resolve(true) },
    {
      name: "third time",
      isReady: () => ++looks < 3 ? Promise.reject(new Error("refused")) : Promise.resolve(true),
    },
  ];
  const stop = new AbortController().signal;
  assertEquals(await untilReady(checks, { patienceMs: 60_000, onLate: () => {}, stop }), true);
  assertEquals(looks, 3);
});

Deno.test("untilReady() names once who is late, goes on waiting, and ends with the stop", async () => {
  const stop = new AbortController();
  const late: (readonly string[])[] = [];
  let looks = 0;
  const checks = [
    { name: "ready", isReady: () => Promise.resolve(true) },
    { name: "never", isReady: () => (++looks === 3 && stop.abort(), Promise.resolve(false)) },
  ];
  const onLate = (names: readonly string[]) => late.push(names);
  assertEquals(await untilReady(checks, { patienceMs: -1, onLate, stop: stop.signal }), false);
  assertEquals(late, [["never"]]);
});
