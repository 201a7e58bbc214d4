// `GET /ops/live`: how everything stands, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). One reader serves all who watch, and rests while
// nobody does.

import type { QueueDepth } from "../../shared/broker/connection.ts";
import { countOpenDeadLetters } from "../../shared/ops/dead_letters.ts";
import { HOLDS_CHANNEL, listHolds } from "../../shared/ops/holds.ts";
import { countUnpublished, readLatencies } from "../../shared/ops/lists.ts";
import { type LiveProcess, type LivePulse, livePulseSchema } from "../../shared/ops/live.ts";
import { keepDoing } from "../../shared/process/errors.ts";
import { isWrong, listHeartbeats, type SeenHeartbeat } from "../../shared/process/heartbeat.ts";
import type { Logger } from "../../shared/process/log.ts";
import { pause, withTimeout } from "../../shared/process/stop.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { listOrders } from "../../shared/sql/orders.ts";
import { listenForWakeUps } from "../../shared/sql/outbox.ts";
import { countWaitingRetries } from "../../shared/sql/set_aside.ts";
import type { AppDeps } from "../deps.ts";
import { type App, unavailable } from "../http.ts";
import { route, routes, text } from "../openapi/route.ts";

/** Who may watch at once. */
const MAX_LIVE_CLIENTS = 50;
/** A client that has left a pulse lying for so long has stopped reading, in milliseconds. */
const STALLED_MS = 30_000;
/** What a browser waits before it connects again, in milliseconds. */
const RECONNECT_MS = 1000;
/** Between two pulses at least, in milliseconds. */
const PULSE_MIN_MS = 250;
/** Between two looks when nobody wakes the feed, in milliseconds. */
const LIVE_LOOK_MS = 1000;
/** The sign of life where nothing changes, in milliseconds. */
const PULSE_MAX_MS = 5000;
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

/** The stream: events named `pulse`, each a `LivePulse` as JSON. 503 when too many watch. */
export function liveRoutes({ live }: Pick<AppDeps, "live">): App {
  const schema = livePulseSchema.meta({ ref: "LivePulse" });
  return routes(
    "Inspection",
    route("GET /", "watch", "How everything stands, as it changes", {
      description:
        "Server-sent events named `pulse`; the schema is that of each one's data. The stream stays open.",
      answers: [{ ...text(200, "The stream."), content: { "text/event-stream": schema } }],
      refusals: { 503: "Too many watch." },
      handle: ({ c }) => {
        const headers = {
          "content-type": "text/event-stream; charset=utf-8",
          "cache-control": "no-store",
          "x-accel-buffering": "no", // a proxy in between is to pass each event on at once
        };
        if (c.req.method === "HEAD") return c.body(null, 200, headers); // nobody would read, and its place be taken
        const stream = live.join();
        if (!stream) throw unavailable("Too many pages are open. Close one, and try again.", 5);
        return c.body(stream, 200, headers);
      },
    }),
  );
}

export type LiveFeed = ReturnType<typeof createLiveFeed>;

/**
 * Makes the feed, which opens nothing until somebody joins or reads. It is woken by what wakes the relay, and looks by
 * itself every second. While the database is away it says nothing rather than something old. `sql` is a pool that may
 * read everything, with the planner settings of `CLAIM_SETTINGS`; a client that has left a pulse lying for `stalledMs`
 * milliseconds, 30 s by default, is dropped.
 */
export function createLiveFeed({ sql, readQueues, log, stalledMs = STALLED_MS }: {
  readonly sql: Sql;
  readonly readQueues: ReadQueues;
  readonly log: Logger;
  readonly stalledMs?: number;
}) {
  const clients = new Set<LiveClient>();
  let samples: Samples = new Map();
  let latest: LivePulse | null = null;
  let told: LivePulse | null = null;
  let reading: Promise<LivePulse> | null = null;
  let reader: ReturnType<typeof startReading> | null = null; // while anybody watches
  let listening: Promise<unknown> | null = null;
  let closed = false;

  async function readPulse(): Promise<LivePulse> {
    const read = await readAll(sql, readQueues);
    samples = remember(samples, read.heartbeats);
    return latest = buildPulse(read, samples);
  }

  /** Whoever asks while it is read gets the same. */
  function readOnce(): Promise<LivePulse> {
    return reading ??= readPulse().finally(() => reading = null);
  }

  function startReading() {
    const wake = () => reader?.wake(); // while nobody watches, this does nothing
    // Once: the client renews it by itself after each outage.
    listening ??= Promise.all([listenForWakeUps(sql, wake), sql.listen(HOLDS_CHANNEL, wake, wake)])
      .catch(() => {});
    const resting = new AbortController();
    const stop = resting.signal;
    const chore = keepDoing("Reading the live feed", async () => {
      try {
        const pulse = await readOnce();
        if (!stop.aborted) tell(pulse);
      } finally {
        await pause(PULSE_MIN_MS, stop); // whoever is woken waits so long
      }
    }, { everyMs: LIVE_LOOK_MS - PULSE_MIN_MS, log, stop });
    return { wake: chore.wake, rest: () => resting.abort() };
  }

  function rest(): void {
    reader?.rest();
    reader = null;
  }

  function tell(pulse: LivePulse): void {
    const silentMs = told ? Date.parse(pulse.at) - Date.parse(told.at) : Infinity;
    if (told && silentMs < PULSE_MAX_MS && saysTheSame(told, pulse)) return;
    told = pulse;
    const text = JSON.stringify(pulse);
    for (const client of clients) client.offer(text);
  }

  function isFresh(pulse: LivePulse | null): pulse is LivePulse {
    return pulse !== null && Math.abs(Date.now() - Date.parse(pulse.at)) < LIVE_LOOK_MS;
  }

  return {
    /** Lets one more watch: a stream of server-sent events; null when there are as many as there may be. */
    join(): ReadableStream<Uint8Array> | null {
      if (closed || clients.size >= MAX_LIVE_CLIENTS) return null;
      const client = createClient(isFresh(latest) ? JSON.stringify(latest) : null, stalledMs, () => {
        clients.delete(client);
        if (clients.size === 0) rest();
      });
      clients.add(client);
      told = null; // who has just come is to hear, even if nothing changes
      if (reader) reader.wake();
      else reader = startReading();
      return client.stream;
    },
    /** How everything stands, at most a second ago. Rejects when the database cannot tell. */
    async read(): Promise<LivePulse> {
      return isFresh(latest) ? latest : await readOnce();
    },
    /** Ends it for all who watch, at once and permanently; resolves when nothing is read any more. */
    async close(): Promise<void> {
      closed = true;
      rest();
      for (const client of clients) client.end();
      clients.clear();
      await Promise.allSettled([reading, listening]);
    },
  };
}

type LiveClient = ReturnType<typeof createClient>;

/**
 * Somebody who watches: a stream of one event per pulse, `newest` first. The next one is sent only when the last has been
 * taken, so nothing piles up: who reads slowly misses what was in between. Whoever reads nothing has its connection ended,
 * for its place is for somebody who does; Hono's `streamSSE` can end it only for a client that still reads. `onLeft` is
 * called when it is dropped, or has left by itself.
 */
function createClient(newest: string | null, stalledMs: number, onLeft: () => void) {
  const encoder = new TextEncoder();
  let isAsked = false;
  let untakenSince: number | null = null;
  let controller: ReadableStreamDefaultController<Uint8Array>;

  function send(): void {
    if (!isAsked || newest === null) return;
    const event = `event: pulse\ndata: ${newest}\n\n`;
    isAsked = false;
    newest = null;
    untakenSince = null;
    controller.enqueue(encoder.encode(event)); // last: it asks for the next one at once where somebody waits for two
  }

  const stream = new ReadableStream<Uint8Array>({
    start(itsController) {
      controller = itsController;
      controller.enqueue(encoder.encode(`retry: ${RECONNECT_MS}\n\n`));
    },
    pull() {
      isAsked = true;
      send();
    },
    cancel: onLeft,
  }, { highWaterMark: 0 });

  return {
    stream,
    /** Has it sent the pulse, unless a newer one comes first. */
    offer(pulse: string): void {
      newest = pulse;
      send();
      if (newest === null) return;
      untakenSince ??= performance.now();
      if (performance.now() - untakenSince <= stalledMs) return;
      controller.error(new Error("The client reads no more"));
      onLeft();
    },
    end: () => controller.close(),
  };
}

/** The broker's own figures; null while it cannot be reached. */
export type ReadQueues = () => Promise<readonly QueueDepth[] | null>;

/** Everything that a pulse is made of, as it was read; `at` is by the API's clock. */
export type Reading = Awaited<ReturnType<typeof readAll>>;

/** One question first: while the database is away, no others pile up behind it, and its answer may take a while. */
async function readAll(sql: Sql, readQueues: ReadQueues) {
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
