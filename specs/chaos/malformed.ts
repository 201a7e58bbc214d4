/**
 * Messages that no consumer can ever process.
 *
 * @module
 */
import { v7 as uuidv7 } from "uuid";
import type { QueueKey } from "../../shared/topology.ts";
import { makeEvent } from "../../shared/events.ts";
import { RESERVED_COURSES, SCENARIO_USER } from "../../shared/scenarios.ts";

/** A message, and why it is wrong. */
export interface MalformedMessage {
  /** The reason that its dead letter has to have. */
  readonly reason: string;
  /** The body; no two are the same. */
  readonly body: Uint8Array;
}

/** Orders whose time for these events is over or never was, where there are such. */
export interface FinishedOrders {
  /** The id of an order that is complete. */
  readonly completed: string | null;
  /** The id of an order whose payment was declined. */
  readonly declined: string | null;
}

/**
 * `count` messages for a queue, one of each sort in turn. None has the id of a real event: a dead letter counts as what
 * became of the event that it names, and these stand for nobody's.
 */
export function malformedMessages(
  queue: QueueKey,
  count: number,
  orders: FinishedOrders,
): MalformedMessage[] {
  const sorts = [garbage, truncated, unknownVersion, unknownType, withoutData, forSomebodyElse];
  const illegal = ILLEGAL[queue];
  if (illegal) sorts.push(() => illegal(orders));
  return Array.from({ length: count }, (_, i) => {
    const make = sorts[i % sorts.length] ?? garbage;
    const [reason, body] = make();
    return { reason, body: typeof body === "string" ? new TextEncoder().encode(body) : body };
  });
}

type Made = readonly [reason: string, body: string | Uint8Array];

const cause = () => ({ correlationId: `malformed-${uuidv7()}`, traceparent: null });

/** An event that is well formed, and about an order that does not exist. */
function wellFormed() {
  const data = {
    orderId: uuidv7(),
    userId: SCENARIO_USER,
    courseId: RESERVED_COURSES.success,
    amount: "49.90",
  };
  return makeEvent("order.created", data, cause(), new Date()).event;
}

const garbage = (): Made => ["not JSON", crypto.getRandomValues(new Uint8Array(64)).fill(0xff, 0, 4)];
const truncated = (): Made => ["not JSON", JSON.stringify(wellFormed()).slice(0, -20)];
const unknownVersion = (): Made => ["unknown version", JSON.stringify({ ...wellFormed(), version: 2 })];
const unknownType =
  (): Made => ["unknown type", JSON.stringify({ ...wellFormed(), type: "order.\0imagined" })];
const withoutData =
  (): Made => ["invalid payload", JSON.stringify({ ...wellFormed(), data: { orderId: uuidv7() } })];

/** No queue is bound to this type. */
function forSomebodyElse(): Made {
  const data = { orderId: uuidv7(), notificationId: uuidv7(), notificationType: "ORDER_COMPLETED" } as const;
  return ["unexpected type", JSON.stringify(makeEvent("notification.sent", data, cause(), new Date()).event)];
}

/** What the state machine refuses; only the orders module has one. */
const ILLEGAL: Partial<Record<QueueKey, (orders: FinishedOrders) => Made>> = {
  ordersPaymentEvents({ completed }) {
    const data = { orderId: completed ?? uuidv7(), paymentId: uuidv7(), reason: "malformed" };
    return [
      "illegal transition",
      JSON.stringify(makeEvent("payment.failed", data, cause(), new Date()).event),
    ];
  },
  ordersLifecycleEvents({ declined }) {
    const data = {
      orderId: declined ?? uuidv7(),
      enrollmentId: uuidv7(),
      courseId: RESERVED_COURSES.success,
    };
    return [
      "illegal transition",
      JSON.stringify(makeEvent("enrollment.granted", data, cause(), new Date()).event),
    ];
  },
};
