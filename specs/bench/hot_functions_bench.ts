// The pure functions that every order goes through, for `deno task bench:micro`. A batch is 250 events, as many as a
// consumer takes at once.

import { Registry } from "@prometheus-io/client";
import { planAcks } from "../../shared/broker/settle.ts";
import { createConsumerMetrics } from "../../shared/broker/observe.ts";
import { makeEvent, parseEvent } from "../../shared/events.ts";
import { rowset } from "../../shared/sql/connect.ts";
import { deliveryOf } from "../support/test_events.ts";
import { decideBatch } from "../../workers/orders/move_orders.ts";

const BATCH = 250;
const now = new Date("2026-01-01T00:00:00Z");
const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const uuid = (n: number) => `00000000-0000-7000-8000-${String(n).padStart(12, "0")}`;

const paid = Array.from({ length: BATCH }, (_, n) => {
  const data = { orderId: uuid(n), paymentId: uuid(n), courseId: uuid(1), amount: "49.90" };
  return makeEvent("payment.succeeded", data, { correlationId: uuid(n), traceparent }, now);
});
const [first] = paid;
if (!first) throw new Error("There is no event to measure with");
const body = new TextEncoder().encode(JSON.stringify(first.event));
const received = paid.map(({ event }) => ({ event, traceparent, attempt: 1, mayBeRepeat: false }));
const statuses = new Map(received.map(({ event }) => [event.data.orderId, "PENDING" as const]));
const tags = Array.from({ length: BATCH }, (_, n) => n + 1);

Deno.bench("parseEvent: a message body to a checked event", () => void parseEvent(body));

Deno.bench("makeEvent: an event with a new id", () => {
  makeEvent("payment.succeeded", first.event.data, { correlationId: uuid(0), traceparent }, now);
});

Deno.bench(`decideBatch: ${BATCH} events on as many orders`, () => void decideBatch(received, statuses, now));

Deno.bench(`planAcks: ${BATCH} deliveries, one of which stays`, () => void planAcks(tags, [BATCH + 1]));

const observer = createConsumerMetrics(new Registry(), "a.consumer.v1");
const batch = {
  messages: paid.map(({ event, aggregateId }) => ({
    delivery: deliveryOf({ ok: true, event, aggregateId }),
    outcome: { kind: "done" } as const,
    step: { kind: "ack" } as const,
  })),
  retries: 0,
  letters: [],
  tookMs: 20,
};
Deno.bench(`createConsumerMetrics: the figures of ${BATCH} messages`, () => observer.settled(batch));

Deno.bench(`rowset: ${BATCH} events as one parameter`, () => void rowset(paid));
