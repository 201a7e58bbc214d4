// The notifications module's consumer of the final outcomes: records what is "sent".

import { v7 as uuidv7 } from "uuid";
import { type DomainEvent, type EventData, tell } from "../shared/events.ts";
import { runProcess } from "../shared/process/run.ts";
import { rowset } from "../shared/sql/connect.ts";
import type { WritingRows } from "../shared/sql/inbox.ts";
import { consumerScript, recordEach } from "./consumer.ts";

type FinalEvent = DomainEvent<"enrollment.granted" | "payment.failed" | "refund.succeeded">;

type NotificationType = EventData<"notification.sent">["notificationType"];

const NOTIFICATIONS: Readonly<Record<FinalEvent["type"], NotificationType>> = {
  "enrollment.granted": "ORDER_COMPLETED",
  "payment.failed": "PAYMENT_FAILED",
  "refund.succeeded": "ORDER_REFUNDED",
};

interface NewNotification {
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

/**
 * Records a notification of each outcome. The record is the sending: a real sender would follow the record, with its id
 * as idempotency key.
 */
export const notify = recordEach(
  insertingNotifications,
  ({ type: outcome, data: { orderId } }: FinalEvent) => {
    const row = { id: uuidv7(), orderId, type: NOTIFICATIONS[outcome] };
    const tells = tell("notification.sent", { orderId, notificationId: row.id, notificationType: row.type });
    return { row, tells, note: `sent ${row.type}` };
  },
);

export const script = consumerScript({
  queue: "notificationsFinalEvents",
  role: "orderflow_notifications",
  handle: notify,
});

if (import.meta.main) await runProcess(script);
