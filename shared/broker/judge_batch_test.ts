import { assert, assertEquals, assertRejects } from "@std/assert";
import { TransientError } from "../errors.ts";
import { makeEvent, parseEvent } from "../events/catalog.ts";
import type { ReceivedEvent } from "./delivery.ts";
import { judgeBatch, type Judged } from "./judge_batch.ts";
import type { Verdict } from "./next_step.ts";

const TYPES = ["order.created"] as const;

const done = (events: readonly ReceivedEvent[]) =>
  Promise.resolve(events.map((): Verdict => ({ kind: "done" })));

Deno.test("judgeBatch() rejects what is no event without troubling the handler, and handles the rest", async () => {
  const batch = [delivery("{"), delivery(order(1)), delivery(new Uint8Array([0xff, 0xfe]))];
  const seen: number[] = [];
  const verdicts = await judgeBatch(batch, TYPES, (events) => {
    seen.push(events.length);
    return done(events);
  });
  assertEquals(batch.map((d) => verdicts.get(d)?.kind), ["rejected", "done", "rejected"]);
  assertEquals(seen, [1]);
});

Deno.test("judgeBatch() rejects an event that is not for this consumer", async () => {
  const batch = [delivery(order(1))];
  const verdicts = await judgeBatch(
    batch,
    ["payment.failed"],
    () => Promise.reject(new Error("must not be called")),
  );
  assertEquals([...verdicts.values()], [
    { kind: "rejected", reason: "unexpected type", detail: "order.created is not for this consumer" },
  ]);
});

Deno.test("judgeBatch() hands an event that stands twice in a batch to the handler one after the other", async () => {
  const twice = order(1);
  const batch = [delivery(twice), delivery(order(2)), delivery(twice), delivery(twice)];
  const seen: string[][] = [];
  const verdicts = await judgeBatch(batch, TYPES, (events) => {
    const ids = events.map(({ event }) => event.eventId);
    const known = new Set(seen.flat());
    seen.push(ids);
    return Promise.resolve(ids.map((id): Verdict => ({ kind: known.has(id) ? "duplicate" : "done" })));
  });
  for (const ids of seen) assertEquals(new Set(ids).size, ids.length);
  assertEquals(batch.map((d) => verdicts.get(d)?.kind), ["done", "done", "duplicate", "duplicate"]);
});

Deno.test("judgeBatch() gives a repeat of what was not processed the same verdict, without trying again", async () => {
  const twice = order(1);
  const batch = [delivery(twice), delivery(twice)];
  let calls = 0;
  const verdicts = await judgeBatch(batch, TYPES, () => {
    calls++;
    return Promise.resolve([{ kind: "early", awaits: "PAID" }]);
  });
  assertEquals(batch.map((d) => verdicts.get(d)?.kind), ["early", "early"]);
  assertEquals(calls, 1);
});

Deno.test("judgeBatch() lets one event that breaks the batch harm only itself", async () => {
  const batch = Array.from({ length: 9 }, (_, i) => delivery(order(i)));
  const culprit = batch[4]?.parsed;
  assert(culprit?.ok);
  for (
    const [error, kind] of [[new Error("check violated"), "rejected"], [new TransientError("late"), "failed"]]
  ) {
    const verdicts = await judgeBatch(
      batch,
      TYPES,
      (events) =>
        events.some(({ event }) => event.eventId === culprit.event.eventId)
          ? Promise.reject(error)
          : done(events),
    );
    assertEquals(
      batch.map((d) => verdicts.get(d)?.kind),
      batch.map((_, i) => i === 4 ? kind : "done"),
    );
  }
});

Deno.test("judgeBatch() blames nobody for an outage", async () => {
  const outage = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
  await assertRejects(() =>
    judgeBatch([delivery(order(1)), delivery(order(2))], TYPES, () => Promise.reject(outage))
  );
});

function order(n: number): string {
  const id = `00000000-0000-0000-0000-${String(n).padStart(12, "0")}`;
  const data = { orderId: id, userId: id, courseId: id, amount: "1.00" };
  return JSON.stringify(
    makeEvent("order.created", data, { correlationId: "c", traceparent: null }, new Date()).event,
  );
}

function delivery(body: string | Uint8Array<ArrayBuffer>): Judged {
  const content = typeof body === "string" ? new TextEncoder().encode(body) : body;
  return { parsed: parseEvent(content), traceparent: null, past: { retries: 0, firstSeenAt: new Date(0) } };
}
