/**
 * A pulse of the live feed: what is read for it, and what is made of that.
 *
 * @module
 */
import type { QueueDepth } from "../../shared/broker/connection.ts";
import { countOpenDeadLetters } from "../../shared/ops/dead_letters.ts";
import { listHolds } from "../../shared/ops/holds.ts";
import { countUnpublished, readLatencies } from "../../shared/ops/lists.ts";
import type { LiveProcess, LivePulse } from "../../shared/ops/live.ts";
import { isWrong, listHeartbeats, type SeenHeartbeat } from "../../shared/process/heartbeat.ts";
import { withTimeout } from "../../shared/process/stop.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { listOrders } from "../../shared/sql/orders.ts";
import { countWaitingRetries } from "../../shared/sql/set_aside.ts";

/** Orders in a pulse. */
const LIVE_ORDERS = 30;
/** Rows that a figure of a pulse counts: a backlog is not read whole, four times a second. */
const MAX_COUNTED = 10_000;
/** What the broker gets to answer, in milliseconds; then it counts as not reachable. */
const QUEUES_WAIT_MS = 1000;
/** Orders among which those that have ended tell the latency. */
const LATENCY_ORDERS = 1000;
/** A process that is silent for this long, with a heartbeat every 1.5 s, is gone or stuck; in milliseconds. */
const STALE_MS = 4500;
/** Rates are over this time: more than one heartbeat, few enough to follow a change; in milliseconds. */
const RATE_WINDOW_MS = 8000;

/** The broker's own figures; null while it cannot be reached. */
export type ReadQueues = () => Promise<readonly QueueDepth[] | null>;

/** Everything that a pulse is made of, as it was read; `at` is by the API's clock. */
export type Reading = Awaited<ReturnType<typeof readAll>>;

/** One question first: while the database is away, no others pile up behind it, and its answer may take a while. */
export async function readAll(sql: Sql, readQueues: ReadQueues) {
  const heartbeats = await listHeartbeats(sql);
  const at = new Date();
  const rest = [
    listOrders(sql, { limit: LIVE_ORDERS }),
    countUnpublished(sql, MAX_COUNTED),
    withTimeout(QUEUES_WAIT_MS, readQueues()),
    countOpenDeadLetters(sql, MAX_COUNTED),
    countWaitingRetries(sql, MAX_COUNTED),
    listHolds(sql),
    readLatencies(sql, LATENCY_ORDERS),
  ] as const;
  await Promise.allSettled(rest);
  const [orders, unpublished, queues, deadLetters, retries, holds, latencies] = await Promise.all(rest);
  return { at, orders, unpublished, queues, heartbeats, deadLetters, retries, holds, latencies };
}

/** What each copy of a process had counted at some times lately, by its instance, oldest first; by the database's clock. */
export type Samples = ReadonlyMap<string, readonly Pick<SeenHeartbeat, "seenAt" | "counts">[]>;

/** The samples with the heartbeats added, without those that are too old or of copies that are gone. */
export function remember(samples: Samples, heartbeats: readonly SeenHeartbeat[]): Samples {
  return new Map(heartbeats.map(({ instance, seenAt, ageMs, counts }) => {
    const oldestMs = seenAt.getTime() + ageMs - RATE_WINDOW_MS;
    const before = (samples.get(instance) ?? []).filter((sample) => Number(sample.seenAt) !== Number(seenAt));
    return [instance, [...before, { seenAt, counts }].filter((sample) => Number(sample.seenAt) >= oldestMs)];
  }));
}

/** How often per second `name` was counted, by all copies together: each one's newest sample against its oldest. */
function rateOf(samples: Samples, name: string): number {
  let rate = 0;
  for (const of of samples.values()) {
    const [first, last] = [of[0], of.at(-1)];
    if (!first || !last || last.seenAt <= first.seenAt) continue;
    const counted = (last.counts[name] ?? 0) - (first.counts[name] ?? 0);
    rate += Math.max(counted, 0) * 1000 / (last.seenAt.getTime() - first.seenAt.getTime());
  }
  return rate;
}

/** The smallest of the values that `share` of them (0 to 1) do not exceed; null where there are none. */
function percentile(values: readonly number[], share: number): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(Math.ceil(share * sorted.length) - 1, 0)] ?? null;
}

/**
 * The processes as the page shows them. One that has been silent for too long is stale, until another copy of it has
 * started since: that one has taken its place.
 */
function liveProcesses(heartbeats: readonly SeenHeartbeat[]): LiveProcess[] {
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

/** The pulse of a reading; `samples` have its heartbeats already. */
export function buildPulse(reading: Reading, samples: Samples): LivePulse {
  const { at, unpublished: { count, oldestAt } } = reading;
  const byConsumer = (counts: Reading["retries"]) =>
    Object.fromEntries(counts.map(({ consumer, count }) => [consumer, count]));
  return {
    at: at.toISOString(),
    orders: reading.orders.map(({ createdAt, updatedAt, ...order }) => {
      return { ...order, createdAt: createdAt.toISOString(), updatedAt: updatedAt.toISOString() };
    }),
    outbox: {
      pending: count,
      oldestSeconds: oldestAt ? Math.max(at.getTime() - oldestAt.getTime(), 0) / 1000 : 0,
    },
    queues: reading.queues,
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
