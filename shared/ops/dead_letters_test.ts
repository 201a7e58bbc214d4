import { assertEquals } from "@std/assert";
import { newLetter } from "../../specs/support/test_events.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { insertDeadLetters } from "../sql/set_aside.ts";
import { claimOpenLetters, findDeadLetter, listDeadLetters } from "./dead_letters.ts";

shareTestSchema();

/** A letter of a message that is no event. */
const letter = (body: Uint8Array, more: Parameters<typeof newLetter>[1] = {}) =>
  newLetter("payments", { eventId: null, attempts: 1, body, ...more });

Deno.test("insertDeadLetters() keeps a body byte for byte, with the trace of the message that came first", async () => {
  await using db = await testSchema();
  const body = new Uint8Array([0, 255, 254, 34, 92, 10]);
  for (const traceparent of ["00-a", "00-b"]) {
    const detail = "unexpected \0 at 0";
    await insertDeadLetters(db.as("orderflow_payments"), [letter(body, { traceparent, detail })]);
  }
  const [row] = await db.sql`select id, body, detail from dead_letters`;
  assertEquals([new Uint8Array(row?.body), row?.detail], [body, "unexpected \u{FFFD} at 0"]);
  const claimed = await claimOpenLetters(db.as("orderflow_ops"), [row?.id]);
  assertEquals(claimed.map(({ traceparent }) => traceparent), ["00-a"]);
});

Deno.test("insertDeadLetters() counts a message that comes again on its open letter", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_payments");
  const body = new TextEncoder().encode("{");
  await insertDeadLetters(sql, [letter(body), letter(body)]);
  await insertDeadLetters(sql, [letter(body, { reason: "later" }), letter(body, { consumer: "orders" })]);
  const rows = await listDeadLetters(db.as("orderflow_ops"), { limit: 10 });
  assertEquals(rows.map(({ consumer, attempts, reason, body }) => [consumer, attempts, reason, body]), [
    ["orders", 1, "retries exhausted", "{"],
    ["payments", 2, "later", "{"],
  ]);
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
