// The enrollments module's consumer of `payment.succeeded`: decides seats.

import { v7 as uuidv7 } from "uuid";
import { type DomainEvent, tell } from "../shared/events.ts";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import { runProcess } from "../shared/process/run.ts";
import { rowset } from "../shared/sql/connect.ts";
import type { WritingRows } from "../shared/sql/inbox.ts";
import { consumerScript, recordEach } from "./consumer.ts";

type SeatDecision =
  | { readonly status: "GRANTED"; readonly reason: null }
  | { readonly status: "FAILED"; readonly reason: string };

/** Decides whether `courseId` has a seat. Courses are without limit but for the one that is reserved as full. */
function decideSeat(courseId: string): SeatDecision {
  if (courseId === RESERVED_COURSES.enrollmentFailure) return { status: "FAILED", reason: "no seat left" };
  return { status: "GRANTED", reason: null };
}

type NewEnrollment = SeatDecision & Readonly<Record<"id" | "orderId" | "courseId", string>>;

/** Records seat decisions. An order that has one keeps it: the table's unique key is the second guard, behind the inbox. */
const insertingEnrollments: WritingRows<NewEnrollment> = (sql, enrollments, now, where) =>
  sql`
    insert into enrollments (id, order_id, course_id, status, reason, created_at, updated_at)
    select "id", "orderId", "courseId", "status", "reason", ${now}, ${now}
    from jsonb_to_recordset(${rowset(enrollments)}::text::jsonb) as new ("cause" uuid, 
      "id" uuid, "orderId" uuid, "courseId" uuid, "status" text, "reason" text
    )
    where ${where}
    on conflict (order_id) do nothing
    returning id`;

/** Records a decision on each paid order. "No seat left" is an outcome with an event of its own, never an error. */
export const enroll = recordEach(
  insertingEnrollments,
  ({ data: { orderId, courseId } }: DomainEvent<"payment.succeeded">) => {
    const seat = decideSeat(courseId);
    const row = { id: uuidv7(), orderId, courseId, ...seat };
    const tells = seat.status === "GRANTED"
      ? tell("enrollment.granted", { orderId, enrollmentId: row.id, courseId })
      : tell("enrollment.failed", { orderId, courseId, reason: seat.reason });
    return { row, tells, note: seat.reason ?? "seat granted" };
  },
);

export const script = consumerScript({
  queue: "enrollmentsPaymentSucceeded",
  role: "orderflow_enrollments",
  handle: enroll,
});

if (import.meta.main) await runProcess(script);
