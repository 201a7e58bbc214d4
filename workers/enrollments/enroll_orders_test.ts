import { assertEquals } from "@std/assert";
import { RESERVED_COURSES } from "../../shared/scenarios.ts";
import { countEvents, paymentSucceeded } from "../../specs/support/test_events.ts";
import { shareTestSchema, type TestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { atomicallyOn } from "../../shared/sql/connect.ts";
import { decideSeat } from "./decide_seat.ts";
import { createEnrollHandler } from "./enroll_orders.ts";

shareTestSchema();

function handlerOn(db: TestSchema) {
  const sql = db.as("orderflow_enrollments");
  return createEnrollHandler({ atomically: atomicallyOn(sql), consumer: "enrollments", waker: db.waker() });
}

Deno.test("createEnrollHandler() grants a seat or says why not, one row and one event each", async () => {
  await using db = await testSchema();
  const events = [paymentSucceeded(), paymentSucceeded(undefined, RESERVED_COURSES.enrollmentFailure)];
  const verdicts = await handlerOn(db)(events);
  assertEquals(verdicts, [
    { kind: "done", note: "seat granted" },
    { kind: "done", note: "no seat left" },
  ]);
  const rows = await db.sql`select status, reason from enrollments order by id`;
  assertEquals(rows.map((row) => ({ ...row })), [
    { status: "GRANTED", reason: null },
    { status: "FAILED", reason: "no seat left" },
  ]);
  assertEquals(await countEvents(db.sql), { "enrollment.failed": 1, "enrollment.granted": 1 });
});

Deno.test("createEnrollHandler() gives one seat per order, whatever is repeated or forgotten", async () => {
  await using db = await testSchema();
  const events = Array.from({ length: 10 }, () => paymentSucceeded());
  await Promise.all([handlerOn(db)(events), handlerOn(db)(events)]);
  await db.sql`delete from processed_events`;
  await handlerOn(db)(events);
  assertEquals((await db.sql`select from enrollments`).count, 10);
  assertEquals(await countEvents(db.sql), { "enrollment.granted": 10 });
});

Deno.test("decideSeat() refuses the full course alone", () => {
  assertEquals(decideSeat(RESERVED_COURSES.success).status, "GRANTED");
  assertEquals(decideSeat(RESERVED_COURSES.enrollmentFailure).status, "FAILED");
});
