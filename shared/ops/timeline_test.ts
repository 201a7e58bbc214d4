import { assertEquals } from "@std/assert";
import { buildTimeline, type TimelineEvent } from "./timeline.ts";

const NO_TROUBLE = { retries: [], letters: [] };
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const at = (ms: number) => new Date(1_700_000_000_000 + ms);
const event = (
  eventId: string,
  type: string,
  occurred: number,
  published: number | null,
  processed: [string, number][],
): TimelineEvent => ({
  orderId: "o",
  eventId,
  type,
  traceparent: `00-${TRACE}-b7ad6b716920333${eventId}-01`,
  occurredAt: at(occurred),
  publishedAt: published === null ? null : at(published),
  republishedAt: null,
  retryCount: 0,
  processed: processed.map(([consumer, ms]) => ({
    consumer,
    at: at(ms),
    duplicates: 0,
    lastDuplicateAt: null,
  })),
});

Deno.test("buildTimeline() tells a refund's story in order, with the moves that the orders' consumers made", () => {
  const events = [
    event("1", "order.created", 0, 2, [["payments.order-created.v1", 4]]),
    event("2", "payment.succeeded", 4, 6, [["enrollments", 7], ["orders.payment-events.v1", 8]]),
    event("3", "enrollment.failed", 7, 9, [["orders.lifecycle-events.v1", 12]]),
    event("4", "refund.requested", 12, null, []),
  ];
  const timeline = buildTimeline({ createdAt: at(0) }, events, NO_TROUBLE, [
    "orders.payment-events.v1",
    "orders.lifecycle-events.v1",
  ]);
  assertEquals(timeline.map((e) => `${e.at.getTime() % 1000} ${e.kind} ${"to" in e ? e.to : e.eventType}`), [
    "0 status PENDING",
    "0 emitted order.created",
    "2 published order.created",
    "4 processed order.created",
    "4 emitted payment.succeeded",
    "6 published payment.succeeded",
    "7 processed payment.succeeded",
    "7 emitted enrollment.failed",
    "8 processed payment.succeeded",
    "8 status PAID",
    "9 published enrollment.failed",
    "12 processed enrollment.failed",
    "12 status REFUND_IN_PROGRESS",
    "12 emitted refund.requested",
  ]);
  assertEquals(timeline.map(({ traceId }) => traceId), timeline.map(() => TRACE));
});

Deno.test("buildTimeline() shows how often an event came again, and when it last did", () => {
  const again = { consumer: "payments.order-created.v1", at: at(4), duplicates: 3, lastDuplicateAt: at(9) };
  const events = [{ ...event("1", "order.created", 0, 2, []), processed: [again] }];
  assertEquals(buildTimeline({ createdAt: at(0) }, events, NO_TROUBLE, []).at(-1), {
    at: at(9),
    kind: "duplicate",
    eventId: "1",
    eventType: "order.created",
    traceId: TRACE,
    consumer: "payments.order-created.v1",
    duplicates: 3,
  });
});

Deno.test("buildTimeline() keeps an event's first publication where an operator has asked for another", () => {
  const sent = event("1", "order.created", 0, 5000, [["payments.order-created.v1", 4]]);
  const timesOf = (events: TimelineEvent[]) =>
    buildTimeline({ createdAt: at(0) }, events, NO_TROUBLE, [])
      .filter(({ kind }) => kind === "published").map((entry) => entry.at.getTime() - at(0).getTime());
  assertEquals(timesOf([{ ...sent, republishedAt: at(4990) }]), [4, 5000]);
  assertEquals(timesOf([{ ...sent, republishedAt: at(4990), publishedAt: null }]), [4]);
  assertEquals(timesOf([{ ...sent, republishedAt: at(3) }]), [5000]);
});

Deno.test("buildTimeline() shows a delayed retry, and when it is due", () => {
  const retry = {
    orderId: "o",
    eventId: "1",
    eventType: "order.created",
    consumer: "payments.order-created.v1",
    error: "timed out",
    retries: 1,
    at: at(9),
    dueAt: at(500),
  };
  const events = [event("1", "order.created", 0, 2, [])];
  const timeline = buildTimeline({ createdAt: at(0) }, events, { retries: [retry], letters: [] }, []);
  const { orderId: _, ...shown } = retry;
  assertEquals(timeline.at(-1), { kind: "retry", traceId: TRACE, ...shown });
});

Deno.test("buildTimeline() shows dead letters beside the events they are about", () => {
  const letter = {
    orderId: "o",
    deadLetterId: "d",
    eventId: "1",
    eventType: "order.created",
    consumer: "payments.order-created.v1",
    reason: "retries exhausted",
    at: at(9),
  };
  const timeline = buildTimeline({ createdAt: at(0) }, [event("1", "order.created", 0, 2, [])], {
    retries: [],
    letters: [letter],
  }, []);
  assertEquals(timeline.at(-1), {
    at: at(9),
    kind: "dead-letter",
    eventId: "1",
    eventType: "order.created",
    traceId: TRACE,
    consumer: "payments.order-created.v1",
    reason: "retries exhausted",
    deadLetterId: "d",
  });
});
