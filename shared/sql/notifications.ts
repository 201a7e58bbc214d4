/**
 * The table `notifications`, written by the notifications module alone.
 *
 * @module
 */
import type { NOTIFICATION_TYPES } from "../events.ts";
import { type Caused, type Queryable, rowset, type Statement } from "./connect.ts";

/** The final outcome that a notification tells of. */
export type NotificationType = (typeof NOTIFICATION_TYPES)[number];

/** A notification on its way into the table. */
export interface NewNotification {
  /** The notification's id, a version 7 uuid. */
  readonly id: string;
  /** The order that it tells of. */
  readonly orderId: string;
  /** Which outcome it tells of; an order has one notification of each at most. */
  readonly type: NotificationType;
}

/**
 * The statement that records notifications, and returns the ids of those recorded: one per order and outcome. `where` is
 * a condition on `cause`.
 */
export function insertingNotifications(
  sql: Queryable,
  notifications: readonly Caused<NewNotification>[],
  now: Date,
  where: Statement,
): Statement<{ id: string }> {
  return sql`
    insert into notifications (id, order_id, type, sent_at)
    select "id", "orderId", "type", ${now}
    from jsonb_to_recordset(${
    rowset(notifications)
  }::text::jsonb) as new ("cause" uuid, "id" uuid, "orderId" uuid, "type" text)
    where ${where}
    on conflict (order_id, type) do nothing
    returning id`;
}
