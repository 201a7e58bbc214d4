import { assert, assertEquals } from "@std/assert";
import { eventually } from "../../specs/support/eventually.ts";
import { newLetter, newRetry } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { claimOpenLetters, findDeadLetter, listDeadLetters } from "../ops/dead_letters.ts";
import { transaction } from "./connect.ts";
import {
  claimDueRetries,
  createSetAside,
  insertDeadLetters,
  insertRetries,
  markRetriesSent,
  patternOf,
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
  for (let n = 0; n < 3; n++) {
    await insertRetries(db.sql, [newRetry(consumer, { body: new Uint8Array(9 << 20) })]);
  }
  const relay = db.as("orderflow_relay");
  await transaction(relay, async (tx) => {
    const mine = await claimDueRetries(tx, 1);
    const theirs = await claimDueRetries(relay, 10);
    assertEquals(new Set([...mine, ...theirs].map(({ eventId }) => eventId)).size, 3);
  });
  assertEquals((await claimDueRetries(relay, 10)).length, 2);
});

Deno.test("countSuspect() counts per consumer and body, until uncountSuspect() takes it back or clearSuspect() forgets it", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_payments");
  const [payments, orders] = [createSetAside(sql, "payments"), createSetAside(sql, "orders")];
  const [body, other] = [new Uint8Array([0, 255, 1]), new Uint8Array([0, 255, 2])];
  const count = async () => [await payments.countSuspect(body), await payments.countSuspect(other)];
  assertEquals(await count(), [1, 1]);
  assertEquals(await orders.countSuspect(body), 1);
  assertEquals(await count(), [2, 2]);
  await payments.uncountSuspect(body);
  assertEquals(await count(), [2, 3]);
  await payments.clearSuspect(body);
  assertEquals(await count(), [1, 4]);
  await payments.uncountSuspect(body);
  assertEquals(await count(), [1, 5]);
});

/** A letter of a message that is no event. */
const letter = (body: Uint8Array, more: Parameters<typeof newLetter>[1] = {}) =>
  newLetter("payments", { eventId: null, attempts: 1, body, ...more });

Deno.test("insertDeadLetters() keeps a body byte for byte, with the trace of the message that came first, and counts one that comes again", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_payments");
  const body = new Uint8Array([0, 255, 254, 34, 92, 10]);
  const first = letter(body, { traceparent: "00-a" });
  await insertDeadLetters(sql, [first, first, letter(body, { consumer: "orders" })]);
  await insertDeadLetters(sql, [letter(body, { traceparent: "00-b", reason: "later", detail: "\0 at 0" })]);
  const rows = await db
    .sql`select id, consumer, attempts, reason, detail, body from dead_letters order by consumer`;
  assertEquals(rows.map(({ consumer, attempts, reason, detail }) => [consumer, attempts, reason, detail]), [
    ["orders", 1, "retries exhausted", "timed out"],
    ["payments", 2, "later", "\u{FFFD} at 0"],
  ]);
  for (const { body: kept } of rows) assertEquals(new Uint8Array(kept), body);
  const claimed = await claimOpenLetters(db.as("orderflow_ops"), [rows[1]?.id]);
  assertEquals(claimed.map(({ traceparent }) => traceparent), ["00-a"]);
});

Deno.test("lists and claims read no more than a bound, however large the letters are", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_ops");
  const large = [1, 2, 3].map((n) => new Uint8Array(9 << 20).fill(n));
  for (const body of large) await insertDeadLetters(db.sql, [letter(body)]);
  await insertDeadLetters(db.sql, [letter(new Uint8Array([4]), { cutFrom: 20 << 20 })]);
  const listed = await listDeadLetters(sql, { limit: 10 });
  assertEquals(listed.map(({ body, bodyBytes }) => [body.length, bodyBytes]), [
    [1, 20 << 20],
    ...large.map(() => [4096, 9 << 20]),
  ]);
  assertEquals((await findDeadLetter(sql, listed[1]?.id ?? ""))?.body.length, 1 << 20);
  const claimed = await claimOpenLetters(sql, listed.map(({ id }) => id));
  assertEquals(claimed.map(({ body, isCut }) => [body?.[0], isCut]), [
    [1, false],
    [2, false],
    [undefined, false],
    [undefined, true],
  ]);
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
