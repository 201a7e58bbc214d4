/**
 * Complete histories of orders, put straight into the tables: what is there once everything has settled.
 *
 * @module
 */
import { appendEvents } from "./test_events.ts";
import { v7 as uuidv7 } from "uuid";
import { QUEUES } from "../../shared/topology.ts";
import { type EventData, eventData, type EventType, makeEvent } from "../../shared/events.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import type { Sql } from "../../shared/sql/connect.ts";

/** The final statuses, each of which has a history of its own. */
export type Outcome = "COMPLETED" | "PAYMENT_FAILED" | "REFUNDED";

const PAYMENT = { COMPLETED: "SUCCEEDED", PAYMENT_FAILED: "FAILED", REFUNDED: "REFUND_SUCCEEDED" } as const;
const NOTIFICATION = {
  COMPLETED: "ORDER_COMPLETED",
  PAYMENT_FAILED: "PAYMENT_FAILED",
  REFUNDED: "ORDER_REFUNDED",
} as const;

/** Puts an order with all that belongs to it into the tables, each thing an hour old. Answers with its id. */
export async function insertHistory(sql: Sql, outcome: Outcome): Promise<string> {
  const id = uuidv7();
  const [course, amount, payment] = [RESERVED_COURSES.success, "49.90", PAYMENT[outcome]];
  const at = new Date(Date.now() - 3_600_000);
  await sql`
    insert into orders (id, user_id, course_id, amount, status, correlation_id, created_at, updated_at)
    values (${id}, ${SCENARIO_USER}, ${course}, ${amount}, ${outcome}, 'history', ${at}, ${at})`;
  await sql`
    insert into payments values (${uuidv7()}, ${id}, ${course}, ${amount}, ${payment}, 1,
      ${payment === "FAILED" ? null : "charge-1"}, ${payment === "REFUND_SUCCEEDED" ? "refund-1" : null},
      ${payment === "FAILED" ? "card declined" : null}, ${at}, ${at})`;
  if (outcome !== "PAYMENT_FAILED") {
    const [seat, reason] = outcome === "COMPLETED" ? ["GRANTED", null] : ["FAILED", "no seat left"];
    await sql`insert into enrollments values (${uuidv7()}, ${id}, ${course}, ${seat}, ${reason}, ${at}, ${at})`;
  }
  await sql`insert into notifications values (${uuidv7()}, ${id}, ${NOTIFICATION[outcome]}, ${at})`;
  await insertEvent(sql, id, "order.created", at);
  if (outcome === "PAYMENT_FAILED") {
    await insertEvent(sql, id, "payment.failed", at);
  } else {
    await insertEvent(sql, id, "payment.succeeded", at);
    await insertEvent(sql, id, outcome === "COMPLETED" ? "enrollment.granted" : "enrollment.failed", at);
  }
  if (outcome === "REFUNDED") {
    await insertEvent(sql, id, "refund.requested", at);
    await insertEvent(sql, id, "refund.succeeded", at);
  }
  await insertEvent(sql, id, "notification.sent", at);
  return id;
}

/** Puts an event into the outbox, published and processed by every consumer that is bound to it. Answers with its id. */
export async function insertEvent(sql: Sql, orderId: string, type: EventType, at: Date): Promise<string> {
  const outgoing = makeEvent(
    type,
    dataOf(type, orderId),
    { correlationId: "history", traceparent: null },
    at,
  );
  const { eventId } = outgoing.event;
  await appendEvents(sql, [outgoing]);
  await sql`update outbox_events set published_at = ${at} where id = ${eventId}`;
  for (const { name, bindings } of Object.values(QUEUES)) {
    if (!bindings.some((bound) => bound === type)) continue;
    await sql`insert into processed_events values (${eventId}, ${name}, ${at})`;
  }
  return eventId;
}

/** Data that has all fields of all types: who reads an event takes those of its own. */
function dataOf(type: EventType, orderId: string): EventData<EventType> {
  const all = {
    orderId,
    userId: SCENARIO_USER,
    courseId: RESERVED_COURSES.success,
    amount: "49.90",
    paymentId: orderId,
    enrollmentId: orderId,
    reason: "for a test",
    notificationId: orderId,
    notificationType: NOTIFICATION.COMPLETED,
  } as const;
  return eventData[type].parse(all);
}
