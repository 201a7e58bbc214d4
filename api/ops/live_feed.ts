/**
 * The live feed: one reader for all who watch, which rests while nobody does.
 *
 * @module
 */
import type { QueueDepth } from "../../shared/broker/connection.ts";
import { keepDoing } from "../../shared/process/errors.ts";
import type { LivePulse } from "../../shared/ops/live.ts";
import { HOLDS_CHANNEL, listHolds } from "../../shared/ops/holds.ts";
import type { Logger } from "../../shared/process/log.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { countOpenDeadLetters } from "../../shared/ops/dead_letters.ts";
import { countWaitingRetries } from "../../shared/sql/set_aside.ts";
import { listHeartbeats } from "../../shared/process/heartbeat.ts";
import { listOrders } from "../../shared/sql/orders.ts";
import { countUnpublished, readLatencies } from "../../shared/ops/lists.ts";
import { listenForWakeUps } from "../../shared/sql/outbox.ts";
import { pause, withTimeout } from "../../shared/process/stop.ts";
import { buildPulse, type Reading, remember, type Samples, saysTheSame } from "./live_pulse.ts";

export interface LiveFeedOptions {
  /** A pool that may read everything, with the planner settings of `CLAIM_SETTINGS`. */
  readonly sql: Sql;
  /** The broker's own figures; null while it cannot be reached. */
  readonly readQueues: () => Promise<readonly QueueDepth[] | null>;
  readonly log: Logger;
  /** How long a pulse may wait to be taken before its client is dropped, in milliseconds; 30 s by default. */
  readonly stalledMs?: number;
}

/** Somebody who watches. */
export interface LiveClient {
  /** Aborted when it is dropped, because it has stopped reading: its place is for somebody who does. */
  readonly dropped: AbortSignal;
  /** The newest pulse that it has not had, as JSON, as soon as there is one; null once it or the feed has ended. */
  next(): Promise<string | null>;
  /** Watches no longer. May be called again. */
  leave(): void;
}

export interface LiveFeed {
  /** Lets one more watch; null when there are as many as there may be. */
  join(): LiveClient | null;
  /** How everything stands, at most a second ago. Rejects when the database cannot tell. */
  read(): Promise<LivePulse>;
  /** Ends it for all who watch, at once and permanently; resolves when nothing is read any more. */
  close(): Promise<void>;
}

/** Who may watch at once. */
const MAX_LIVE_CLIENTS = 50;
/** A client that has left a pulse lying for so long has stopped reading, in milliseconds. */
const STALLED_MS = 30_000;
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

/**
 * Makes the feed, which opens nothing until somebody joins or reads. It is woken by what wakes the relay, and looks by
 * itself every second. While the database is away it says nothing rather than something old.
 */
export function createLiveFeed(
  { sql, readQueues, log, stalledMs = STALLED_MS }: LiveFeedOptions,
): LiveFeed {
  const clients = new Set<{ offer(text: string | null): void }>();
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

  /** Once: the client renews it by itself after each outage. While nobody watches, a wake-up does nothing. */
  function listen(): void {
    const wake = () => reader?.wake();
    listening ??= Promise.all([
      listenForWakeUps(sql, wake),
      sql.listen(HOLDS_CHANNEL, wake, wake),
    ]).catch(() => {});
  }

  function startReading() {
    listen();
    const resting = new AbortController();
    const stop = resting.signal;
    const { wake } = keepDoing("Reading the live feed", async () => {
      try {
        const pulse = await readOnce();
        if (!stop.aborted) tell(pulse);
      } finally {
        await pause(PULSE_MIN_MS, stop); // whoever is woken waits so long
      }
    }, { everyMs: LIVE_LOOK_MS - PULSE_MIN_MS, log, stop });
    return { wake, rest: () => resting.abort() };
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
    join() {
      if (closed || clients.size >= MAX_LIVE_CLIENTS) return null;
      let newest: string | null = isFresh(latest) ? JSON.stringify(latest) : null;
      let untakenSince: number | null = null;
      let ended = false;
      let waiting: ((text: string | null) => void) | null = null;
      const drop = new AbortController();
      /** Only the newest is kept: who reads slowly misses what was in between, and who reads nothing is dropped. */
      const offer = (text: string | null) => {
        ended ||= text === null;
        if (!waiting) {
          newest = text;
          untakenSince ??= performance.now();
          if (!ended && performance.now() - untakenSince > stalledMs) {
            drop.abort();
            leave();
          }
        }
        waiting?.(text);
        waiting = null;
      };
      const client = { offer };
      const leave = () => {
        clients.delete(client);
        offer(null);
        if (clients.size > 0) return;
        reader?.rest();
        reader = null;
      };
      clients.add(client);
      told = null; // who has just come is to hear, even if nothing changes
      if (reader) reader.wake();
      else reader = startReading();
      return {
        dropped: drop.signal,
        next() {
          const text = newest;
          newest = null;
          untakenSince = null;
          if (text !== null || ended) return Promise.resolve(text);
          return new Promise((resolve) => waiting = resolve);
        },
        leave,
      };
    },
    async read() {
      return isFresh(latest) ? latest : await readOnce();
    },
    async close() {
      closed = true;
      reader?.rest();
      reader = null;
      for (const client of clients) client.offer(null);
      clients.clear();
      await Promise.allSettled([reading, listening]);
    },
  };
}

/** One question first: while the database is away, no others pile up behind it, and its answer may take a while. */
async function readAll(sql: Sql, readQueues: LiveFeedOptions["readQueues"]): Promise<Reading> {
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
