import { assertEquals } from "@std/assert";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { enroll } from "./enrollments_payment_succeeded.ts";
import { countEvents, paymentSucceeded } from "../specs/support/test_events.ts";
import { shareTestSchema, testInbox, testSchema } from "../specs/support/test_schema.ts";

shareTestSchema();

Deno.test("enroll() grants one seat per order or says why not, with one event, whatever is repeated or forgotten", async () => {
  await using db = await testSchema();
  const events = [paymentSucceeded(), paymentSucceeded(undefined, RESERVED_COURSES.enrollmentFailure)];
  const handle = () => enroll({ inbox: testInbox(db.as("orderflow_enrollments"), "enrollments") })(events);
  assertEquals(await handle(), [
    { kind: "done", note: "seat granted" },
    { kind: "done", note: "no seat left" },
  ]);
  await Promise.all([handle(), handle()]);
  await db.sql`delete from processed_events`;
  await handle();
  const rows = await db.sql`select status, reason from enrollments order by id`.values();
  assertEquals([...rows], [["GRANTED", null], ["FAILED", "no seat left"]]);
  assertEquals(await countEvents(db.sql), { "enrollment.failed": 1, "enrollment.granted": 1 });
});
