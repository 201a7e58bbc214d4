import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { nextStep, retryDelayMs, type Verdict } from "./next_step.ts";

const fresh = { retries: 0, looks: 0, inHandMs: 0, ageMs: 0 };
const patience = { maxRetries: 3, earlyMs: 60_000 };
const early: Verdict = { kind: "early", awaits: "PAID" };
const failed: Verdict = { kind: "failed", error: "timed out" };

Deno.test("nextStep() acks what is done and what is a duplicate", () => {
  assertEquals(nextStep({ kind: "done" }, fresh, patience, 0), { kind: "ack" });
  assertEquals(nextStep({ kind: "duplicate" }, fresh, patience, 0), { kind: "ack" });
});

Deno.test("nextStep() gives up at once on what can never be processed", () => {
  const verdict: Verdict = { kind: "rejected", reason: "unknown version", detail: "version 2" };
  assertEquals(nextStep(verdict, fresh, patience, 0), {
    kind: "dead-letter",
    reason: "unknown version",
    detail: "version 2",
  });
});

Deno.test("nextStep() looks at an early event again within milliseconds, and keeps it in hand for a second", () => {
  assertEquals(nextStep(early, fresh, patience, 0), { kind: "look-again", delayMs: 2 });
  const later = nextStep(early, { ...fresh, looks: 30, inHandMs: 999, ageMs: 999 }, patience, 0);
  assertEquals(later, { kind: "look-again", delayMs: 50 });
});

Deno.test("nextStep() looks again, for as long as it takes, at what waits for an answer in this very process", () => {
  const old = { ...fresh, looks: 30, inHandMs: 600_000, ageMs: 600_000 };
  assertEquals(nextStep({ kind: "waiting" }, fresh, patience, 0), { kind: "look-again", delayMs: 2 });
  assertEquals(nextStep({ kind: "waiting" }, old, patience, 0), { kind: "look-again", delayMs: 50 });
});

Deno.test("nextStep() has an early event delivered again, ever more rarely, and spends no retry while it is young", () => {
  const delays = [1000, 4000, 59_999].map((ageMs) => {
    const step = nextStep(early, { retries: 0, looks: 30, inHandMs: 1000, ageMs }, patience, 0.5);
    assert(step.kind === "retry");
    assertEquals([step.retries, step.error], [0, "too early, awaits PAID"]);
    return step.delayMs;
  });
  assertEquals(delays, [1000, 4000, 15_000]);
});

Deno.test("nextStep() dead-letters an early event only after its delayed retries", () => {
  const old = { looks: 30, inHandMs: 1000, ageMs: patience.earlyMs };
  for (const retries of [0, 1, 2]) {
    const step = nextStep(early, { ...old, retries }, patience, 0.5);
    assert(step.kind === "retry");
    assertEquals(step.retries, retries + 1);
  }
  assertEquals(nextStep(early, { ...old, retries: 3 }, patience, 0.5), {
    kind: "dead-letter",
    reason: "too early",
    detail: "too early, awaits PAID",
  });
});

Deno.test("nextStep() retries a failure as often as configured, with growing delay, then keeps its error", () => {
  fc.assert(fc.property(fc.nat(10), fc.double({ min: 0, max: 0.999, noNaN: true }), (maxRetries, random) => {
    const patient = { ...patience, maxRetries };
    let last = 0;
    for (let retries = 0; retries < maxRetries; retries++) {
      const step = nextStep(failed, { ...fresh, retries }, patient, random);
      assert(step.kind === "retry");
      assertEquals([step.retries, step.error], [retries + 1, "timed out"]);
      assert(step.delayMs >= last && step.delayMs <= 72_000);
      last = step.delayMs;
    }
    assertEquals(nextStep(failed, { ...fresh, retries: maxRetries }, patient, random), {
      kind: "dead-letter",
      reason: "retries exhausted",
      detail: "timed out",
    });
  }));
});

Deno.test("retryDelayMs() grows from half a second by four, spread by a fifth", () => {
  assertEquals([0, 1, 2, 3, 4].map((n) => retryDelayMs(n, 0.5)), [500, 2000, 8000, 32_000, 60_000]);
  assertEquals(retryDelayMs(0, 0), 400);
});
