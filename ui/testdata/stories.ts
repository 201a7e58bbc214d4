/**
 * Stories of orders, and a page's data, for the tests of the page.
 *
 * @module
 */
import type { LiveOrder, LivePulse } from "../../shared/ops/live.ts";
import type { OrderStatus } from "../../shared/order_status.ts";
import type { OrderStoryJson, TimelineEntryJson } from "../../shared/ops/answers.ts";
import type { PageData } from "../page_data.ts";
import { START_VIEW } from "../url_state.ts";

/** When the stories begin, in epoch milliseconds. */
export const START = Date.parse("2026-01-02T03:04:05.000Z");

/** The trace that all of a story belongs to. */
export const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";

/** An id that ends in `n`. */
export function testId(n: number): string {
  return `019b7c00-0000-7000-8000-${String(n).padStart(12, "0")}`;
}

/** An order; what is not told is made up. */
export function testOrder(order: Partial<LiveOrder> = {}): LiveOrder {
  return {
    id: testId(1),
    userId: "00000000-0000-0000-0000-000000000001",
    courseId: "00000000-0000-0000-0000-000000000101",
    amount: "49.90",
    status: "PENDING",
    correlationId: "correlation-1",
    createdAt: new Date(START).toISOString(),
    updatedAt: new Date(START).toISOString(),
    ...order,
  };
}

/** An entry of a timeline without its time and its event. */
export type EntryPart = TimelineEntryJson extends infer E
  ? E extends { at: string } ? Omit<E, "at" | "eventId" | "eventType" | "traceId"> : never
  : never;

/** One entry, `ms` after the start, about the event with the number `n` of a type; 0 for none. */
export function entry(ms: number, n: number, eventType: string | null, part: EntryPart): TimelineEntryJson {
  const at = new Date(START + ms).toISOString();
  const eventId = n === 0 ? null : testId(100 + n);
  return { at, eventId, eventType, traceId: TRACE_ID, ...part } as TimelineEntryJson;
}

/** A story of these entries. */
export function testStory(status: OrderStatus, timeline: TimelineEntryJson[]): OrderStoryJson {
  return { order: testOrder({ status }), timeline };
}

const placed = entry(0, 0, null, { kind: "status", from: null, to: "PENDING" });
const done = (ms: number, n: number, type: string, consumer: string) =>
  entry(ms, n, type, { kind: "processed", consumer });
const sent = (ms: number, n: number, type: string, waited = 4) => [
  entry(ms, n, type, { kind: "emitted" }),
  entry(ms + waited, n, type, { kind: "published", retryCount: 0 }),
];
const moved = (ms: number, n: number, type: string, from: OrderStatus, to: OrderStatus) =>
  entry(ms, n, type, { kind: "status", from, to });

/** Paid, no seat, refunded. */
export const REFUNDED: OrderStoryJson = testStory("REFUNDED", [
  placed,
  ...sent(0, 1, "order.created"),
  done(12, 1, "order.created", "payments.order-created.v1"),
  ...sent(12, 2, "payment.succeeded"),
  done(20, 2, "payment.succeeded", "orders.payment-events.v1"),
  moved(20, 2, "payment.succeeded", "PENDING", "PAID"),
  done(24, 2, "payment.succeeded", "enrollments.payment-succeeded.v1"),
  ...sent(24, 3, "enrollment.failed"),
  done(35, 3, "enrollment.failed", "orders.lifecycle-events.v1"),
  moved(35, 3, "enrollment.failed", "PAID", "REFUND_IN_PROGRESS"),
  ...sent(35, 4, "refund.requested"),
  done(50, 4, "refund.requested", "payments.refund-requested.v1"),
  ...sent(50, 5, "refund.succeeded"),
  done(60, 5, "refund.succeeded", "orders.lifecycle-events.v1"),
  moved(60, 5, "refund.succeeded", "REFUND_IN_PROGRESS", "REFUNDED"),
  done(62, 5, "refund.succeeded", "notifications.final-events.v1"),
  ...sent(62, 6, "notification.sent"),
]);

/** The provider failed until the retries were spent; the order still waits. */
export const HELD_UP: OrderStoryJson = testStory("PENDING", [
  placed,
  ...sent(0, 1, "order.created"),
  entry(10_500, 1, "order.created", {
    kind: "retry",
    consumer: "payments.order-created.v1",
    retries: 3,
    error: "the payment provider cannot now",
    dueAt: null,
  }),
  entry(10_600, 1, "order.created", {
    kind: "dead-letter",
    consumer: "payments.order-created.v1",
    reason: "retries exhausted",
    deadLetterId: testId(900),
  }),
]);

/** A pulse with these orders, of a machine at rest. */
export function testPulse(orders: LiveOrder[] = [testOrder()], atMs = 10_000): LivePulse {
  return {
    at: new Date(START + atMs).toISOString(),
    orders,
    outbox: { pending: 0, oldestSeconds: 0 },
    queues: [],
    processes: [],
    deadLetters: {},
    retries: {},
    rates: { orders: 0, events: 0, processed: 0 },
    latency: { p50: null, p99: null },
  };
}

/** What a page shows; what is not told is as at the start. */
export function testPage(data: Partial<PageData> = {}): PageData {
  return {
    view: START_VIEW,
    pulse: testPulse(),
    orders: { orders: [testOrder()], nextCursor: null },
    story: null,
    scenarios: [{
      name: "order-success",
      path: "/ops/scenarios/order-success",
      group: "Outcomes",
      expect: "COMPLETED: paid, and the seat is granted.",
    }],
    assets: { script: "/assets/island-1.js", styles: "/assets/styles-1.css" },
    ...data,
  };
}
