/**
 * The notifications module's consumer of the final outcomes: records what is "sent".
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import type { ReceivedEvent } from "../shared/broker/message.ts";
import type { HandleBatch, Verdict } from "../shared/broker/settle.ts";
import { makeEvent, type OutgoingEvent } from "../shared/events.ts";
import type { Atomically } from "../shared/sql/connect.ts";
import {
  insertingNotifications,
  type NewNotification,
  type NotificationType,
} from "../shared/sql/notifications.ts";
import type { OutboxWaker } from "../shared/sql/outbox.ts";
import { recordOnce } from "../shared/sql/inbox.ts";
import { runConsumerProcess } from "./consumer.ts";

/** What the handler is made of. */
export interface NotifyDeps {
  /** Runs a statement that may write `notifications`, the inbox and the outbox. */
  readonly atomically: Atomically;
  /** The consumer's name, for the inbox. */
  readonly consumer: string;
  /** Wakes the relay after each batch. */
  readonly waker: OutboxWaker;
}

/** The events that tell of a final outcome. */
export type FinalEvent = "enrollment.granted" | "payment.failed" | "refund.succeeded";

/** The notification that each of them calls for. */
const OUTCOMES: Readonly<Record<FinalEvent, NotificationType>> = {
  "enrollment.granted": "ORDER_COMPLETED",
  "payment.failed": "PAYMENT_FAILED",
  "refund.succeeded": "ORDER_REFUNDED",
};

/**
 * Makes the handler. The record is the sending: a real sender would follow the record, with its id as idempotency key.
 */
export function createNotifyHandler({ atomically, consumer, waker }: NotifyDeps): HandleBatch<FinalEvent> {
  return async (events) => {
    const now = new Date();
    const wanted = events.map((received) => ({ received, notification: notificationOf(received) }));
    const recordings = wanted.map(({ received, notification }) => ({
      row: { ...notification, cause: received.event.eventId },
      event: sentEvent(received, notification, now),
    }));
    const recording = recordOnce(atomically, consumer, { recordings }, now, insertingNotifications);
    waker.wake();
    const recorded = await recording;
    return wanted.map(({ received, notification }): Verdict => {
      if (!recorded.has(received.event.eventId)) return { kind: "duplicate" };
      return { kind: "done", note: `sent ${notification.type}` };
    });
  };
}

function notificationOf({ event }: ReceivedEvent<FinalEvent>): NewNotification {
  return { id: uuidv7(), orderId: event.data.orderId, type: OUTCOMES[event.type] };
}

function sentEvent(
  { event, traceparent }: ReceivedEvent<FinalEvent>,
  { id, orderId, type }: NewNotification,
  now: Date,
): OutgoingEvent {
  const cause = { correlationId: event.correlationId, traceparent };
  return makeEvent("notification.sent", { orderId, notificationId: id, notificationType: type }, cause, now);
}

if (import.meta.main) {
  await runConsumerProcess({
    queue: "notificationsFinalEvents",
    role: "orderflow_notifications",
    createHandler: createNotifyHandler,
  });
}
