// The broker's topology as data: the exchange, the queues, what each is bound to, and who consumes it.

import type { EventType } from "./events.ts";

/** One queue. The consumer is named like it; the variable `env` can give both another name. */
interface QueueSpec {
  readonly name: string;
  readonly env: string;
  readonly bindings: readonly EventType[];
}

/** The queues by the key under which workers ask for theirs. */
export const QUEUES = {
  paymentsOrderCreated: {
    name: "payments.order-created.v1",
    env: "RABBITMQ_PAYMENTS_ORDER_CREATED_QUEUE",
    bindings: ["order.created"],
  },
  ordersPaymentEvents: {
    name: "orders.payment-events.v1",
    env: "RABBITMQ_ORDERS_PAYMENT_EVENTS_QUEUE",
    bindings: ["payment.succeeded", "payment.failed"],
  },
  enrollmentsPaymentSucceeded: {
    name: "enrollments.payment-succeeded.v1",
    env: "RABBITMQ_ENROLLMENTS_PAYMENT_SUCCEEDED_QUEUE",
    bindings: ["payment.succeeded"],
  },
  ordersLifecycleEvents: {
    name: "orders.lifecycle-events.v1",
    env: "RABBITMQ_ORDERS_LIFECYCLE_EVENTS_QUEUE",
    bindings: ["enrollment.granted", "enrollment.failed", "refund.succeeded"],
  },
  paymentsRefundRequested: {
    name: "payments.refund-requested.v1",
    env: "RABBITMQ_PAYMENTS_REFUND_REQUESTED_QUEUE",
    bindings: ["refund.requested"],
  },
  notificationsFinalEvents: {
    name: "notifications.final-events.v1",
    env: "RABBITMQ_NOTIFICATIONS_FINAL_EVENTS_QUEUE",
    bindings: ["enrollment.granted", "payment.failed", "refund.succeeded"],
  },
} as const satisfies Record<string, QueueSpec>;

export type QueueKey = keyof typeof QUEUES;

/** The variable that can name a queue otherwise. */
export type QueueVariable = (typeof QUEUES)[QueueKey]["env"];

type ModuleOf<Queue extends string> = Queue extends `${infer Module}.${string}` ? Module : never;

/** A module: what its queues are named after, and its table and its database role. */
export type Module = ModuleOf<(typeof QUEUES)[QueueKey]["name"]>;

export const MODULES = [
  ...new Set(Object.values(QUEUES).map(({ name }) => name.split(".", 1).join() as Module)),
] as const;

export const QUEUE_KEYS = Object.keys(QUEUES) as readonly QueueKey[];

/** The topology under the names that the configuration gave it; the exchange is a topic exchange. */
export interface Topology {
  readonly exchange: string;
  readonly queues: {
    readonly [K in QueueKey]: { readonly name: string; readonly bindings: (typeof QUEUES)[K]["bindings"] };
  };
}

/** The event types that a queue is bound to. Only these are published as mandatory: others may go unheard. */
export const CONSUMED_TYPES: ReadonlySet<string> = new Set(Object.values(QUEUES).flatMap((q) => q.bindings));
