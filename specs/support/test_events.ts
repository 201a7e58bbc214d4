// Events and orders for tests, and complete histories of orders, as they are once everything has settled.

import { v7 as uuidv7 } from "uuid";
import type { Delivery, ParsedEvent } from "../../shared/broker/message.ts";
import {
  type EventData,
  eventData,
  type EventType,
  makeEvent,
  type ReceivedEvent,
} from "../../shared/events.ts";
import type { Heartbeat } from "../../shared/process/heartbeat.ts";
import type { OrderStatus } from "../../shared/order_status.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";
import type { Queryable, Sql } from "../../shared/sql/connect.ts";
import { insertingEvents } from "../../shared/sql/outbox.ts";
import type { NewDeadLetter, NewRetry } from "../../shared/sql/set_aside.ts";
import { QUEUES } from "../../shared/topology.ts";

/** An event as a handler gets it, with a new id. */
export function received<T extends EventType>(type: T, data: EventData<T>): ReceivedEvent<T> {
  const cause = {
    correlationId: "test-correlation",
    traceparent: "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01",
  };
  const { event, traceparent } = makeEvent(type, data, cause, new Date());
  return { event, traceparent, attempt: 1, mayBeRepeat: false };
}

/** An order that ends well, as `POST /orders` takes it. */
export const ORDER = { userId: SCENARIO_USER, courseId: RESERVED_COURSES.success, amount: "49.90" } as const;

export function orderCreated(courseId: string = RESERVED_COURSES.success): ReceivedEvent<"order.created"> {
  return received("order.created", { ...ORDER, orderId: uuidv7(), courseId });
}

/** A `payment.succeeded` of the order, or of a new one. */
export function paymentSucceeded(
  orderId: string = uuidv7(),
  courseId: string = RESERVED_COURSES.success,
): ReceivedEvent<"payment.succeeded"> {
  return received("payment.succeeded", { orderId, paymentId: uuidv7(), courseId, amount: "49.90" });
}

export async function appendEvents(
  sql: Queryable,
  events: readonly Pick<ReceivedEvent, "event" | "traceparent">[],
): Promise<void> {
  await insertingEvents(
    sql,
    events.map(({ event, traceparent }) => ({ event, traceparent, aggregateId: event.data.orderId })),
  );
}

/** What a letter and a retry have in common: the event that they keep. */
function kept({ event, traceparent }: ReceivedEvent) {
  const { eventId, type: eventType, correlationId, data: { orderId: aggregateId } } = event;
  const body = new TextEncoder().encode(JSON.stringify(event, null, 1));
  return { eventId, eventType, aggregateId, correlationId, traceparent, body };
}

/** A delivery of what was parsed, as observers see it. */
export function deliveryOf(parsed: ParsedEvent): Omit<Delivery, "channel" | "message"> {
  return {
    cutFrom: null,
    parsed,
    span: null,
    traceparent: null,
    returns: 0,
    mayBeRepeat: false,
    retryState: { retries: 0, ageMs: 0 },
    takenUpMs: 0,
    dueMs: 0,
    looks: 0,
  };
}

/** A letter of `consumer` about an `order.created` of a new order, with `more` in the place of what it says. */
export function newLetter(consumer: string, more: Partial<NewDeadLetter> = {}): NewDeadLetter {
  return {
    consumer,
    ...kept(orderCreated()),
    traceparent: null,
    reason: "retries exhausted",
    detail: "timed out",
    attempts: 4,
    ...more,
  };
}

/** A retry, due at once, of an `order.created` of a new order for `consumer`, with `more` in the place of what it says. */
export function newRetry(consumer: string, more: Partial<NewRetry> = {}): NewRetry {
  return {
    consumer,
    ...kept(orderCreated()),
    error: "timed out",
    retries: 2,
    ageMs: 86_400_000,
    delayMs: 0,
    ...more,
  };
}

/** A heartbeat of a relay that has just started, with `more` in the place of what it says. */
export function newHeartbeat(more: Partial<Heartbeat> = {}): Heartbeat {
  return {
    instance: crypto.randomUUID(),
    process: "outbox-relay",
    pid: 7,
    version: "1.2.3",
    startedAt: new Date(),
    lastBatchAt: null,
    clockAheadMs: null,
    counts: {},
    ...more,
  };
}

export async function insertOrder(sql: Sql, status: OrderStatus, at = new Date()): Promise<string> {
  const id = uuidv7();
  await sql`
    insert into orders (id, user_id, course_id, amount, status, correlation_id, created_at, updated_at)
    values (${id}, ${ORDER.userId}, ${ORDER.courseId}, ${ORDER.amount}, ${status}, 'history', ${at}, ${at})`;
  return id;
}

export async function countEvents(sql: Sql): Promise<Record<string, number>> {
  const rows = await sql<{ type: string; count: number }[]>`
    select type, count(*)::int as count from outbox_events group by type order by type`;
  return Object.fromEntries(rows.map(({ type, count }) => [type, count]));
}

export type PublishedEventOptions = {
  readonly at?: Date;
  readonly correlationId?: string;
  readonly published?: boolean;
};

/**
 * Puts an event into the outbox, by default one that happened now and has been published, with the id that one of its time
 * has. Answers with the id.
 */
export async function insertPublished(
  sql: Sql,
  type: EventType,
  data: EventData<EventType>,
  options: PublishedEventOptions = {},
): Promise<string> {
  const { at = new Date(), correlationId = "test-correlation", published = true } = options;
  const made = makeEvent(type, data, { correlationId, traceparent: null }, at);
  // New ids are in order even within a millisecond; those of a given time are not.
  const eventId = options.at ? uuidv7({ msecs: at.getTime() }) : made.event.eventId;
  await appendEvents(sql, [{ ...made, event: { ...made.event, eventId } }]);
  if (published) await sql`update outbox_events set published_at = ${at} where id = ${eventId}`;
  return eventId;
}

/** The final statuses, each of which has a history of its own. */
export type Outcome = "COMPLETED" | "PAYMENT_FAILED" | "REFUNDED";

const PAYMENT = { COMPLETED: "SUCCEEDED", PAYMENT_FAILED: "FAILED", REFUNDED: "REFUND_SUCCEEDED" } as const;
const NOTIFICATION = {
  COMPLETED: "ORDER_COMPLETED",
  PAYMENT_FAILED: "PAYMENT_FAILED",
  REFUNDED: "ORDER_REFUNDED",
} as const;
const EVENTS: Readonly<Record<Outcome, readonly EventType[]>> = {
  COMPLETED: ["payment.succeeded", "enrollment.granted"],
  PAYMENT_FAILED: ["payment.failed"],
  REFUNDED: ["payment.succeeded", "enrollment.failed", "refund.requested", "refund.succeeded"],
};

/** Puts an order with all that belongs to it into the tables, each thing an hour old. Answers with its id. */
export async function insertHistory(sql: Sql, outcome: Outcome): Promise<string> {
  const at = new Date(Date.now() - 3_600_000);
  const id = await insertOrder(sql, outcome, at);
  const [course, amount, payment] = [ORDER.courseId, ORDER.amount, PAYMENT[outcome]];
  await sql`
    insert into payments values (${uuidv7()}, ${id}, ${course}, ${amount}, ${payment}, 1,
      ${payment === "FAILED" ? null : "charge-1"}, ${payment === "REFUND_SUCCEEDED" ? "refund-1" : null},
      ${payment === "FAILED" ? "card declined" : null}, ${at}, ${at})`;
  if (outcome !== "PAYMENT_FAILED") {
    const [seat, reason] = outcome === "COMPLETED" ? ["GRANTED", null] : ["FAILED", "no seat left"];
    await sql`insert into enrollments values (${uuidv7()}, ${id}, ${course}, ${seat}, ${reason}, ${at}, ${at})`;
  }
  await sql`insert into notifications values (${uuidv7()}, ${id}, ${NOTIFICATION[outcome]}, ${at})`;
  const types = ["order.created", ...EVENTS[outcome], "notification.sent"] as const;
  for (const type of types) await insertEvent(sql, id, type, at);
  return id;
}

/** Puts an event into the outbox, published and processed by every consumer that is bound to it. Answers with its id. */
export async function insertEvent(sql: Sql, orderId: string, type: EventType, at: Date): Promise<string> {
  const eventId = await insertPublished(sql, type, dataOf(type, orderId), { at, correlationId: "history" });
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
    ...ORDER,
    paymentId: orderId,
    enrollmentId: orderId,
    reason: "for a test",
    notificationId: orderId,
    notificationType: NOTIFICATION.COMPLETED,
  } as const;
  return eventData[type].parse(all);
}
