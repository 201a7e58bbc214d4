import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { idSchema } from "../../shared/events/envelope.ts";
import { RESERVED_COURSES } from "../../shared/scenarios.ts";
import { decideSeat } from "./decide_seat.ts";

Deno.test("decideSeat() answers with a seat or with a reason, never with both, and refuses no other course", () => {
  const courses = fc.oneof(fc.uuid(), fc.constantFrom(...Object.values(RESERVED_COURSES)));
  fc.assert(fc.property(courses, (courseId) => {
    const { status, reason } = decideSeat(idSchema.parse(courseId.toUpperCase()));
    const isFull = courseId === RESERVED_COURSES.enrollmentFailure;
    assertEquals([status, reason], isFull ? ["FAILED", "no seat left"] : ["GRANTED", null]);
  }));
});
