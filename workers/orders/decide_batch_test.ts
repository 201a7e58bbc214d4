import { assert, assertEquals } from "@std/assert";
import type { ReceivedEvent } from "../../shared/broker/delivery.ts";
import { type EventData, type EventType, makeEvent } from "../../shared/events/catalog.ts";
import type { OrderStatus } from "../../shared/order_status.ts";
import { decideBatch } from "./decide_batch.ts";

const now = new Date("2026-01-02T03:04:05Z");
const a = "00000000-0000-0000-0000-00000000000a";
const b = "00000000-0000-0000-0000-00000000000b";
const course = "00000000-0000-0000-0000-000000000103";

Deno.test("decideBatch() moves orders, and an order's later events start from where its earlier ones left it", () => {
  const events = [
    received("payment.succeeded", { orderId: a, paymentId: b, courseId: course, amount: "1.00" }),
    received("payment.failed", { orderId: b, paymentId: b, reason: "card declined" }),
    received("enrollment.granted", { orderId: a, enrollmentId: b, courseId: course }),
  ];
  const decision = decideBatch(events, statuses({ [a]: "PENDING", [b]: "PENDING" }), now);
  assertEquals(decision.verdicts, [
    { kind: "done", note: "PENDING → PAID" },
    { kind: "done", note: "PENDING → PAYMENT_FAILED" },
    { kind: "done", note: "PAID → COMPLETED" },
  ]);
  assertEquals(decision.changes, [
    { id: a, from: "PENDING", to: "COMPLETED" },
    { id: b, from: "PENDING", to: "PAYMENT_FAILED" },
  ]);
  assertEquals(decision.outgoing, []);
});

Deno.test("decideBatch() asks for one refund when a paid order gets no seat, with the event's correlation id", () => {
  const failed = received("enrollment.failed", { orderId: a, courseId: course, reason: "no seat left" });
  const decision = decideBatch([failed, failed], statuses({ [a]: "PAID" }), now);
  assertEquals(decision.verdicts.map(({ kind }) => kind), ["done", "duplicate"]);
  assertEquals(decision.outgoing.length, 1);
  const [refund] = decision.outgoing;
  assert(refund);
  assertEquals([refund.event.type, refund.rowId], ["refund.requested", a]);
  assertEquals(refund.event.data, { orderId: a, reason: "no seat left" });
  assertEquals(refund.event.correlationId, failed.event.correlationId);
  assertEquals(refund.traceparent, failed.traceparent);
});

Deno.test("decideBatch() leaves early and illegal events out of the inbox, so that they can be processed later", () => {
  const events = [
    received("enrollment.granted", { orderId: a, enrollmentId: b, courseId: course }),
    received("enrollment.granted", { orderId: b, enrollmentId: b, courseId: course }),
    received("refund.succeeded", { orderId: course, paymentId: b }),
  ];
  const decision = decideBatch(events, statuses({ [a]: "PENDING", [b]: "PAYMENT_FAILED" }), now);
  assertEquals(decision.verdicts, [
    { kind: "early", awaits: "PAID" },
    { kind: "rejected", reason: "illegal transition", detail: "enrollment.granted while PAYMENT_FAILED" },
    { kind: "rejected", reason: "illegal transition", detail: "there is no such order" },
  ]);
  assertEquals(decision.settled, []);
  assertEquals(decision.changes, []);
});

function received<T extends EventType>(type: T, data: EventData<T>): ReceivedEvent<T> {
  const cause = {
    correlationId: "c-1",
    traceparent: "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-01",
  };
  const { event, traceparent } = makeEvent(type, data, cause, now);
  return { event, traceparent, attempt: 1 };
}

function statuses(of: Record<string, OrderStatus>): Map<string, OrderStatus> {
  return new Map(Object.entries(of));
}
