import { assertEquals } from "@std/assert";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { enroll } from "./enrollments_payment_succeeded.ts";
import { countEvents, paymentSucceeded } from "../specs/support/test_events.ts";
import { shareTestSchema, testInbox, type TestSchema, testSchema } from "../specs/support/test_schema.ts";

shareTestSchema();

function handlerOn(db: TestSchema) {
  return enroll({ inbox: testInbox(db.as("orderflow_enrollments"), "enrollments") });
}

Deno.test("enroll() grants one seat per order or says why not, with one event, whatever is repeated or forgotten", async () => {
  await using db = await testSchema();
  const events = [paymentSucceeded(), paymentSucceeded(undefined, RESERVED_COURSES.enrollmentFailure)];
  const outcomes = await handlerOn(db)(events);
  assertEquals(outcomes, [
    { kind: "done", note: "seat granted" },
    { kind: "done", note: "no seat left" },
  ]);
  await Promise.all([handlerOn(db)(events), handlerOn(db)(events)]);
  await db.sql`delete from processed_events`;
  await handlerOn(db)(events);
  const rows = await db.sql`select status, reason from enrollments order by id`;
  assertEquals(rows.map((row) => ({ ...row })), [
    { status: "GRANTED", reason: null },
    { status: "FAILED", reason: "no seat left" },
  ]);
  assertEquals(await countEvents(db.sql), { "enrollment.failed": 1, "enrollment.granted": 1 });
});
