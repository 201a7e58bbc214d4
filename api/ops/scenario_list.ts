/**
 * The scenarios as data: each places one order, and says what to expect of it.
 *
 * @module
 */
import type { QueueKey } from "../../shared/topology.ts";
import type { Cause } from "../../shared/broker/message.ts";
import { makeEvent } from "../../shared/events.ts";
import type { FaultPoint } from "../../shared/ops/faults.ts";
import { RESERVED_COURSES } from "../../shared/scenarios.ts";

/** A message that a scenario sends to one queue, past the exchange, behind its order. */
export interface ScenarioMessage {
  readonly queue: QueueKey;
  /** Its id, which the broker's answer names. */
  readonly id: string;
  readonly type: string;
  readonly body: string;
}

/** A fault that a scenario arms, for its own order alone, by the correlation id. */
export interface ScenarioFault {
  readonly point: FaultPoint;
  /** How often; by default once. */
  readonly times?: number;
  /** At which queue's consumer; by default anywhere. */
  readonly queue?: QueueKey;
  /** The delay in milliseconds; by default the point's own. */
  readonly delayMs?: number;
}

/** One scenario. */
export interface Scenario {
  /** The last part of its path. */
  readonly name: string;
  readonly group: string;
  /** What to expect, in a sentence or two. */
  readonly expect: string;
  /** The course, which decides how the order goes when nothing fails. */
  readonly courseId: string;
  /** What is armed before the order is placed. A scenario that has this is there only where `FAULTS_ENABLED` is on. */
  readonly faults?: readonly ScenarioFault[];
  /** What is sent behind the order. A scenario that has this is there only where `FAULTS_ENABLED` is on. */
  readonly message?: (orderId: string, cause: Cause) => ScenarioMessage;
}

const { success, paymentFailure, enrollmentFailure } = RESERVED_COURSES;

/** Every scenario, in the order in which people are shown them. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: "order-success",
    group: "Outcomes",
    expect: "COMPLETED: paid, and the seat is granted.",
    courseId: success,
  },
  {
    name: "payment-failure",
    group: "Outcomes",
    expect: "PAYMENT_FAILED: the card is declined.",
    courseId: paymentFailure,
  },
  {
    name: "enrollment-failure",
    group: "Outcomes",
    expect: "REFUNDED: paid, but no seat is left.",
    courseId: enrollmentFailure,
  },
  {
    name: "provider-slow",
    group: "Payment provider",
    expect: "COMPLETED, two seconds later than usual: the provider takes its time.",
    courseId: success,
    faults: [{ point: "provider.slow", queue: "paymentsOrderCreated" }],
  },
  {
    name: "provider-timeout",
    group: "Payment provider",
    expect: "COMPLETED at the third attempt: the provider gives no answer twice, and charges once.",
    courseId: success,
    faults: [{ point: "provider.timeout", times: 2, queue: "paymentsOrderCreated" }],
  },
  {
    name: "provider-down",
    group: "Payment provider",
    expect:
      "PENDING with a dead letter, some ten seconds later: the provider fails four times, which is all of the " +
      "three retries. Redriven, it is COMPLETED.",
    courseId: success,
    faults: [{ point: "provider.failing", times: 4, queue: "paymentsOrderCreated" }],
  },
  {
    name: "refund-failing",
    group: "Payment provider",
    expect: "REFUNDED at the third attempt: the provider fails twice when it is to give the money back.",
    courseId: enrollmentFailure,
    faults: [{ point: "provider.failing", times: 2, queue: "paymentsRefundRequested" }],
  },
  {
    name: "database-timeout",
    group: "Database",
    expect:
      "COMPLETED: a statement of the enrollments' transaction times out twice and is tried again, later.",
    courseId: success,
    faults: [{ point: "database.timeout", times: 2, queue: "enrollmentsPaymentSucceeded" }],
  },
  {
    name: "duplicate-delivery",
    group: "Delivery",
    expect:
      "COMPLETED with one charge: each event of the order comes twice, and the inbox absorbs the second.",
    courseId: success,
    faults: [{ point: "delivery.duplicate", times: 4 }],
  },
  {
    name: "delayed-delivery",
    group: "Delivery",
    expect: "COMPLETED, three seconds later than usual: the broker holds order.created back.",
    courseId: success,
    faults: [{ point: "delivery.delayed" }],
  },
  {
    name: "event-too-early",
    group: "Delivery",
    expect: "COMPLETED: the order hears of its seat before it hears of its payment, and waits.",
    courseId: success,
    faults: [{ point: "delivery.reordered", queue: "ordersPaymentEvents" }],
  },
  {
    name: "lost-message",
    group: "Delivery",
    expect:
      "COMPLETED, up to two minutes later: the broker loses order.created, and reconciliation sends it again.",
    courseId: success,
    faults: [{ point: "delivery.lost" }],
  },
  {
    name: "broker-connection-lost",
    group: "Delivery",
    expect:
      "COMPLETED: the relay's connection goes away before the confirm; it connects and publishes again.",
    courseId: success,
    faults: [{ point: "relay.connection-lost" }],
  },
  {
    name: "malformed-message",
    group: "Bad messages",
    expect: "COMPLETED, and a dead letter: what came beside it to the payments is not JSON.",
    courseId: success,
    message: (orderId) => ({
      queue: "paymentsOrderCreated",
      id: crypto.randomUUID(),
      type: "order.created",
      body: `{"orderId":"${orderId}`,
    }),
  },
  {
    name: "invalid-payload",
    group: "Bad messages",
    expect: "COMPLETED, and a dead letter: what came beside it to the payments has an amount below zero.",
    courseId: success,
    message: (orderId, cause) => {
      const data = { orderId, userId: orderId, courseId: success, amount: "49.90" };
      const { event } = makeEvent("order.created", data, cause, new Date());
      return messageOf("paymentsOrderCreated", Object.assign(event, { data: { ...data, amount: "-49.90" } }));
    },
  },
  {
    name: "unknown-version",
    group: "Bad messages",
    expect: "COMPLETED, and a dead letter: what came beside it to the enrollments is of version 2.",
    courseId: success,
    message: (orderId, cause) => {
      const data = { orderId, paymentId: orderId, courseId: success, amount: "49.90" };
      const { event } = makeEvent("payment.succeeded", data, cause, new Date());
      return messageOf("enrollmentsPaymentSucceeded", Object.assign(event, { version: 2 }));
    },
  },
  {
    name: "illegal-transition",
    group: "Bad messages",
    expect:
      "COMPLETED, and a dead letter: a refund that nobody asked for waits until the order is complete, and is " +
      "illegal then.",
    courseId: success,
    message: (orderId, cause) => {
      const { event } = makeEvent("refund.succeeded", { orderId, paymentId: orderId }, cause, new Date());
      return messageOf("ordersLifecycleEvents", event);
    },
  },
  {
    name: "poison-message",
    group: "Bad messages",
    expect:
      "PENDING with a dead letter, some fifteen seconds later: order.created ends the payments worker six times, and is put aside. " +
      "Redriven, it is COMPLETED.",
    courseId: success,
    faults: [{ point: "consumer.crash-before-commit", times: 6, queue: "paymentsOrderCreated" }],
  },
  {
    name: "crash-before-publish",
    group: "Crashes",
    expect:
      "COMPLETED: the relay ends before it publishes order.created; started again, it finds it in the outbox.",
    courseId: success,
    faults: [{ point: "relay.crash-before-publish" }],
  },
  {
    name: "crash-after-confirm",
    group: "Crashes",
    expect:
      "COMPLETED with one charge: the relay ends before it marks order.created as published, and publishes it " +
      "again.",
    courseId: success,
    faults: [{ point: "relay.crash-after-confirm" }],
  },
  {
    name: "crash-before-commit",
    group: "Crashes",
    expect:
      "COMPLETED with one charge: the payments worker has charged and ends before it commits; the next one asks " +
      "again with the same key.",
    courseId: success,
    faults: [{ point: "consumer.crash-before-commit", queue: "paymentsOrderCreated" }],
  },
  {
    name: "crash-after-commit",
    group: "Crashes",
    expect:
      "COMPLETED with one charge: the payments worker ends before it acks; the inbox absorbs the redelivery.",
    courseId: success,
    faults: [{ point: "consumer.crash-after-commit", queue: "paymentsOrderCreated" }],
  },
];

/** Whether a scenario is there only where `FAULTS_ENABLED` is on. */
export function needsFaults({ faults, message }: Scenario): boolean {
  return faults !== undefined || message !== undefined;
}

function messageOf(queue: QueueKey, event: Record<"eventId" | "type", string>): ScenarioMessage {
  return { queue, id: event.eventId, type: event.type, body: JSON.stringify(event) };
}
