/**
 * The table `enrollments`, written by the enrollments module alone.
 *
 * @module
 */
import { rowset } from "./connect.ts";
import type { WritingRows } from "./inbox.ts";

export interface NewEnrollment {
  readonly id: string;
  readonly orderId: string;
  readonly courseId: string;
  readonly status: "GRANTED" | "FAILED";
  /** Null if and only if the seat is granted. */
  readonly reason: string | null;
}

/**
 * Records seat decisions. An order that has one keeps it: the table's unique key is the second guard, behind the inbox.
 */
export const insertingEnrollments: WritingRows<NewEnrollment> = (sql, enrollments, now, where) =>
  sql`
    insert into enrollments (id, order_id, course_id, status, reason, created_at, updated_at)
    select "id", "orderId", "courseId", "status", "reason", ${now}, ${now}
    from jsonb_to_recordset(${rowset(enrollments)}::text::jsonb) as new ("cause" uuid, 
      "id" uuid, "orderId" uuid, "courseId" uuid, "status" text, "reason" text
    )
    where ${where}
    on conflict (order_id) do nothing
    returning id`;
