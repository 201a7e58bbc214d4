/**
 * The table `enrollments`, written by the enrollments module alone.
 *
 * @module
 */
import { type Caused, type Queryable, rowset, type Statement } from "./connect.ts";

/** A decided seat on its way into the table; a reason where it was refused. */
export interface NewEnrollment {
  /** The enrollment's id, a version 7 uuid. */
  readonly id: string;
  /** The order that asks for the seat; it gets one decision. */
  readonly orderId: string;
  /** The course that the seat is in. */
  readonly courseId: string;
  /** Whether there was a seat. */
  readonly status: "GRANTED" | "FAILED";
  /** Why there was none; null if and only if the seat is granted. */
  readonly reason: string | null;
}

/**
 * The statement that records seat decisions, and returns the ids of those recorded; `where` is a condition on `cause`. An
 * order that has one keeps it: the table's unique key is the second guard, behind the inbox.
 */
export function insertingEnrollments(
  sql: Queryable,
  enrollments: readonly Caused<NewEnrollment>[],
  now: Date,
  where: Statement,
): Statement<{ id: string }> {
  return sql`
    insert into enrollments (id, order_id, course_id, status, reason, created_at, updated_at)
    select "id", "orderId", "courseId", "status", "reason", ${now}, ${now}
    from jsonb_to_recordset(${rowset(enrollments)}::text::jsonb) as new ("cause" uuid, 
      "id" uuid, "orderId" uuid, "courseId" uuid, "status" text, "reason" text
    )
    where ${where}
    on conflict (order_id) do nothing
    returning id`;
}
