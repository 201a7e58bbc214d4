import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { TransientError } from "../process/errors.ts";
import { type DomainEvent, makeEvent, parseEvent, type ReceivedEvent } from "../events.ts";
import { nextStep, type Outcome, planAcks, type Processable, processBatch, retryDelayMs } from "./settle.ts";

const TYPES = ["order.created"] as const;

const done = (events: readonly ReceivedEvent[]) =>
  Promise.resolve(events.map((): Outcome => ({ kind: "done" })));

Deno.test("processBatch() rejects what is no event without troubling the handler, and handles the rest", async () => {
  const batch = [delivery("{"), delivery(order(1)), delivery(new Uint8Array([0xff, 0xfe]))];
  const seen: number[] = [];
  const outcomes = await processBatch(batch, TYPES, (events) => {
    seen.push(events.length);
    return done(events);
  });
  assertEquals(batch.map((d) => outcomes.get(d)?.kind), ["rejected", "done", "rejected"]);
  assertEquals(seen, [1]);
});

Deno.test("processBatch() rejects an event that is not for this consumer", async () => {
  const batch = [delivery(order(1))];
  const outcomes = await processBatch(
    batch,
    ["payment.failed"],
    () => Promise.reject(new Error("must not be called")),
  );
  assertEquals([...outcomes.values()], [
    { kind: "rejected", reason: "unexpected type", detail: "order.created is not for this consumer" },
  ]);
});

Deno.test("processBatch() hands an event that stands twice in a batch to the handler one after the other", async () => {
  const twice = order(1);
  const batch = [delivery(twice), delivery(order(2)), delivery(twice), delivery(twice)];
  const seen: string[][] = [];
  const outcomes = await processBatch(batch, TYPES, (events) => {
    const ids = events.map(({ event }) => event.eventId);
    const known = new Set(seen.flat());
    seen.push(ids);
    return Promise.resolve(ids.map((id): Outcome => ({ kind: known.has(id) ? "duplicate" : "done" })));
  });
  for (const ids of seen) assertEquals(new Set(ids).size, ids.length);
  assertEquals(batch.map((d) => outcomes.get(d)?.kind), ["done", "done", "duplicate", "duplicate"]);
});

Deno.test("processBatch() gives a repeat of what was not processed the same outcome, without trying again", async () => {
  const twice = order(1);
  const batch = [delivery(twice), delivery(twice)];
  let calls = 0;
  const outcomes = await processBatch(batch, TYPES, () => {
    calls++;
    return Promise.resolve([{ kind: "early", awaits: "PAID" }]);
  });
  assertEquals(batch.map((d) => outcomes.get(d)?.kind), ["early", "early"]);
  assertEquals(calls, 1);
});

Deno.test("processBatch() lets one event that breaks the batch harm only itself", async () => {
  const batch = Array.from({ length: 9 }, (_, i) => delivery(order(i)));
  const culprit = batch[4]?.parsed;
  assert(culprit?.ok);
  for (
    const [error, kind] of [[new Error("check violated"), "rejected"], [new TransientError("late"), "failed"]]
  ) {
    const outcomes = await processBatch(
      batch,
      TYPES,
      (events) =>
        events.some(({ event }) => event.eventId === culprit.event.eventId)
          ? Promise.reject(error)
          : done(events),
    );
    assertEquals(
      batch.map((d) => outcomes.get(d)?.kind),
      batch.map((_, i) => i === 4 ? kind : "done"),
    );
  }
});

Deno.test("processBatch() blames nobody for an outage", async () => {
  const outage = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
  await assertRejects(() =>
    processBatch([delivery(order(1)), delivery(order(2))], TYPES, () => Promise.reject(outage))
  );
});

function order(n: number): string {
  const id = `00000000-0000-0000-0000-${String(n).padStart(12, "0")}`;
  const data = { orderId: id, userId: id, courseId: id, amount: "1.00" };
  return JSON.stringify(
    makeEvent("order.created", data, { correlationId: "c", traceparent: null }, new Date()).event,
  );
}

function delivery(body: string | Uint8Array<ArrayBuffer>): Processable<DomainEvent> {
  const content = typeof body === "string" ? new TextEncoder().encode(body) : body;
  return {
    parsed: parseEvent(content),
    traceparent: null,
    retryState: { retries: 0, ageMs: 0 },
    mayBeRepeat: false,
  };
}

const fresh = { retries: 0, looks: 0, unackedMs: 0, ageMs: 0 };
const retryPolicy = { maxRetries: 3, earlyMs: 60_000 };
const early: Outcome = { kind: "early", awaits: "PAID" };
const failed: Outcome = { kind: "failed", error: "timed out" };

Deno.test("nextStep() acks what is done and what is a duplicate", () => {
  assertEquals(nextStep({ kind: "done" }, fresh, retryPolicy, 0), { kind: "ack" });
  assertEquals(nextStep({ kind: "duplicate" }, fresh, retryPolicy, 0), { kind: "ack" });
});

Deno.test("nextStep() gives up at once on what can never be processed", () => {
  const outcome: Outcome = { kind: "rejected", reason: "unknown version", detail: "version 2" };
  assertEquals(nextStep(outcome, fresh, retryPolicy, 0), {
    kind: "dead-letter",
    reason: "unknown version",
    detail: "version 2",
  });
});

Deno.test("nextStep() looks at an early event again within milliseconds, and keeps it in hand for a second", () => {
  assertEquals(nextStep(early, fresh, retryPolicy, 0), { kind: "look-again", delayMs: 2 });
  const later = nextStep(early, { ...fresh, looks: 30, unackedMs: 999, ageMs: 999 }, retryPolicy, 0);
  assertEquals(later, { kind: "look-again", delayMs: 50 });
});

Deno.test("nextStep() looks again, for as long as it takes, at what waits for an answer in this very process", () => {
  const old = { ...fresh, looks: 30, unackedMs: 600_000, ageMs: 600_000 };
  assertEquals(nextStep({ kind: "waiting" }, fresh, retryPolicy, 0), { kind: "look-again", delayMs: 2 });
  assertEquals(nextStep({ kind: "waiting" }, old, retryPolicy, 0), { kind: "look-again", delayMs: 50 });
});

Deno.test("nextStep() has an early event delivered again, ever more rarely, and spends no retry while it is young", () => {
  const delays = [1000, 4000, 59_999].map((ageMs) => {
    const step = nextStep(early, { retries: 0, looks: 30, unackedMs: 1000, ageMs }, retryPolicy, 0.5);
    assert(step.kind === "retry");
    assertEquals([step.retries, step.error], [0, "too early, awaits PAID"]);
    return step.delayMs;
  });
  assertEquals(delays, [1000, 4000, 15_000]);
});

Deno.test("nextStep() dead-letters an early event only after its delayed retries", () => {
  const old = { looks: 30, unackedMs: 1000, ageMs: retryPolicy.earlyMs };
  for (const retries of [0, 1, 2]) {
    const step = nextStep(early, { ...old, retries }, retryPolicy, 0.5);
    assert(step.kind === "retry");
    assertEquals(step.retries, retries + 1);
  }
  assertEquals(nextStep(early, { ...old, retries: 3 }, retryPolicy, 0.5), {
    kind: "dead-letter",
    reason: "too early",
    detail: "too early, awaits PAID",
  });
});

Deno.test("nextStep() retries a failure as often as configured, with growing delay, then keeps its error", () => {
  fc.assert(fc.property(fc.nat(10), fc.double({ min: 0, max: 0.999, noNaN: true }), (maxRetries, random) => {
    const patient = { ...retryPolicy, maxRetries };
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

Deno.test("planAcks() acks a batch that is settled whole with one frame", () => {
  assertEquals(planAcks([4, 2, 3], [5, 6]), [{ tag: 4, multiple: true }]);
  assertEquals(planAcks([7], []), [{ tag: 7, multiple: false }]);
  assertEquals(planAcks([], [1]), []);
});

Deno.test("planAcks() acks exactly what is settled, whatever is outstanding", () => {
  fc.assert(fc.property(fc.array(fc.boolean(), { maxLength: 40 }), fc.nat(20), (isSettled, before) => {
    // Tags up to `before` were acked earlier; each later one is either settled now or outstanding.
    const tags = isSettled.map((_, i) => before + 1 + i);
    const settled = tags.filter((_, i) => isSettled[i]);
    const outstanding = tags.filter((_, i) => !isSettled[i]);
    const acked = planAcks(settled, outstanding).flatMap(({ tag, multiple }) =>
      multiple ? tags.filter((other) => other <= tag) : [tag]
    );
    assertEquals(acked.toSorted((a, b) => a - b), settled);
  }));
});
