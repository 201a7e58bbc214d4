import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { insertOrder, paymentSucceeded } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { TransientError } from "../process/errors.ts";
import { connect, uuids } from "../sql/connect.ts";
import { type DomainEvent, makeEvent, parseEvent, type ReceivedEvent } from "../events.ts";
import {
  type HandleBatch,
  nextStep,
  type Outcome,
  planAcks,
  type Processable,
  processBatch,
} from "./settle.ts";

shareTestSchema();

const TYPES = ["order.created"] as const;

const done = (events: readonly ReceivedEvent[]) =>
  Promise.resolve(events.map((): Outcome => ({ kind: "done" })));

Deno.test("processBatch() rejects what is no event, or not for this consumer, without troubling the handler", async () => {
  const other = JSON.stringify(paymentSucceeded().event);
  const batch = ["{", order(1), new Uint8Array([0xff, 0xfe]), other].map((body) => delivery(body));
  const seen: number[] = [];
  const outcomes = await processBatch(batch, TYPES, (events) => {
    seen.push(events.length);
    return done(events);
  });
  assertEquals(batch.map((d) => outcomes.get(d)?.kind), ["rejected", "done", "rejected", "rejected"]);
  assertEquals(outcomes.get(batch[3] ?? delivery("")), {
    kind: "rejected",
    reason: "unexpected type",
    detail: "payment.succeeded is not for this consumer",
  });
  assertEquals(seen, [1]);
});

Deno.test("processBatch() hands an event that stands twice in a batch to the handler again only if it was processed", async () => {
  const [twice, early] = [order(1), order(3)];
  const batch = [twice, order(2), twice, twice, early, early].map((body) => delivery(body));
  const seen: string[][] = [];
  const outcomes = await processBatch(batch, TYPES, (events) => {
    const known = new Set(seen.flat());
    const ids = events.map(({ event }) => event.eventId);
    assertEquals(new Set(ids).size, ids.length);
    seen.push(ids);
    return Promise.resolve(events.map(({ event: { eventId } }): Outcome => {
      if (early.includes(eventId)) return { kind: "early", awaits: "PAID" };
      return { kind: known.has(eventId) ? "duplicate" : "done" };
    }));
  });
  const kinds = ["done", "done", "duplicate", "duplicate", "early", "early"] as const;
  assertEquals(batch.map((d) => outcomes.get(d)?.kind), [...kinds]);
  assertEquals(seen.flat().filter((id) => early.includes(id)).length, 1);
});

Deno.test("processBatch() lets one event that breaks the batch harm only itself, and blames nobody for an outage", async () => {
  const batch = Array.from({ length: 9 }, (_, i) => delivery(order(i)));
  const breaking = (error: unknown): HandleBatch<DomainEvent<"order.created">> => (events) => {
    const isBroken = events.some(({ event }) => event.data.orderId === orderId(4));
    return isBroken ? Promise.reject(error) : done(events);
  };
  const kinds = [[new Error("check violated"), "rejected"], [new TransientError("late"), "failed"]] as const;
  for (const [error, kind] of kinds) {
    const outcomes = await processBatch(batch, TYPES, breaking(error));
    assertEquals(batch.map((d) => outcomes.get(d)?.kind), batch.map((_, i) => i === 4 ? kind : "done"));
  }
  const outage = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
  await assertRejects(() => processBatch(batch, TYPES, breaking(outage)), Error, "refused");
});

Deno.test("a row that somebody holds spends no retry, for however long, and holds up nothing that is fresh", async () => {
  await using db = await testSchema();
  const settings = { lock_timeout: "50" };
  const sql = connect(db.url, { name: "test", role: "orderflow_orders", max: 1, settings });
  const orders = await Promise.all([1, 2, 3, 4].map(() => insertOrder(db.sql, "PENDING")));
  const [held = ""] = orders;
  const sizes: number[] = [];
  const handle: HandleBatch<DomainEvent<"payment.succeeded">> = async (events) => {
    sizes.push(events.length);
    const ids = uuids(events.map(({ event }) => event.data.orderId));
    await sql`update orders set status = 'PAID' where id = any(${ids}::text::uuid[])`;
    return await done(events);
  };
  const bodies = orders.map((id) => JSON.stringify(paymentSucceeded(id).event));
  const process = async (ageMs: number) => {
    const batch = bodies.map((body, i) => delivery(body, i === 0 ? ageMs : 0));
    const outcomes = await processBatch(batch, ["payment.succeeded"], handle);
    return batch.flatMap((one) => outcomes.get(one) ?? []);
  };
  await db.sql.begin(async (tx) => {
    await tx`select from orders where id = ${held} for update`;
    for (const ageMs of [0, 86_400_000]) {
      const [locked, ...others] = await process(ageMs);
      assertEquals(others.map(({ kind }) => kind), ["done", "done", "done"]);
      assert(locked?.kind === "failed");
      const attempts = { retries: 0, looks: 0, unackedMs: 2000, ageMs: ageMs + 2000 };
      const step = nextStep(locked, attempts, { maxRetries: 0, earlyMs: 0 }, 0.5);
      assertEquals(step, {
        kind: "retry",
        delayMs: ageMs === 0 ? 2000 : 60_000,
        retries: 0,
        error: locked.error,
      });
    }
  });
  assertEquals(sizes, [4, 2, 1, 1, 2, 3, 1], "bisected at first, tried apart from then on");
  assertEquals((await process(1)).map(({ kind }) => kind), ["done", "done", "done", "done"]);
  await sql.end();
});

function orderId(n: number): string {
  return `00000000-0000-0000-0000-${String(n).padStart(12, "0")}`;
}

function order(n: number): string {
  const id = orderId(n);
  const data = { orderId: id, userId: id, courseId: id, amount: "1.00" };
  const cause = { correlationId: "c", traceparent: null };
  return JSON.stringify(makeEvent("order.created", data, cause, new Date()).event);
}

function delivery(body: string | Uint8Array<ArrayBuffer>, ageMs = 0): Processable<DomainEvent> {
  const parsed = parseEvent(typeof body === "string" ? new TextEncoder().encode(body) : body);
  return { parsed, traceparent: null, retryState: { retries: 0, ageMs }, mayBeRepeat: false };
}

const fresh = { retries: 0, looks: 0, unackedMs: 0, ageMs: 0 };
const waited = { retries: 0, looks: 30, unackedMs: 1000, ageMs: 1000 };
const retryPolicy = { maxRetries: 3, earlyMs: 60_000 };
const early: Outcome = { kind: "early", awaits: "PAID" };
const error = "too early, awaits PAID";

Deno.test("nextStep() acks what is settled, looks again at what may come soon, and gives up only on what has had its time", () => {
  const steps: [Outcome, Partial<typeof fresh>, ReturnType<typeof nextStep>][] = [
    [{ kind: "done" }, fresh, { kind: "ack" }],
    [{ kind: "duplicate" }, fresh, { kind: "ack" }],
    [{ kind: "rejected", reason: "not JSON", detail: "x" }, fresh, {
      kind: "dead-letter",
      reason: "not JSON",
      detail: "x",
    }],
    // In this very process, however long it takes.
    [{ kind: "waiting" }, fresh, { kind: "look-again", delayMs: 2 }],
    [{ kind: "waiting" }, { ...waited, unackedMs: 600_000 }, { kind: "look-again", delayMs: 50 }],
    // Unacked for a second; then delivered again, ever more rarely; no retry is spent while it is young.
    [early, fresh, { kind: "look-again", delayMs: 2 }],
    [early, { ...waited, unackedMs: 999 }, { kind: "look-again", delayMs: 50 }],
    [early, waited, { kind: "retry", delayMs: 1000, retries: 0, error }],
    [early, { ...waited, ageMs: 4000 }, { kind: "retry", delayMs: 4000, retries: 0, error }],
    [early, { ...waited, ageMs: 59_999 }, { kind: "retry", delayMs: 15_000, retries: 0, error }],
    [early, { ...waited, ageMs: 60_000 }, { kind: "retry", delayMs: 500, retries: 1, error }],
    [early, { ...waited, ageMs: 60_000, retries: 2 }, { kind: "retry", delayMs: 8000, retries: 3, error }],
    [early, { ...waited, ageMs: 60_000, retries: 3 }, {
      kind: "dead-letter",
      reason: "too early",
      detail: error,
    }],
  ];
  for (const [outcome, attempts, step] of steps) {
    assertEquals(nextStep(outcome, { ...fresh, ...attempts }, retryPolicy, 0.5), step);
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
