import { assert, assertEquals } from "@std/assert";
import { eventually } from "../../specs/support/eventually.ts";
import { newLetter, newRetry } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { transaction } from "./connect.ts";
import {
  claimDueRetries,
  countWaitingRetries,
  createSetAside,
  insertDeadLetters,
  insertRetries,
  markRetriesSent,
  patternOf,
  postponeRetries,
  readNextDue,
} from "./set_aside.ts";

shareTestSchema();

const consumer = "payments.order-created.v1";

Deno.test("patternOf() leaves of a detail what it has in common with others of its kind", () => {
  const cases: [detail: string, pattern: string][] = [
    ["timed out after 5000 ms", "timed out after … ms"],
    ["order 01a20441-ae89-7222-9369-984124b51d7d is PAID", "order … is PAID"],
    ["data.amount: must be \"49.90\", not 'much'", "data.amount: must be …, not …"],
    ["it isn't the consumer's at 2026-11-22T17:15:43.113Z", "it isn't the consumer's at …"],
    ["a".repeat(300), "a".repeat(200)],
  ];
  for (const [detail, pattern] of cases) assertEquals(patternOf(detail), pattern);
});

Deno.test("insertRetries() keeps events with their past until they are due, and the relay claims those that are", async () => {
  await using db = await testSchema();
  const [due, notYet] = [newRetry(consumer, { retries: 1 }), newRetry(consumer, { delayMs: 60_000 })];
  await insertRetries(db.as("orderflow_payments"), [due, notYet]);
  const relay = db.as("orderflow_relay");
  const claimed = await claimDueRetries(relay, 10);
  assertEquals(claimed.map((row) => ({ ...row, body: new TextDecoder().decode(row.body), ageMs: 0 })), [{
    consumer: due.consumer,
    eventId: due.eventId,
    eventType: due.eventType,
    correlationId: due.correlationId,
    traceparent: due.traceparent,
    tracestate: null,
    body: new TextDecoder().decode(due.body),
    retries: 1,
    ageMs: 0,
  }]);
  await markRetriesSent(relay, claimed);
  assertEquals((await claimDueRetries(relay, 10)).length, 0);
  const nextMs = await readNextDue(relay);
  assert(nextMs !== null && nextMs > 0 && nextMs <= 60_000, String(nextMs));
  assertEquals(
    await countWaitingRetries(db.as("orderflow_ops")).then((rows) => rows.map((row) => ({ ...row }))),
    [
      { consumer: notYet.consumer, count: 1 },
    ],
  );
});

Deno.test("insertRetries() keeps one row of an event: the higher count while it waits, what its message says once it was sent", async () => {
  await using db = await testSchema();
  const relay = db.as("orderflow_relay");
  const spent = newRetry(consumer, { retries: 3, ageMs: 86_400_000 });
  await insertRetries(db.sql, [spent, spent]);
  await insertRetries(db.sql, [{ ...spent, retries: 1, error: "a copy of an earlier one" }]);
  const [due, ...others] = await claimDueRetries(relay, 10);
  assertEquals([due?.retries, others], [3, []]);
  assert(
    due && due.ageMs >= 86_400_000 && due.ageMs < 86_500_000,
    `${due?.ageMs} ms: how old it is, not since when`,
  );
  await markRetriesSent(relay, [due]);
  await insertRetries(db.sql, [{ ...spent, retries: 1, ageMs: 0 }]); // of a letter that was redriven: it has no past
  const [row] = await db.sql`
    select retries, first_seen_at > now() - interval '1 hour' as "isNew" from delayed_retries`;
  assertEquals(row, { retries: 1, isNew: true });
});

Deno.test("claimDueRetries() takes no more bytes at once than a relay can hold, and nothing that another one has claimed", async () => {
  await using db = await testSchema();
  const retries = [1, 2, 3].map(() => newRetry(consumer, { body: new Uint8Array(9 << 20) }));
  for (const retry of retries) await insertRetries(db.sql, [retry]);
  const relay = db.as("orderflow_relay");
  await transaction(relay, async (tx) => {
    const mine = await claimDueRetries(tx, 1);
    const theirs = await claimDueRetries(relay, 10);
    assertEquals(new Set([...mine, ...theirs].map(({ eventId }) => eventId)).size, 3);
  });
  assertEquals((await claimDueRetries(relay, 10)).length, 2);
});

Deno.test("postponeRetries() makes due later what the broker did not take", async () => {
  await using db = await testSchema();
  const relay = db.as("orderflow_relay");
  const one = newRetry(consumer);
  assertEquals(await readNextDue(relay), null);
  await insertRetries(db.sql, [one]);
  await postponeRetries(relay, [one], 60_000);
  assertEquals((await claimDueRetries(relay, 10)).length, 0);
  assert((await readNextDue(relay) ?? 0) > 0);
});

Deno.test("countSuspect() counts per consumer and body, until uncountSuspect() takes it back or clearSuspect() forgets it", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_payments");
  const [payments, orders] = [createSetAside(sql, "payments"), createSetAside(sql, "orders")];
  const [body, other] = [new Uint8Array([0, 255, 1]), new Uint8Array([0, 255, 2])];
  assertEquals(await payments.countSuspect(body), 1);
  assertEquals(await payments.countSuspect(body), 2);
  assertEquals(await orders.countSuspect(body), 1);
  assertEquals(await payments.countSuspect(other), 1);
  await payments.uncountSuspect(body);
  assertEquals(await payments.countSuspect(body), 2);
  await payments.uncountSuspect(other);
  assertEquals(await payments.countSuspect(other), 1);
  await payments.clearSuspect(body);
  assertEquals(await payments.countSuspect(body), 1);
  assertEquals(await payments.countSuspect(other), 2);
});

Deno.test("insertDeadLetters() writes in one order, so that two copies that keep the same letters cannot lock each other out", async () => {
  await using db = await testSchema();
  const bodies = ["1", "2", "3"].map((text) => new TextEncoder().encode(text));
  const letters = bodies.map((body) => newLetter(consumer, { body }));
  await insertDeadLetters(db.sql, letters);
  const bodyOf = (at: number) => db.sql`body = ${bodies[at] ?? null}`;
  const held = Promise.withResolvers<void>();
  const first = await new Promise<{ over: Promise<unknown> }>((resolve) => {
    const over = transaction(db.sql, async (tx) => {
      await tx`select from dead_letters where ${bodyOf(0)} for update`;
      resolve({ over });
      await held.promise;
    });
  });
  const again = insertDeadLetters(db.as("orderflow_payments"), letters.toReversed());
  await eventually("the second copy to wait", async () => {
    return (await db.sql`select from pg_locks where not granted`).count > 0;
  });
  for (const at of [1, 2]) await db.sql`select from dead_letters where ${bodyOf(at)} for update nowait`;
  held.resolve();
  await Promise.all([first.over, again]);
});
