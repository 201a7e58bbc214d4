/**
 * The table `notifications`, written by the notifications module alone.
 *
 * @module
 */
import type { NOTIFICATION_TYPES } from "../events.ts";
import { rowset } from "./connect.ts";
import type { WritingRows } from "./inbox.ts";

export type NotificationType = (typeof NOTIFICATION_TYPES)[number];

export interface NewNotification {
  readonly id: string;
  readonly orderId: string;
  readonly type: NotificationType;
}

/** Records notifications, one per order and type: the table's unique key is the second guard, behind the inbox. */
export const insertingNotifications: WritingRows<NewNotification> = (sql, notifications, now, where) =>
  sql`
    insert into notifications (id, order_id, type, sent_at)
    select "id", "orderId", "type", ${now}
    from jsonb_to_recordset(${rowset(notifications)}::text::jsonb)
      as new ("cause" uuid, "id" uuid, "orderId" uuid, "type" text)
    where ${where}
    on conflict (order_id, type) do nothing
    returning id`;
