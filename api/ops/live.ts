/**
 * `GET /ops/live`: how everything stands, as server-sent events
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html). One reader serves all who watch, and rests while
 * nobody does.
 *
 * @module
 */
import { listenForHolds } from "../../shared/ops/holds.ts";
import { type LivePulse, livePulseSchema } from "../../shared/ops/live.ts";
import { keepDoing } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import { pause } from "../../shared/process/stop.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { listenForWakeUps } from "../../shared/sql/outbox.ts";
import type { AppDeps } from "../deps.ts";
import { type App, unavailable } from "../http.ts";
import { route, routes, text } from "../openapi/route.ts";
import { buildPulse, readAll, type ReadQueues, remember, type Samples, saysTheSame } from "./live_pulse.ts";

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
    listening ??= Promise.all([listenForWakeUps(sql, wake), listenForHolds(sql, wake)]).catch(() => {});
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
    controller.enqueue(encoder.encode(`event: pulse\ndata: ${newest}\n\n`));
    isAsked = false;
    newest = null;
    untakenSince = null;
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
