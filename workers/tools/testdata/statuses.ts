// States of the system for tests.

import type { LiveProcess, StatusFigures, SystemStatus } from "../../../shared/ops/live.ts";

/** When they were read. */
export const AT = "2026-11-22T12:00:00.000Z";
const before = (seconds: number) => new Date(Date.parse(AT) - seconds * 1000).toISOString();

/** A process that has run for an hour, and was heard of two seconds ago. */
export const liveProcess = (more: Partial<LiveProcess> = {}): LiveProcess => ({
  name: "outbox-relay",
  instance: "0190f3c1-0000-7000-8000-000000000001",
  pid: 7,
  host: "127.0.0.1",
  version: "1.2.3",
  startedAt: before(3600),
  seenAt: before(2),
  isStale: false,
  counts: {},
  lastBatchAt: null,
  ...more,
});

const payments = {
  name: "payments-order-created",
  counts: { batches: 4, duplicates: 0, processed: 250 },
  lastBatchAt: before(65),
};

/** The figures of two processes and one queue at rest, with whatever else is told. */
export const figures = (more: Partial<StatusFigures> = {}): StatusFigures => ({
  outbox: { pending: 0, oldestSeconds: 0 },
  queues: [{ queue: "payments.order-created.v1", messages: 0, consumers: 1 }],
  processes: [liveProcess(), liveProcess(payments)],
  deadLetters: {},
  retries: {},
  holds: [],
  rates: { orders: 0, events: 0, processed: 0 },
  latency: { p50: null, p99: null },
  orders: {},
  replays: [],
  faults: null,
  ...more,
});

/** A system whose services are up. */
export const systemStatus = (figures: StatusFigures | null): SystemStatus => {
  return { at: AT, version: "1.2.3", database: "up", broker: "up", figures };
};
