/**
 * The outbox relay's loop: woken after commits, slow poll as the safety net, waiting out every outage.
 *
 * @module
 */
import { kindOfError, messageOf } from "../../shared/errors.ts";
import type { Logger } from "../../shared/log.ts";
import type { Publisher, Route } from "../../shared/broker/publish.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { pause } from "../../shared/stop.ts";
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

const OUTAGE_BACKOFF_MIN_MS = 100;
const OUTAGE_BACKOFF_MAX_MS = 1000;

/** Starts relaying. */
export function startRelay(options: RelayOptions): Relay {
  const { sql, batchSize, log } = options;
  const stopping = new AbortController();
  let woken = true; // what is in the outbox already
  let ticked = false;
  let stopWaiting = () => {};

  async function run(): Promise<void> {
    for (let backoffMs = OUTAGE_BACKOFF_MIN_MS, down = false; !stopping.signal.aborted;) {
      await untilWoken();
      try {
        await drain();
        if (down) log.info("The database is back");
        down = false;
        backoffMs = OUTAGE_BACKOFF_MIN_MS;
      } catch (error) {
        if (kindOfError(error) === "permanent") throw error;
        if (!down) {
          log.warning("The outbox cannot be read; trying again until it can", { error: messageOf(error) });
        }
        down = true;
        woken = true;
        await pause(backoffMs, stopping.signal);
        backoffMs = Math.min(backoffMs * 2, OUTAGE_BACKOFF_MAX_MS);
      }
    }
  }

  /** Waits for a wake-up or the next poll. Wake-ups that came while a pass was under way count. */
  async function untilWoken(): Promise<void> {
    if (!woken) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, options.pollIntervalMs);
        stopWaiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    woken = false;
  }

  /** Publishes until a batch comes back with room in it. A second lane joins only when there is a backlog. */
  async function drain(): Promise<void> {
    if ((!options.enabled && !ticked) || !options.publisher()) return; // a tick waits for the broker
    ticked = false;
    if (!await relayed()) return;
    const lanes = Array.from({ length: LANES }, async () => {
      while (await relayed());
    });
    for (const lane of await Promise.allSettled(lanes)) if (lane.status === "rejected") throw lane.reason;
  }

  /** Relays one batch; whether there may be more to do now. */
  async function relayed(): Promise<boolean> {
    const publisher = options.publisher();
    if (!publisher || stopping.signal.aborted) return false;
    const batch = await relayBatch(sql, publisher, options.route, batchSize);
    report(batch);
    if (batch.unanswered > 0) options.onStuck();
    return batch.claimed === batchSize && batch.unanswered === 0;
  }

  function report({ published, refused, unanswered }: RelayedBatch): void {
    if (published > 0) log.debug("Published", { events: published });
    for (const { id, error } of refused) {
      log.warning("An event could not be published", { eventId: id, error });
    }
    if (unanswered > 0) {
      log.warning("The broker gave no answer on some events; they stay", { events: unanswered });
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
