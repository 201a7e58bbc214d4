/**
 * The enrollments module's consumer of `payment.succeeded`: decides seats.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import { type DomainEvent, tell } from "../shared/events.ts";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { insertingEnrollments } from "../shared/sql/enrollments.ts";
import { runProcess } from "../shared/process/run.ts";
import { consumerScript, recordEach } from "./consumer.ts";

/** The decision on a seat. */
export type SeatDecision =
  | { readonly status: "GRANTED"; readonly reason: null }
  | { readonly status: "FAILED"; readonly reason: string };

/** Decides whether `courseId` has a seat. Courses are without limit but for the one that is reserved as full. */
export function decideSeat(courseId: string): SeatDecision {
  if (courseId === RESERVED_COURSES.enrollmentFailure) return { status: "FAILED", reason: "no seat left" };
  return { status: "GRANTED", reason: null };
}

/** Records a decision on each paid order. "No seat left" is an outcome with an event of its own, never an error. */
export const enroll = recordEach(
  insertingEnrollments,
  ({ data: { orderId, courseId } }: DomainEvent<"payment.succeeded">) => {
    const row = { id: uuidv7(), orderId, courseId, ...decideSeat(courseId) };
    return row.reason === null
      ? {
        row,
        tells: tell("enrollment.granted", { orderId, enrollmentId: row.id, courseId }),
        note: "seat granted",
      }
      : {
        row,
        tells: tell("enrollment.failed", { orderId, courseId, reason: row.reason }),
        note: row.reason,
      };
  },
);

export const script = consumerScript({
  queue: "enrollmentsPaymentSucceeded",
  role: "orderflow_enrollments",
  handle: enroll,
});

if (import.meta.main) await runProcess(script);
