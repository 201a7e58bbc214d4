import { assertEquals } from "@std/assert";
import { eventually } from "../../specs/support/eventually.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { createAlarm, keepDoing } from "./keep_doing.ts";
import type { Logger } from "./log.ts";
import { withTimeout } from "./stop.ts";

const HOUR_MS = 3_600_000;

/** A log that keeps what it is warned of. */
function warnings(): { readonly log: Logger; readonly told: unknown[] } {
  const told: unknown[] = [];
  const log: Logger = Object.create(testLog, {
    warning: { value: (message: string, properties: unknown) => told.push([message, properties]) },
  });
  return { log, told };
}

Deno.test("keepDoing() tells of failures in a row once, goes on, and tells again after a round that worked", async () => {
  const { log, told } = warnings();
  const stop = new AbortController();
  const outcomes = ["bad", "bad", "good", "bad", "bad"];
  let rounds = 0;
  const { running } = keepDoing("Sweeping", () => {
    const outcome = outcomes[rounds++];
    if (outcome === undefined) stop.abort();
    return outcome === "bad" ? Promise.reject(new Error(`no broom ${rounds}`)) : Promise.resolve();
  }, { everyMs: 1, log, stop: stop.signal });
  await running;
  assertEquals(told, [
    ["Sweeping failed; trying again", { error: "no broom 1" }],
    ["Sweeping failed; trying again", { error: "no broom 4" }],
  ]);
});

Deno.test("keepDoing() pauses for as long as a round says, and does the next one at once when it is woken", async () => {
  const stop = new AbortController();
  let rounds = 0;
  const chore = keepDoing("Sweeping", () => {
    rounds++;
    if (rounds === 2) chore.wake(); // during a round: the next one follows it
    return Promise.resolve(rounds === 1 ? 0 : HOUR_MS);
  }, { everyMs: HOUR_MS, log: testLog, stop: stop.signal });
  await eventually("the pause of an hour", () => rounds === 3);
  chore.wake();
  await eventually("the round that was asked for", () => rounds === 4);
  stop.abort();
  await chore.running;
  assertEquals(rounds, 4);
});

Deno.test("keepDoing() is woken no sooner than its shortest pause is over", async () => {
  const stop = new AbortController();
  const startedAtMs: number[] = [];
  const chore = keepDoing("Sweeping", () => {
    startedAtMs.push(performance.now());
    return Promise.resolve();
  }, { everyMs: HOUR_MS, atLeastMs: 100, log: testLog, stop: stop.signal });
  chore.wake();
  const [first = 0, second = 0] = await eventually("two rounds", () => startedAtMs.length > 1 && startedAtMs);
  stop.abort();
  await chore.running;
  assertEquals(second - first >= 99, true, `${second - first} ms`);
});

Deno.test("keepDoing() stops although a round hangs, no later than its grace allows", async () => {
  const { log, told } = warnings();
  const stop = new AbortController();
  const hanging = Promise.withResolvers<void>();
  const options = { everyMs: 1, graceMs: 20, log, stop: stop.signal };
  const { running } = keepDoing("Sweeping", () => hanging.promise, options);
  stop.abort();
  await running;
  hanging.reject(new Error("what it met with then is nobody's business"));
  assertEquals(told, []);
});

Deno.test("createAlarm() waits no longer than it was told, for a ring, or for the end", async () => {
  const stop = new AbortController();
  const alarm = createAlarm(stop.signal);
  assertEquals(await alarm.wait(1), false);
  alarm.ring();
  assertEquals(await withTimeout(5000, alarm.wait(HOUR_MS)), true, "a ring before the wait");
  const waiting = alarm.wait(HOUR_MS);
  alarm.ring();
  assertEquals([await waiting, await alarm.wait(1)], [true, false], "one ring ends one wait");
  const last = alarm.wait(HOUR_MS);
  stop.abort();
  assertEquals([await last, await alarm.wait(HOUR_MS)], [false, false]);
});
