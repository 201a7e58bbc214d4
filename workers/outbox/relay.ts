/**
 * The outbox relay's loop: woken after commits, slow poll as the safety net, waiting out every outage.
 *
 * @module
 */
import type { Logger } from "../../shared/log.ts";
import type { Publisher, Route } from "../../shared/broker/publish.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { passesInTime, throughOutages } from "../../shared/outage.ts";
import { traceIdOf } from "../../shared/trace_context.ts";
import { atEase, nextCaution } from "./caution.ts";
import { EVERYTHING, lookAfter, nextHorizon } from "./horizon.ts";
import { relayBatch, type RelayedBatch } from "./relay_batch.ts";

/** What a relay is made of. */
export interface RelayOptions {
  /** A pool with a connection for each batch under way (two), opened with `CLAIM_SETTINGS`. */
  readonly sql: Sql;
  /** The publisher of the connection that is up; null while there is none, or while the broker takes nothing. */
  readonly publisher: () => Publisher | null;
  /** Where events go. */
  readonly route: Route;
  /** Called when the broker left events unanswered although its connection looks alive. */
  readonly onStuck: () => void;
  /** The most events in one batch, which is one transaction. */
  readonly batchSize: number;
  /** The longest pause between two looks at the outbox, in milliseconds. */
  readonly pollIntervalMs: number;
  /** Switched off, it publishes only when ticked. */
  readonly enabled: boolean;
  /** Told of each batch that had events in it, after its commit, and how many milliseconds it took from its claim. */
  readonly onBatch?: (batch: RelayedBatch, tookMs: number) => void;
  /** Gets a warning per outage of the database, per refused event and per batch left unanswered. */
  readonly log: Logger;
}

/** A running relay. */
export interface Relay {
  /** Settles when it has stopped; rejects when it cannot go on, with what it could not foresee. */
  readonly running: Promise<void>;
  /** Has it look at the outbox now; `ticked` even if it is switched off. */
  wake(ticked: boolean): void;
  /** Finishes the batches in hand and stops. */
  stop(): Promise<void>;
}

/** Batches under way at once while there is a backlog: one is claimed and marked while the other is on the wire. */
const LANES = 2;

/** Starts relaying. */
export function startRelay(options: RelayOptions): Relay {
  const { sql, batchSize, log } = options;
  const stopping = new AbortController();
  let woken = true; // what is in the outbox already
  let ticked = false;
  let stopWaiting = () => {};
  let caution = atEase(batchSize);
  let horizon = EVERYTHING;

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      if (!await untilWoken() || ticked) horizon = EVERYTHING;
      try {
        await throughOutages(drain, { log, stop: stopping.signal, passes: passesInTime });
      } catch (error) {
        if (!stopping.signal.aborted || !passesInTime(error)) throw error;
      }
    }
  }

  /** Waits for a wake-up or the next poll; whether it was the former. Those that came while a pass was under way count. */
  async function untilWoken(): Promise<boolean> {
    if (!woken) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, options.pollIntervalMs);
        stopWaiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const wasWoken = woken;
    woken = false;
    return wasWoken;
  }

  /**
   * Publishes until a batch comes back with room in it. A second lane joins only when there is a backlog, and none while
   * the relay is cautious: of two on one channel, nobody could tell whose event the broker did not want.
   */
  async function drain(): Promise<void> {
    if ((!options.enabled && !ticked) || !options.publisher()) return; // a tick waits for the broker
    const more = await relayed();
    ticked = false;
    if (!more) return;
    const lanes = Array.from({ length: LANES }, async (_, lane) => {
      while ((lane === 0 || caution.left === 0) && await relayed());
    });
    for (const lane of await Promise.allSettled(lanes)) if (lane.status === "rejected") throw lane.reason;
  }

  /** Relays one batch; whether there may be more to do now. */
  async function relayed(): Promise<boolean> {
    const publisher = options.publisher();
    if (!publisher || stopping.signal.aborted) return false;
    const { limit } = caution;
    const [startedAt, startedMs] = [new Date(), performance.now()];
    const after = lookAfter(horizon, startedMs);
    const batch = await relayBatch(sql, publisher, options.route, limit, after).catch((error) => {
      horizon = EVERYTHING;
      throw error;
    });
    const endedMs = performance.now();
    const tookMs = endedMs - startedMs;
    report(batch);
    if (batch.claimed > 0) options.onBatch?.(batch, tookMs);
    const { claimed, lastId, published, unanswered, offence } = batch;
    const look = { after, hadRoom: claimed < limit, lastId, startedAt, endedMs, tookMs };
    horizon = published < claimed ? EVERYTHING : nextHorizon(horizon, look); // what stays is not new any more
    caution = nextCaution(caution, { claimed, offended: offence !== null }, batchSize);
    if (unanswered > 0) options.onStuck();
    return claimed === limit && unanswered === 0;
  }

  function report({ published, refused, unanswered, offence }: RelayedBatch): void {
    if (published > 0) log.debug("Published", { events: published });
    for (const { id, error, traceparent } of refused) {
      log.warning("An event could not be published", { eventId: id, traceId: traceIdOf(traceparent), error });
    }
    if (unanswered > 0) {
      const why = offence === null ? {} : { offence };
      log.warning("The broker gave no answer on some events; they stay", { events: unanswered, ...why });
    }
  }

  const running = run();
  running.catch(() => {}); // told to whoever awaits it; nobody has to before it is stopped
  return {
    running,
    wake(tick) {
      ticked ||= tick;
      woken = true;
      stopWaiting();
    },
    async stop() {
      stopping.abort();
      stopWaiting();
      await running;
    },
  };
}
