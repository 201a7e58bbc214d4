/**
 * The events of an order that goes well, as the modules make them.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import { type DomainEvent, type EventType, makeEvent } from "../../shared/events.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";

/** Their types, in the order in which they happen. */
export const FLOW_TYPES = [
  "order.created",
  "payment.succeeded",
  "enrollment.granted",
  "notification.sent",
] as const satisfies readonly EventType[];

/** The events of one new order, as long as those of any other that the load generator makes. */
export function eventsOfOrder(): DomainEvent<(typeof FLOW_TYPES)[number]>[] {
  const now = new Date();
  const cause = { correlationId: crypto.randomUUID(), traceparent: null };
  const orderId = uuidv7();
  const courseId = RESERVED_COURSES.success;
  const amount = "49.90";
  return [
    makeEvent("order.created", { orderId, userId: SCENARIO_USER, courseId, amount }, cause, now).event,
    makeEvent("payment.succeeded", { orderId, paymentId: uuidv7(), courseId, amount }, cause, now).event,
    makeEvent("enrollment.granted", { orderId, enrollmentId: uuidv7(), courseId }, cause, now).event,
    makeEvent(
      "notification.sent",
      { orderId, notificationId: uuidv7(), notificationType: "ORDER_COMPLETED" },
      cause,
      now,
    ).event,
  ];
}
