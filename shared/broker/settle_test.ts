import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import postgres from "postgres";
import { orderCreated, paymentSucceeded } from "../../specs/support/test_events.ts";
import { type DomainEvent, parseEvent, type ReceivedEvent } from "../events.ts";
import { TransientError } from "../process/errors.ts";
import {
  type Attempts,
  type HandleBatch,
  type NextStep,
  nextStep,
  type Outcome,
  planAcks,
  type Processable,
  processBatch,
} from "./settle.ts";

const TYPES = ["order.created"] as const;

const done = (events: readonly ReceivedEvent[]) =>
  Promise.resolve(events.map((): Outcome => ({ kind: "done" })));

/** A delivery of an event, or of a text that is none, which was first looked at `ageMs` ago. */
function delivery(body: DomainEvent | string, ageMs = 0): Processable<DomainEvent> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const parsed = parseEvent(new TextEncoder().encode(text));
  return { parsed, traceparent: null, retryState: { retries: 0, ageMs }, mayBeRepeat: false };
}

const orders = (count: number) => Array.from({ length: count }, () => orderCreated().event);
/** Handles all but `bad`: where that is among them, all fail with `error`. */
const failingAt = ({ eventId }: DomainEvent, error: unknown): HandleBatch<DomainEvent<"order.created">> => {
  return (events) =>
    events.some(({ event }) => event.eventId === eventId) ? Promise.reject(error) : done(events);
};

Deno.test("processBatch() rejects what is no event, or not for this consumer, without troubling the handler", async () => {
  const batch = ["{", orderCreated().event, "\uffff", paymentSucceeded().event].map((body) => delivery(body));
  const seen: number[] = [];
  const outcomes = await processBatch(batch, TYPES, (events) => {
    seen.push(events.length);
    return done(events);
  });
  const [torn, good, binary, other] = batch.map((one) => outcomes.get(one));
  assertEquals([torn?.kind, good?.kind, binary?.kind, seen], ["rejected", "done", "rejected", [1]]);
  const detail = "payment.succeeded is not for this consumer";
  assertEquals(other, { kind: "rejected", reason: "unexpected type", detail });
});

Deno.test("processBatch() hands an event that stands twice in a batch to the handler again only if it was processed", async () => {
  const [twice, once, early] = [orderCreated().event, orderCreated().event, orderCreated().event];
  const batch = [twice, once, twice, twice, early, early].map((body) => delivery(body));
  const seen: string[][] = [];
  const outcomes = await processBatch(batch, TYPES, (events) => {
    const known = new Set(seen.flat());
    const ids = events.map(({ event }) => event.eventId);
    assertEquals(new Set(ids).size, ids.length);
    seen.push(ids);
    return Promise.resolve(ids.map((id): Outcome => {
      if (id === early.eventId) return { kind: "early", awaits: "PAID" };
      return { kind: known.has(id) ? "duplicate" : "done" };
    }));
  });
  const kinds = ["done", "done", "duplicate", "duplicate", "early", "early"] as const;
  assertEquals(batch.map((d) => outcomes.get(d)?.kind), [...kinds]);
  assertEquals(seen.flat().filter((id) => id === early.eventId).length, 1);
});

Deno.test("processBatch() lets one event that breaks the batch harm only itself, and blames nobody for an outage", async () => {
  const events = orders(9);
  const bad = events[4] ?? orderCreated().event;
  const batch = events.map((event) => delivery(event));
  const kinds = [[new Error("check violated"), "rejected"], [new TransientError("late"), "failed"]] as const;
  for (const [error, kind] of kinds) {
    const outcomes = await processBatch(batch, TYPES, failingAt(bad, error));
    assertEquals(batch.map((d) => outcomes.get(d)?.kind), batch.map((_, i) => i === 4 ? kind : "done"));
  }
  const outage = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
  await assertRejects(() => processBatch(batch, TYPES, failingAt(bad, outage)), Error, "refused");
});

Deno.test("a row that somebody holds spends no retry, for however long, and holds up nothing that is fresh", async () => {
  const [held = orderCreated().event, ...free] = orders(4);
  const locked = Object.assign(new postgres.PostgresError(""), { code: "55P03", message: "locked" });
  const sizes: number[] = [];
  for (const [ageMs, delayMs] of [[0, 2000], [86_400_000, 60_000]] as const) {
    const batch = [delivery(held, ageMs), ...free.map((event) => delivery(event))];
    const outcomes = await processBatch(batch, TYPES, (events) => {
      sizes.push(events.length);
      return failingAt(held, locked)(events);
    });
    const [outcome, ...others] = batch.flatMap((one) => outcomes.get(one) ?? []);
    assertEquals(others.map(({ kind }) => kind), ["done", "done", "done"]);
    assert(outcome?.kind === "failed");
    const attempts = { retries: 0, looks: 0, unackedMs: 2000, ageMs: ageMs + 2000 };
    const step = nextStep(outcome, attempts, { maxRetries: 0, earlyMs: 0 }, 0.5);
    assertEquals(step, { kind: "retry", delayMs, retries: 0, error: "locked" });
  }
  assertEquals(sizes, [4, 2, 1, 1, 2, 3, 1], "bisected at first, tried apart from then on");
});

const fresh = { retries: 0, looks: 0, unackedMs: 0, ageMs: 0 };
const waited = { retries: 0, looks: 30, unackedMs: 1000, ageMs: 1000 };
const retryPolicy = { maxRetries: 3, earlyMs: 60_000 };
const early: Outcome = { kind: "early", awaits: "PAID" };
const error = "too early, awaits PAID";

Deno.test("nextStep() acks what is settled, looks again at what may come soon, and gives up only on what has had its time", () => {
  const old = { ...waited, ageMs: 60_000 };
  const letter = (reason: string, detail: string): NextStep => ({ kind: "dead-letter", reason, detail });
  const retry = (delayMs: number, retries: number): NextStep => ({ kind: "retry", delayMs, retries, error });
  const look = (delayMs: number): NextStep => ({ kind: "look-again", delayMs });
  const steps: [Outcome, Attempts, NextStep][] = [
    [{ kind: "done" }, fresh, { kind: "ack" }],
    [{ kind: "duplicate" }, fresh, { kind: "ack" }],
    [{ kind: "rejected", reason: "not JSON", detail: "x" }, fresh, letter("not JSON", "x")],
    // In this very process, however long it takes.
    [{ kind: "waiting" }, fresh, look(2)],
    [{ kind: "waiting" }, { ...waited, unackedMs: 600_000 }, look(50)],
    // Unacked for a second; then delivered again, ever more rarely; no retry is spent while it is young.
    [early, fresh, look(2)],
    [early, { ...waited, unackedMs: 999 }, look(50)],
    [early, waited, retry(1000, 0)],
    [early, { ...waited, ageMs: 4000 }, retry(4000, 0)],
    [early, { ...waited, ageMs: 59_999 }, retry(15_000, 0)],
    [early, old, retry(500, 1)],
    [early, { ...old, retries: 2 }, retry(8000, 3)],
    [early, { ...old, retries: 3 }, letter("too early", error)],
  ];
  for (const [outcome, attempts, step] of steps) {
    assertEquals(nextStep(outcome, attempts, retryPolicy, 0.5), step);
  }
});

Deno.test("nextStep() retries a failure as often as configured, from half a second on by four, then keeps its error", () => {
  const failed: Outcome = { kind: "failed", error: "timed out" };
  fc.assert(fc.property(fc.nat(10), fc.double({ min: 0, max: 0.999, noNaN: true }), (maxRetries, random) => {
    const policy = { ...retryPolicy, maxRetries };
    for (let retries = 0; retries < maxRetries; retries++) {
      const delayMs = Math.round((0.8 + 0.4 * random) * Math.min(500 * 4 ** retries, 60_000));
      const step = { kind: "retry", delayMs, retries: retries + 1, error: "timed out" } as const;
      assertEquals(nextStep(failed, { ...fresh, retries }, policy, random), step);
    }
    const letter = { kind: "dead-letter", reason: "retries exhausted", detail: "timed out" } as const;
    assertEquals(nextStep(failed, { ...fresh, retries: maxRetries }, policy, random), letter);
  }));
});

Deno.test("planAcks() acks exactly what is settled, whatever is outstanding, and with one frame what is settled whole", () => {
  fc.assert(fc.property(fc.array(fc.boolean(), { maxLength: 40 }), fc.nat(20), (isSettled, before) => {
    // Tags up to `before` were acked earlier; each later one is either settled now or outstanding.
    const tags = isSettled.map((_, i) => before + 1 + i);
    const settled = tags.filter((_, i) => isSettled[i]);
    const outstanding = tags.filter((_, i) => !isSettled[i]);
    const acks = planAcks(settled, outstanding);
    const acked = acks.flatMap(({ tag, multiple }) =>
      multiple ? tags.filter((other) => other <= tag) : [tag]
    );
    assertEquals(acked.toSorted((a, b) => a - b), settled);
    const first = isSettled.indexOf(false);
    const alone = settled.filter((tag) => first >= 0 && tag > before + first).length;
    assertEquals(acks.length, alone + (settled.length > alone ? 1 : 0));
  }));
});
