import { assertEquals } from "@std/assert";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { claimOpenLetters, findDeadLetter, listDeadLetters } from "./dead_letters.ts";
import { insertDeadLetters, type NewDeadLetter } from "../sql/set_aside.ts";

shareTestSchema();

const letter = (body: Uint8Array, more: Partial<NewDeadLetter> = {}): NewDeadLetter => ({
  consumer: "payments",
  eventId: null,
  eventType: null,
  aggregateId: null,
  correlationId: null,
  traceparent: null,
  body,
  reason: "not JSON",
  detail: "unexpected \0 at 0",
  attempts: 1,
  ...more,
});

Deno.test("insertDeadLetters() keeps a body exactly as it was received, even bytes that are no text", async () => {
  await using db = await testSchema();
  const body = new Uint8Array([0, 255, 254, 34, 92, 10]);
  await insertDeadLetters(db.as("orderflow_payments"), [letter(body)]);
  const [row] = await db.sql`select body, detail from dead_letters`;
  assertEquals(new Uint8Array(row?.body), body);
  assertEquals(row?.detail, "unexpected \u{FFFD} at 0");
});

Deno.test("insertDeadLetters() counts a message that comes again on its open letter", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_payments");
  const body = new TextEncoder().encode("{");
  await insertDeadLetters(sql, [letter(body), letter(body)]);
  await insertDeadLetters(
    sql,
    [letter(body, { reason: "later" }), letter(body, { consumer: "orders" })],
  );
  const rows = await listDeadLetters(db.as("orderflow_ops"), { limit: 10 });
  assertEquals(
    rows.map(({ consumer, attempts, reason, state, body }) => [consumer, attempts, reason, state, body]),
    [
      ["orders", 1, "not JSON", "OPEN", "{"],
      ["payments", 2, "later", "OPEN", "{"],
    ],
  );
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

Deno.test("a letter keeps the trace of the message that it is of, for whoever redrives it", async () => {
  await using db = await testSchema();
  const body = new Uint8Array([1]);
  for (const traceparent of ["00-a", "00-b"]) {
    await insertDeadLetters(db.as("orderflow_payments"), [letter(body, { traceparent })]);
  }
  const [kept] = await db.sql`select id from dead_letters`;
  const claimed = await claimOpenLetters(db.as("orderflow_ops"), [kept?.id]);
  assertEquals(claimed.map(({ traceparent }) => traceparent), ["00-a"]);
});
