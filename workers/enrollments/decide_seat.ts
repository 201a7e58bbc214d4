/**
 * Who gets a seat. Pure.
 *
 * @module
 */
import { RESERVED_COURSES } from "../../shared/scenarios.ts";

/** The decision on a seat. */
export type SeatDecision =
  | { readonly status: "GRANTED"; readonly reason: null }
  | { readonly status: "FAILED"; readonly reason: string };

/** Decides whether `courseId` has a seat. Courses are without limit but for the one that is reserved as full. */
export function decideSeat(courseId: string): SeatDecision {
  if (courseId === RESERVED_COURSES.enrollmentFailure) return { status: "FAILED", reason: "no seat left" };
  return { status: "GRANTED", reason: null };
}
