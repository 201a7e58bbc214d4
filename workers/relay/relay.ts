/**
 * The outbox relay: claim, publish, mark; woken after commits, slow poll as the safety net, waiting out every outage.
 *
 * @module
 */
import { retryDelayMs } from "../../shared/broker/settle.ts";
import type { Publisher, PublishOutcome, Route } from "../../shared/broker/publish.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { claimEvents, markPublished, markRefused } from "../../shared/sql/outbox.ts";
import type { Logger } from "../../shared/process/log.ts";
import { passesInTime, retryWhileUnavailable } from "../../shared/process/errors.ts";
import { traceIdOf } from "../../shared/process/tracing.ts";
import { EVERYTHING, lookAfter, nextHorizon } from "./horizon.ts";

/** How many events the relay sends together. */
export interface Caution {
  /** The most events in the next batch. */
  readonly limit: number;
  /** How many events are still to be sent with caution; 0 is at ease. */
  readonly left: number;
}

/** What the last batch came to. */
export interface CautiousBatch {
  /** How many events were in it. */
  readonly claimed: number;
  /** Whether the broker closed the channel for what is in one of them. */
  readonly offended: boolean;
}

/** At ease: whole batches. */
export function atEase(batchSize: number): Caution {
  return { limit: batchSize, left: 0 };
}

/**
 * The caution of the next batch. A batch that offends the broker is sent again in halves, and so on, until the event at
 * fault stands alone; then, or once all that were with it are through, the relay is at ease again. One event among `n`
 * costs about 2 log2(n) batches.
 */
export function nextCaution(
  caution: Caution,
  { claimed, offended }: CautiousBatch,
  batchSize: number,
): Caution {
  if (offended && claimed > 1) {
    return { limit: Math.ceil(claimed / 2), left: Math.max(caution.left, claimed) };
  }
  const left = caution.left - claimed;
  return offended || left <= 0 ? atEase(batchSize) : { limit: caution.limit, left };
}

/** How long the broker may take to answer for a batch, in milliseconds. */
export const CONFIRM_TIMEOUT_MS = 30_000;

/** An event that the broker did not take. */
export interface RefusedOne {
  /** The event's id. */
  readonly id: string;
  /** Why it was not taken. */
  readonly error: string;
  /** W3C trace context; null where there is none. */
  readonly traceparent: string | null;
}

/** What one batch came to. */
export interface RelayedBatch {
  /** How many events were due and have been taken. */
  readonly claimed: number;
  /** The id of the last of them; null where there is none, or it had been refused before. */
  readonly lastId: string | null;
  /** How many of them the broker has confirmed. */
  readonly published: number;
  /** Those that it did not take, each with why. */
  readonly refused: readonly RefusedOne[];
  /** How many events have no answer, because the channel went away. They stay as they were, and are claimed again. */
  readonly unanswered: number;
  /** Why the broker closed the channel, if it did so for what is in one of the unanswered events; null otherwise. */
  readonly offence: string | null;
}

/**
 * Publishes up to `limit` due events, with `after` only new ones above that id, in one transaction. Its row locks are the claim: a relay that dies, or whose
 * connection does, leaves nothing to clean up. Killed between the broker's confirm and the commit, it leaves events to
 * be published once more, which the consumers' inbox absorbs: at least once here, exactly one effect there.
 *
 * An event for which the broker closes the channel counts as refused if it was alone; among others, nobody can tell.
 */
export async function relayBatch(
  sql: Sql,
  publisher: Publisher,
  route: Route,
  limit: number,
  after: string | null = null,
): Promise<RelayedBatch> {
  return await transaction(sql, async (tx) => {
    const events = await claimEvents(tx, limit, after);
    if (events.length === 0) return NOTHING;
    const outcome = aloneAtFault(await publisher.publish(events, route, CONFIRM_TIMEOUT_MS));
    const byId = new Map(events.map((event) => [event.id, event]));
    await Promise.all([
      markPublished(tx, outcome.confirmed),
      markRefused(
        tx,
        outcome.refused.map(({ id, error }) => ({
          id,
          error,
          retryInMs: retryDelayMs(byId.get(id)?.retryCount ?? 0, Math.random()),
        })),
      ),
    ]);
    const last = events.at(-1);
    return {
      claimed: events.length,
      lastId: last?.retryCount === 0 ? last.id : null,
      published: outcome.confirmed.length,
      refused: outcome.refused.map((one) => ({ ...one, traceparent: byId.get(one.id)?.traceparent ?? null })),
      unanswered: outcome.unknown.length,
      offence: outcome.offence,
    };
  });
}

const NOTHING: RelayedBatch = {
  claimed: 0,
  lastId: null,
  published: 0,
  refused: [],
  unanswered: 0,
  offence: null,
};

/** An event that was the only one to be sent and made the broker close the channel is refused. */
function aloneAtFault(outcome: PublishOutcome): PublishOutcome {
  const { confirmed, refused, unknown: [only, ...others], offence } = outcome;
  const isAlone = confirmed.length + refused.length + others.length === 0;
  if (offence === null || only === undefined || !isAlone) return outcome;
  return {
    ...outcome,
    refused: [{ id: only, error: `the broker closed the channel: ${offence}` }],
    unknown: [],
  };
}

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
        await retryWhileUnavailable(drain, { log, stop: stopping.signal, passes: passesInTime });
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
