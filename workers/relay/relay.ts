// The outbox relay: claims events, publishes them, marks them. It looks at the outbox when a producer's commit wakes it,
// soon after that once more, and by a slow poll; it waits out every outage.

import type { Gate } from "../../shared/broker/consume.ts";
import { retryDelayMs } from "../../shared/broker/settle.ts";
import type { Publisher, PublishOutcome, Route } from "../../shared/broker/publish.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { claimingEvents, markingPublished, markingRefused } from "../../shared/sql/outbox.ts";
import type { Session } from "../../shared/sql/session.ts";
import { passesInTime, retryWhileUnavailable } from "../../shared/process/errors.ts";
import { createAlarm } from "../../shared/process/stop.ts";
import type { Logger } from "../../shared/process/log.ts";
import { traceIdOf } from "../../shared/process/tracing.ts";
import { EVERYTHING, lookAfter, nextHorizon } from "./horizon.ts";

/** How long the broker may take to answer for a batch, in milliseconds. */
export const CONFIRM_TIMEOUT_MS = 30_000;

export interface RelayedBatch {
  readonly claimed: number;
  /** The id of the last event; null where there is none, or it had been refused before. */
  readonly lastId: string | null;
  readonly published: number;
  readonly refused: readonly { id: string; error: string; traceparent: string | null }[];
  /** How many events have no answer, because the channel went away. They stay as they were, and are claimed again. */
  readonly unanswered: number;
  /** Why the broker closed the channel, if it did so for what is in one of the unanswered events; null otherwise. */
  readonly offence: string | null;
}

const NOTHING: RelayedBatch = {
  claimed: 0,
  lastId: null,
  published: 0,
  refused: [],
  unanswered: 0,
  offence: null,
};

/**
 * Publishes up to `limit` due events, with `after` only new ones above that id, in one transaction of two round trips. Its
 * row locks are the claim: a relay that dies, or whose connection does, leaves nothing to clean up. Killed between the
 * broker's confirm and the commit, it leaves events to be published once more, which the consumers' inbox absorbs: at
 * least once here, exactly one effect there.
 *
 * An event for which the broker closes the channel counts as refused if it was alone; among others, nobody can tell.
 *
 * Errors: those of the session's transaction.
 */
export async function relayBatch(
  session: Session,
  publisher: Publisher,
  route: Route,
  limit: number,
  after: string | null = null,
): Promise<RelayedBatch> {
  return await session.transaction((sql) => claimingEvents(sql, limit, after), async (events) => {
    if (events.length === 0) return { value: NOTHING, last: () => [] };
    const { confirmed, unknown, offence, ...outcome } = aloneAtFault(
      await publisher.publish(events, route, CONFIRM_TIMEOUT_MS),
    );
    const byId = new Map(events.map((event) => [event.id, event]));
    const refused = outcome.refused.map(({ id, error }) => {
      const { traceparent = null, retryCount = 0 } = byId.get(id) ?? {};
      return { id, error, traceparent, retryInMs: retryDelayMs(retryCount, Math.random()) };
    });
    const last = events.at(-1);
    return {
      value: {
        claimed: events.length,
        lastId: last?.retryCount === 0 ? last.id : null,
        published: confirmed.length,
        refused,
        unanswered: unknown.length,
        offence,
      },
      last: (sql) => [
        ...(confirmed.length > 0 ? [markingPublished(sql, confirmed)] : []),
        ...(refused.length > 0 ? [markingRefused(sql, refused)] : []),
      ],
    };
  });
}

/** The outcome of a batch: an event that was sent alone and made the broker close the channel is refused. */
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

export interface RelayOptions {
  /** A pool with `CLAIM_SETTINGS`, for looks that nobody has woken the relay for. */
  readonly sql: Sql;
  /** Opens a session with `RELAY_SETTINGS`, one for each lane. The relay closes them. */
  readonly openSession: () => Session;
  /** Null while there is no connection, or the broker takes nothing. */
  readonly publisher: () => Publisher | null;
  readonly route: Route;
  /** The most events in one batch, which is one transaction. */
  readonly batchSize: number;
  /** The longest pause between two looks at the outbox. */
  readonly pollIntervalMs: number;
  /** Switched off, it publishes only when ticked. */
  readonly enabled: boolean;
  /** While it is shut nothing is claimed but with a step, not even for a tick. Always open by default. */
  readonly gate?: Gate;
  /** Told of each batch that had events in it, after its commit. */
  readonly onBatch?: (batch: RelayedBatch, tookMs: number) => void;
  readonly log: Logger;
}

/**
 * The pause after activity, in milliseconds. A producer wakes the relay once in 10 ms at most: what it commits in between
 * is found by this look, or by the next one if its commit took long. Then only the poll is left: each look costs a round
 * trip, and at rest there is nothing to find.
 */
const LOOK_AGAIN_MS = 20;
const LOOK_AGAIN_FACTOR = 16;

/** The pause before the next look, after a pause of `lastMs` milliseconds and a look. */
export function nextPauseMs(lastMs: number, wasActive: boolean, pollIntervalMs: number): number {
  return Math.min(wasActive ? LOOK_AGAIN_MS : lastMs * LOOK_AGAIN_FACTOR, pollIntervalMs);
}

/**
 * Relays until `stop` is aborted, and then finishes the batches under way; begins with what waits already. `wake` has it look
 * at the outbox now, `ticked` even if it is switched off. `running` settles when it has stopped, and rejects when it cannot
 * go on.
 */
export function startRelay(options: RelayOptions, stop: AbortSignal) {
  const { pollIntervalMs, enabled, gate, publisher, log } = options;
  const alarm = createAlarm(stop);
  const outbox = createDrain(options, stop);
  let ticked = false;

  async function look(isWoken: boolean): Promise<boolean> {
    if (stop.aborted || !publisher()) return false; // a tick waits for the broker
    if (gate?.isShut()) return await outbox.step();
    if (!enabled && !ticked) return false;
    const isTick = ticked;
    ticked = false; // another one may come meanwhile
    try {
      return await outbox.drain({ isExpected: isWoken, atEverything: isTick });
    } catch (error) {
      ticked ||= isTick;
      throw error;
    }
  }

  async function run(): Promise<void> {
    alarm.ring();
    for (let pauseMs = pollIntervalMs; !stop.aborted;) {
      const isWoken = await alarm.wait(pauseMs);
      try {
        const found = await retryWhileUnavailable(() => look(isWoken), { log, stop, passes: passesInTime });
        pauseMs = nextPauseMs(pauseMs, isWoken || found, pollIntervalMs);
      } catch (error) {
        if (!stop.aborted || !passesInTime(error)) throw error;
      }
    }
  }

  const running = run().finally(outbox.close);
  running.catch(() => {}); // told to whoever awaits it; nobody has to before it is stopped
  return {
    running,
    wake(tick: boolean): void {
      ticked ||= tick;
      alarm.ring();
    },
  };
}

/** Batches under way at once while there is a backlog: one is claimed and marked while the other is on the wire. */
const LANES = 2;

/** Makes what empties the outbox, with what it remembers from one look to the next. */
function createDrain(options: RelayOptions, stop: AbortSignal) {
  const { sql, openSession, route, batchSize, gate, onBatch, log } = options;
  const firstLane = openSession();
  const lanes = [firstLane, ...Array.from({ length: LANES - 1 }, openSession)];
  /**
   * How many events were under way when the broker closed the channel for one of them. They go one by one, until the one
   * at fault stands alone: that costs one more connection, where halves of the batch would cost one each.
   */
  let suspects = 0;
  let horizon = EVERYTHING;

  async function relayAndTell(lane: Session, publisher: Publisher, limit: number, after: string | null) {
    const startedMs = performance.now();
    const batch = await relayBatch(lane, publisher, route, limit, after);
    report(batch, log);
    if (batch.claimed > 0) onBatch?.(batch, performance.now() - startedMs);
    return batch;
  }

  /** Relays one batch; whether it found anything, and whether there may be more to do now. */
  async function relayOne(lane: Session, isExpected = true): Promise<{ found: boolean; more: boolean }> {
    const publisher = options.publisher();
    if (!publisher || stop.aborted || gate?.isShut()) return { found: false, more: false };
    const limit = suspects > 0 ? 1 : batchSize;
    const [startedAt, startedMs] = [new Date(), performance.now()];
    const after = lookAfter(horizon, startedMs);
    const isEmpty = !isExpected && (await claimingEvents(sql, 1, after)).length === 0;
    const batch = isEmpty ? NOTHING : await relayAndTell(lane, publisher, limit, after);
    const { claimed, lastId, published, unanswered, offence } = batch;
    const endedMs = performance.now();
    const look = { after, hadRoom: claimed < limit, lastId, startedAt, endedMs, tookMs: endedMs - startedMs };
    horizon = published < claimed ? EVERYTHING : nextHorizon(horizon, look); // what stays is not new any more
    if (offence !== null) suspects = claimed > 1 ? Math.max(suspects, claimed) : 0;
    else suspects = claimed < limit ? 0 : Math.max(suspects - claimed, 0); // another relay may have taken it meanwhile
    return { found: claimed > 0, more: claimed === limit && unanswered === 0 };
  }

  /** Suspects have one lane: of two batches on one channel, nobody could tell which has the event at fault. */
  async function relayAll(lane: Session): Promise<void> {
    while ((lane === firstLane || suspects === 0) && (await relayOne(lane)).more);
  }

  /**
   * Publishes until a batch comes back with room in it; answers whether it found anything. Where that is not expected, it
   * looks with a single statement first.
   */
  async function drain(
    look: { readonly isExpected: boolean; readonly atEverything: boolean },
  ): Promise<boolean> {
    if (look.atEverything) horizon = EVERYTHING;
    try {
      const { found, more } = await relayOne(firstLane, look.isExpected);
      const ends = more ? await Promise.allSettled(lanes.map(relayAll)) : [];
      for (const end of ends) if (end.status === "rejected") throw end.reason;
      return found;
    } catch (error) {
      horizon = EVERYTHING; // it may have moved past events of the batch that failed
      throw error;
    }
  }

  /** Relays one event for each step that it gets; answers whether it relayed any. */
  async function step(): Promise<boolean> {
    horizon = EVERYTHING; // nobody has looked meanwhile
    for (let found = false;; found = true) {
      const publisher = options.publisher();
      if (!publisher || stop.aborted || (await claimingEvents(sql, 1)).length === 0) return found;
      if (!await gate?.takeStep()) return found;
      let claimed = 0;
      try {
        ({ claimed } = await relayAndTell(firstLane, publisher, 1, null));
      } finally {
        if (claimed === 0) await gate?.returnStep(); // another copy was first, or the database has gone
      }
      if (claimed === 0) return found;
    }
  }

  return { drain, step, close: () => Promise.all(lanes.map((lane) => lane.end())) };
}

function report({ published, refused, unanswered, offence }: RelayedBatch, log: Logger): void {
  if (published > 0) log.debug("Published", { events: published });
  for (const { id, error, traceparent } of refused) {
    log.warning("An event could not be published", { eventId: id, traceId: traceIdOf(traceparent), error });
  }
  if (unanswered > 0) {
    const why = offence === null ? {} : { offence };
    log.warning("The broker gave no answer on some events; they stay", { events: unanswered, ...why });
  }
}
