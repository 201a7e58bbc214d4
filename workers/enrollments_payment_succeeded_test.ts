import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { idSchema } from "../shared/events.ts";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { decideSeat, enroll } from "./enrollments_payment_succeeded.ts";
import { countEvents, paymentSucceeded } from "../specs/support/test_events.ts";
import { shareTestSchema, testInbox, type TestSchema, testSchema } from "../specs/support/test_schema.ts";

Deno.test("decideSeat() answers with a seat or with a reason, never with both, and refuses no other course", () => {
  const courses = fc.oneof(fc.uuid(), fc.constantFrom(...Object.values(RESERVED_COURSES)));
  fc.assert(fc.property(courses, (courseId) => {
    const { status, reason } = decideSeat(idSchema.parse(courseId.toUpperCase()));
    const isFull = courseId === RESERVED_COURSES.enrollmentFailure;
    assertEquals([status, reason], isFull ? ["FAILED", "no seat left"] : ["GRANTED", null]);
  }));
});

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
