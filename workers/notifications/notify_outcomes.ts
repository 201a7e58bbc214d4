/**
 * Records a notification for each final outcome in a batch.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import type { ReceivedEvent } from "../../shared/broker/delivery.ts";
import type { HandleBatch } from "../../shared/broker/judge_batch.ts";
import type { Verdict } from "../../shared/broker/next_step.ts";
import { makeEvent } from "../../shared/events/catalog.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import {
  insertNotifications,
  type NewNotification,
  type NotificationType,
} from "../../shared/sql/notifications.ts";
import type { OutboxWaker } from "../../shared/sql/outbox_wakeup.ts";
import { processOnce } from "../../shared/sql/process_once.ts";

/** What the handler is made of. */
export interface NotifyDeps {
  /** A pool that may write `notifications`, the inbox and the outbox. */
  readonly sql: Sql;
  /** The consumer's name, for the inbox. */
  readonly consumer: string;
  /** Wakes the relay after each batch. */
  readonly waker: OutboxWaker;
}

/** The notification that each final outcome calls for. */
const OUTCOMES: ReadonlyMap<string, NotificationType> = new Map([
  ["enrollment.granted", "ORDER_COMPLETED"],
  ["payment.failed", "PAYMENT_FAILED"],
  ["refund.succeeded", "ORDER_REFUNDED"],
]);

/**
 * Makes the handler. The record is the sending: a real sender would follow the record, with its id as idempotency key.
 */
export function createNotifyHandler({ sql, consumer, waker }: NotifyDeps): HandleBatch {
  return async (events) => {
    const now = new Date();
    const wanted = new Map(events.flatMap(toNotification));
    const ids = [...wanted.keys()].map(({ event }) => event.eventId);
    const fresh = await processOnce(sql, consumer, ids, now, async (tx, fresh) => {
      const ours = [...wanted].filter(([{ event }]) => fresh.has(event.eventId));
      const inserted = await insertNotifications(tx, ours.map(([, notification]) => notification), now);
      return ours.filter(([, { id }]) => inserted.has(id)).map((
        [{ event, traceparent }, { id, orderId, type }],
      ) =>
        makeEvent(
          "notification.sent",
          { orderId, notificationId: id, notificationType: type },
          { correlationId: event.correlationId, traceparent },
          now,
        )
      );
    });
    waker.wake();
    return events.map((received): Verdict => {
      const notification = wanted.get(received);
      if (!notification) {
        const detail = `${received.event.type} is not for this consumer`;
        return { kind: "rejected", reason: "unexpected type", detail };
      }
      if (!fresh.has(received.event.eventId)) return { kind: "duplicate" };
      return { kind: "done", note: `sent ${notification.type}` };
    });
  };
}

function toNotification(received: ReceivedEvent): [ReceivedEvent, NewNotification][] {
  const type = OUTCOMES.get(received.event.type);
  return type ? [[received, { id: uuidv7(), orderId: received.event.data.orderId, type }]] : [];
}
