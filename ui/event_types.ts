/**
 * The names of the event types, for filters. `shared/events.ts` has them with their schemas, which would cost
 * the browser all of zod; a test holds this list to it.
 *
 * @module
 */
import type { EventType } from "../shared/events.ts";

/** Every event type, in the order in which an order meets them. */
export const EVENT_TYPE_NAMES: readonly EventType[] = [
  "order.created",
  "payment.succeeded",
  "payment.failed",
  "enrollment.granted",
  "enrollment.failed",
  "refund.requested",
  "refund.succeeded",
  "notification.sent",
];
