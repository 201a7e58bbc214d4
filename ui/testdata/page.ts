// A page's data, for its tests.

import { bindingsOf } from "../../shared/broker/connection.ts";
import type { LiveOrder, LivePulse } from "../../shared/ops/live.ts";
import { queuesOf, tellStory } from "../../shared/ops/story.ts";
import { QUEUES } from "../../shared/topology.ts";
import type { ToldStory } from "../api.ts";
import type { PageData } from "../page.tsx";
import { START_VIEW } from "../url_state.ts";

export const START = Date.parse("2026-01-02T03:04:05.000Z");
export const QUEUE_LIST = queuesOf(bindingsOf({ exchange: "e", queues: QUEUES }));

/** An id that ends in `n`. */
export const testId = (n: number) => `019b7c00-0000-7000-8000-${String(n).padStart(12, "0")}`;
const at = (ms: number) => new Date(START + ms).toISOString();

export function testOrder(order: Partial<LiveOrder> = {}): LiveOrder {
  return {
    id: testId(1),
    userId: testId(2),
    courseId: "00000000-0000-0000-0000-000000000101",
    amount: "49.90",
    status: "PENDING",
    correlationId: "correlation-1",
    createdAt: at(0),
    updatedAt: at(0),
    ...order,
  };
}

/** Placed, published, and given up on by the payments. */
export function testStory(order: Partial<LiveOrder> = {}): ToldStory {
  const about = { eventId: testId(101), eventType: "order.created", traceId: null };
  const consumer = QUEUES.paymentsOrderCreated.name;
  const letter = { consumer, reason: "retries exhausted", deadLetterId: testId(900) };
  const timeline: ToldStory["timeline"] = [
    { at: at(0), kind: "status", from: null, to: "PENDING", eventId: null, eventType: null, traceId: null },
    { at: at(0), kind: "emitted", ...about },
    { at: at(4), kind: "published", retryCount: 0, ...about },
    { at: at(10_600), kind: "dead-letter", ...letter, ...about },
  ];
  return { order: testOrder(order), timeline, beats: tellStory(timeline, QUEUE_LIST) };
}

/** A pulse of a machine that runs and rests, `ms` after the start, with whatever else is told. */
export function testPulse(ms: number, more: Partial<LivePulse> = {}): LivePulse {
  const names = ["outbox-relay", ...QUEUE_LIST.map(({ label }) => label.replaceAll(".", "-"))];
  return {
    at: at(ms),
    orders: [testOrder()],
    outbox: { pending: 0, oldestSeconds: 0 },
    queues: QUEUE_LIST.map(({ name: queue }) => ({ queue, messages: 0, consumers: 1 })),
    processes: names.map((name) => ({
      name,
      instance: name,
      pid: 1,
      host: "127.0.0.1",
      version: "1.2.3",
      startedAt: at(-60_000),
      seenAt: at(ms),
      isStale: false,
      counts: {},
      lastBatchAt: null,
    })),
    deadLetters: {},
    retries: {},
    holds: [],
    rates: { orders: 0, events: 0, processed: 0 },
    latency: { p50: null, p99: null },
    ...more,
  };
}

export function testPage(data: Partial<PageData> = {}): PageData {
  return {
    view: START_VIEW,
    pulse: testPulse(10_000),
    orders: { orders: [testOrder()], nextCursor: null },
    story: null,
    scenarios: [{
      name: "order-success",
      path: "/ops/scenarios/order-success",
      group: "Outcomes",
      expect: "COMPLETED: paid, and the seat is granted.",
    }],
    queues: QUEUE_LIST,
    hasToken: false,
    assets: { script: "/assets/island-1.js", styles: "/assets/styles-1.css" },
    ...data,
  };
}
