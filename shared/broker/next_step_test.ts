import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { EARLY_PATIENCE_MS, nextStep, retryDelayMs, type Verdict } from "./next_step.ts";

const fresh = { retries: 0, polls: 0, ageMs: 0 };
const early: Verdict = { kind: "early", awaits: "PAID" };
const failed: Verdict = { kind: "failed", error: "timed out" };

Deno.test("nextStep() acks what is done and what is a duplicate", () => {
  assertEquals(nextStep({ kind: "done" }, fresh, 3, 0), { kind: "ack" });
  assertEquals(nextStep({ kind: "duplicate" }, fresh, 3, 0), { kind: "ack" });
});

Deno.test("nextStep() gives up at once on what can never be processed", () => {
  const verdict: Verdict = { kind: "rejected", reason: "unknown version", detail: "version 2" };
  assertEquals(nextStep(verdict, fresh, 3, 0), {
    kind: "dead-letter",
    reason: "unknown version",
    detail: "version 2",
  });
});

Deno.test("nextStep() looks at an early event again within milliseconds, and spends no retry on that", () => {
  assertEquals(nextStep(early, fresh, 3, 0), { kind: "retry", delayMs: 2, spent: false });
  const later = nextStep(early, { retries: 0, polls: 30, ageMs: EARLY_PATIENCE_MS - 1 }, 3, 0);
  assertEquals(later, { kind: "retry", delayMs: 50, spent: false });
});

Deno.test("nextStep() dead-letters an early event only after its delayed retries", () => {
  const old = { polls: 200, ageMs: EARLY_PATIENCE_MS };
  for (const retries of [0, 1, 2]) {
    assertEquals(nextStep(early, { ...old, retries }, 3, 0.5).kind, "retry");
  }
  assertEquals(nextStep(early, { ...old, retries: 3 }, 3, 0.5).kind, "dead-letter");
});

Deno.test("nextStep() retries a failure as often as configured, with growing delay, then keeps its error", () => {
  fc.assert(fc.property(fc.nat(10), fc.double({ min: 0, max: 0.999, noNaN: true }), (maxRetries, random) => {
    let last = 0;
    for (let retries = 0; retries < maxRetries; retries++) {
      const step = nextStep(failed, { ...fresh, retries }, maxRetries, random);
      assert(step.kind === "retry" && step.spent);
      assert(step.delayMs >= last && step.delayMs <= 72_000);
      last = step.delayMs;
    }
    assertEquals(nextStep(failed, { ...fresh, retries: maxRetries }, maxRetries, random), {
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
