/**
 * A pulse of the live feed, made of what was read: the pure part.
 *
 * @module
 */
import type { QueueDepth } from "../../shared/broker/connection.ts";
import type { Hold } from "../../shared/ops/holds.ts";
import type { LiveOrder, LiveProcess, LivePulse } from "../../shared/ops/live.ts";
import { isWrong, type SeenHeartbeat } from "../../shared/process/heartbeat.ts";
import type { OrderRow } from "../../shared/sql/orders.ts";

/** Everything that a pulse is made of, as it was read. */
export interface Reading {
  /** When it was read, by the API's clock. */
  readonly at: Date;
  readonly orders: readonly OrderRow[];
  /** How many events wait to be published, and since when the oldest of them has. */
  readonly unpublished: { readonly count: number; readonly oldestAt: Date | null };
  readonly queues: readonly QueueDepth[] | null;
  readonly heartbeats: readonly SeenHeartbeat[];
  readonly deadLetters: readonly { readonly consumer: string; readonly count: number }[];
  readonly retries: readonly { readonly consumer: string; readonly count: number }[];
  readonly holds: readonly Hold[];
  /** How long the newest orders that have ended took, in milliseconds. */
  readonly latencies: readonly number[];
}

/** What one copy of a process had counted at some time, in milliseconds of the database's clock. */
export interface Sample {
  readonly atMs: number;
  readonly counts: Readonly<Record<string, number>>;
}

/** What each copy has counted lately, by its instance, oldest first. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

/** A process that is silent for this long, with a heartbeat every 1.5 s, is gone or stuck; in milliseconds. */
const STALE_MS = 4500;
/** Rates are over this time: more than one heartbeat, few enough to follow a change; in milliseconds. */
const RATE_WINDOW_MS = 8000;

/** The samples with the heartbeats added, without those that are too old or of copies that are gone. */
export function remember(samples: Samples, heartbeats: readonly SeenHeartbeat[]): Samples {
  return new Map(heartbeats.map(({ instance, seenAt, ageMs, counts }) => {
    const atMs = seenAt.getTime();
    const before = (samples.get(instance) ?? []).filter((sample) => sample.atMs !== atMs);
    const oldestMs = atMs + ageMs - RATE_WINDOW_MS;
    return [instance, [...before, { atMs, counts }].filter((sample) => sample.atMs >= oldestMs)];
  }));
}

/** How often per second `name` was counted, by all copies together: each one's newest sample against its oldest. */
export function rateOf(samples: Samples, name: string): number {
  let rate = 0;
  for (const of of samples.values()) {
    const [first, last] = [of[0], of.at(-1)];
    if (!first || !last || last.atMs <= first.atMs) continue;
    const counted = (last.counts[name] ?? 0) - (first.counts[name] ?? 0);
    rate += Math.max(counted, 0) * 1000 / (last.atMs - first.atMs);
  }
  return rate;
}

/** The smallest of the values that `share` of them (0 to 1) do not exceed; null where there are none. */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(Math.ceil(share * sorted.length) - 1, 0)] ?? null;
}

/**
 * The processes as the page shows them. One that has been silent for too long is stale, until another copy of it has
 * started since: that one has taken its place.
 */
export function liveProcesses(heartbeats: readonly SeenHeartbeat[]): LiveProcess[] {
  const isReplaced = (old: SeenHeartbeat) =>
    old.ageMs > STALE_MS &&
    heartbeats.some(({ process, startedAt }) => process === old.process && startedAt > old.seenAt);
  return heartbeats.filter((heartbeat) => !isReplaced(heartbeat)).map((heartbeat) => ({
    name: heartbeat.process,
    instance: heartbeat.instance,
    pid: heartbeat.pid,
    host: heartbeat.host,
    version: heartbeat.version,
    startedAt: heartbeat.startedAt.toISOString(),
    seenAt: heartbeat.seenAt.toISOString(),
    isStale: heartbeat.ageMs > STALE_MS,
    counts: heartbeat.counts,
    ...(isWrong(heartbeat.clockAheadMs ?? 0) ? { clockAheadMs: heartbeat.clockAheadMs ?? 0 } : {}),
    lastBatchAt: heartbeat.lastBatchAt?.toISOString() ?? null,
  }));
}

/** An order as the page has it. */
export function liveOrder({ createdAt, updatedAt, ...order }: OrderRow): LiveOrder {
  return { ...order, createdAt: createdAt.toISOString(), updatedAt: updatedAt.toISOString() };
}

/** The pulse of a reading; `samples` have its heartbeats already. */
export function buildPulse(reading: Reading, samples: Samples): LivePulse {
  const { at, unpublished: { count, oldestAt }, queues } = reading;
  const byConsumer = (counts: Reading["retries"]) =>
    Object.fromEntries(counts.map(({ consumer, count }) => [consumer, count]));
  return {
    at: at.toISOString(),
    orders: reading.orders.map(liveOrder),
    outbox: {
      pending: count,
      oldestSeconds: oldestAt ? Math.max(at.getTime() - oldestAt.getTime(), 0) / 1000 : 0,
    },
    queues: queues ? [...queues] : null,
    processes: liveProcesses(reading.heartbeats),
    deadLetters: byConsumer(reading.deadLetters),
    retries: byConsumer(reading.retries),
    holds: reading.holds.map(({ sinceAt, untilAt, ...hold }) => {
      return { ...hold, since: sinceAt.toISOString(), until: untilAt.toISOString() };
    }),
    rates: {
      orders: rateOf(samples, "orders"),
      events: rateOf(samples, "published"),
      processed: rateOf(samples, "processed"),
    },
    latency: { p50: percentile(reading.latencies, 0.5), p99: percentile(reading.latencies, 0.99) },
  };
}

/** Whether two pulses say the same, but for when: times pass by themselves. */
export function saysTheSame(a: LivePulse, b: LivePulse): boolean {
  return withoutClock(a) === withoutClock(b);
}

function withoutClock(pulse: LivePulse): string {
  return JSON.stringify(pulse, (key, value) => key === "at" || key === "seenAt" ? undefined : value);
}
