/**
 * The scenarios as data: each places one order, and says what to expect of it.
 *
 * @module
 */
import type { Cause } from "../../shared/broker/message.ts";
import { makeEvent } from "../../shared/events.ts";
import type { FaultPoint } from "../../shared/ops/faults.ts";
import { RESERVED_COURSES } from "../../shared/scenarios.ts";
import type { QueueKey } from "../../shared/topology.ts";

/** One scenario; what it arms or sends is there only where `FAULTS_ENABLED` is on. */
export interface Scenario {
  /** The last part of its path. */
  readonly name: string;
  readonly group: string;
  /** What to expect, in a sentence or two. */
  readonly expect: string;
  /** The course, which decides how the order goes when nothing fails. */
  readonly courseId: string;
  /** Armed before the order is placed, for it alone, by the correlation id; once, anywhere, with the point's own delay. */
  readonly fault?: { readonly point: FaultPoint; readonly times?: number; readonly queue?: QueueKey };
  /** Sent to one queue, past the exchange, behind the order; `id` is what the broker's answer names. */
  readonly message?: (orderId: string, cause: Cause) => {
    readonly queue: QueueKey;
    readonly id: string;
    readonly type: string;
    readonly body: string;
  };
}

const { success, paymentFailure, enrollmentFailure } = RESERVED_COURSES;

function scenario(
  name: string,
  expect: string,
  more: Partial<Pick<Scenario, "courseId" | "fault" | "message">> = {},
): Omit<Scenario, "group"> {
  return { name, expect, courseId: success, ...more };
}

const GROUPS: Readonly<Record<string, readonly Omit<Scenario, "group">[]>> = {
  Outcomes: [
    scenario("order-success", "COMPLETED: paid, and the seat is granted."),
    scenario("payment-failure", "PAYMENT_FAILED: the card is declined.", { courseId: paymentFailure }),
    scenario("enrollment-failure", "REFUNDED: paid, but no seat is left.", { courseId: enrollmentFailure }),
  ],
  "Payment provider": [
    scenario("provider-slow", "COMPLETED, two seconds later than usual: the provider takes its time.", {
      fault: { point: "provider.slow", queue: "paymentsOrderCreated" },
    }),
    scenario(
      "provider-timeout",
      "COMPLETED at the third attempt: the provider gives no answer twice, and charges once.",
      { fault: { point: "provider.timeout", times: 2, queue: "paymentsOrderCreated" } },
    ),
    scenario(
      "provider-down",
      "PENDING with a dead letter, some ten seconds later: the provider fails four times, which is all of the " +
        "three retries. Redriven, it is COMPLETED.",
      { fault: { point: "provider.failing", times: 4, queue: "paymentsOrderCreated" } },
    ),
    scenario(
      "refund-failing",
      "REFUNDED at the third attempt: the provider fails twice when it is to give the money back.",
      {
        courseId: enrollmentFailure,
        fault: { point: "provider.failing", times: 2, queue: "paymentsRefundRequested" },
      },
    ),
  ],
  Database: [
    scenario(
      "database-timeout",
      "COMPLETED: a statement of the enrollments' transaction times out twice and is tried again, later.",
      { fault: { point: "database.timeout", times: 2, queue: "enrollmentsPaymentSucceeded" } },
    ),
  ],
  Delivery: [
    scenario(
      "duplicate-delivery",
      "COMPLETED with one charge: each event of the order comes twice, and the inbox absorbs the second.",
      { fault: { point: "delivery.duplicate", times: 4 } },
    ),
    scenario(
      "delayed-delivery",
      "COMPLETED, three seconds later than usual: the broker holds order.created back.",
      { fault: { point: "delivery.delayed" } },
    ),
    scenario(
      "event-too-early",
      "COMPLETED: the order hears of its seat before it hears of its payment, and waits.",
      { fault: { point: "delivery.reordered", queue: "ordersPaymentEvents" } },
    ),
    scenario(
      "lost-message",
      "COMPLETED, up to two minutes later: the broker loses order.created, and reconciliation sends it again.",
      { fault: { point: "delivery.lost" } },
    ),
    scenario(
      "broker-connection-lost",
      "COMPLETED: the relay's connection goes away before the confirm; it connects and publishes again.",
      { fault: { point: "relay.connection-lost" } },
    ),
  ],
  "Bad messages": [
    scenario(
      "malformed-message",
      "COMPLETED, and a dead letter: what came beside it to the payments is not JSON.",
      {
        message: (orderId) => ({
          queue: "paymentsOrderCreated",
          id: crypto.randomUUID(),
          type: "order.created",
          body: `{"orderId":"${orderId}`,
        }),
      },
    ),
    scenario(
      "invalid-payload",
      "COMPLETED, and a dead letter: what came beside it to the payments has an amount below zero.",
      {
        message: (orderId, cause) => {
          const data = { orderId, userId: orderId, courseId: success, amount: "49.90" };
          const { event } = makeEvent("order.created", data, cause, new Date());
          return toSend("paymentsOrderCreated", { ...event, data: { ...data, amount: "-49.90" } });
        },
      },
    ),
    scenario(
      "unknown-version",
      "COMPLETED, and a dead letter: what came beside it to the enrollments is of version 2.",
      {
        message: (orderId, cause) => {
          const data = { orderId, paymentId: orderId, courseId: success, amount: "49.90" };
          const { event } = makeEvent("payment.succeeded", data, cause, new Date());
          return toSend("enrollmentsPaymentSucceeded", { ...event, version: 2 });
        },
      },
    ),
    scenario(
      "illegal-transition",
      "COMPLETED, and a dead letter: a refund that nobody asked for waits until the order is complete, and is " +
        "illegal then.",
      {
        message: (orderId, cause) => {
          const data = { orderId, paymentId: orderId };
          return toSend(
            "ordersLifecycleEvents",
            makeEvent("refund.succeeded", data, cause, new Date()).event,
          );
        },
      },
    ),
    scenario(
      "poison-message",
      "PENDING with a dead letter, some fifteen seconds later: order.created ends the payments worker six times, " +
        "and is put aside. Redriven, it is COMPLETED.",
      { fault: { point: "consumer.crash-before-commit", times: 6, queue: "paymentsOrderCreated" } },
    ),
  ],
  Crashes: [
    scenario(
      "crash-before-publish",
      "COMPLETED: the relay ends before it publishes order.created; started again, it finds it in the outbox.",
      { fault: { point: "relay.crash-before-publish" } },
    ),
    scenario(
      "crash-after-confirm",
      "COMPLETED with one charge: the relay ends before it marks order.created as published, and publishes it " +
        "again.",
      { fault: { point: "relay.crash-after-confirm" } },
    ),
    scenario(
      "crash-before-commit",
      "COMPLETED with one charge: the payments worker has charged and ends before it commits; the next one asks " +
        "again with the same key.",
      { fault: { point: "consumer.crash-before-commit", queue: "paymentsOrderCreated" } },
    ),
    scenario(
      "crash-after-commit",
      "COMPLETED with one charge: the payments worker ends before it acks; the inbox absorbs the redelivery.",
      { fault: { point: "consumer.crash-after-commit", queue: "paymentsOrderCreated" } },
    ),
  ],
};

/** Every scenario, in the order in which people are shown them. */
export const SCENARIOS: readonly Scenario[] = Object.entries(GROUPS)
  .flatMap(([group, scenarios]) => scenarios.map((one) => ({ ...one, group })));

/** Whether a scenario is there only where `FAULTS_ENABLED` is on. */
export function needsFaults({ fault, message }: Scenario): boolean {
  return fault !== undefined || message !== undefined;
}

function toSend(
  queue: QueueKey,
  event: Record<"eventId" | "type", string> & Record<"version" | "data", unknown>,
) {
  return { queue, id: event.eventId, type: event.type, body: JSON.stringify(event) };
}
