/**
 * Pulses for tests.
 *
 * @module
 */
import { QUEUE_KEYS, QUEUES } from "../../shared/topology.ts";
import type { LiveProcess, LivePulse } from "../../shared/ops/live.ts";
import { processNameOf } from "../machine_parts.ts";

/** When the first test pulse is. */
export const TEST_START: number = Date.parse("2026-11-22T12:00:00.000Z");

/** A process that runs; its `instance` is its name. */
export function testProcess(name: string, more: Partial<LiveProcess> = {}): LiveProcess {
  const at = new Date(TEST_START).toISOString();
  return {
    name,
    instance: name,
    pid: 1,
    host: "127.0.0.1",
    version: "1.2.3",
    startedAt: new Date(TEST_START - 60_000).toISOString(),
    seenAt: at,
    isStale: false,
    counts: {},
    lastBatchAt: null,
    ...more,
  };
}

/** A pulse of a machine that runs and rests, `second` seconds after the start, with whatever else is told. */
export function testPulse(second: number, more: Partial<LivePulse> = {}): LivePulse {
  return {
    at: new Date(TEST_START + second * 1000).toISOString(),
    orders: [],
    outbox: { pending: 0, oldestSeconds: 0 },
    queues: QUEUE_KEYS.map((key) => ({ queue: QUEUES[key].name, messages: 0, consumers: 1 })),
    processes: ["api", "outbox-relay", ...QUEUE_KEYS.map(processNameOf)].map((name) => testProcess(name)),
    deadLetters: {},
    retries: {},
    rates: { orders: 0, events: 0, processed: 0 },
    latency: { p50: null, p99: null },
    ...more,
  };
}
