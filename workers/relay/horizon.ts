// From where on the relay looks for events. Pure.
//
// The claim walks an index of what waits. Entries of events that are published by now go from it with the next visit or
// vacuum, but not while a transaction that is older than they are is open anywhere in the database: then each claim
// steps over all that was published since. So the relay mostly looks at what is new, and once in a while at everything.

import { firstIdOf, timeOfId } from "../../shared/sql/outbox.ts";

/** Looks begin behind the id `after` until `untilMs` by `performance.now()`; then, and where it is null, at everything. */
export interface Horizon {
  readonly after: string | null;
  readonly untilMs: number;
}

/** Nothing is known: the next look is at everything. */
export const EVERYTHING: Horizon = { after: null, untilMs: 0 };

/** A look that has published all that it took. */
export interface Look extends Pick<Horizon, "after"> {
  /** Whether it took less than it could have. */
  readonly hadRoom: boolean;
  /** Null where it took no event, or the last one had been refused before. */
  readonly lastId: string | null;
  /** By the relay's clock. */
  readonly startedAt: Date;
  /** By `performance.now()`. */
  readonly endedMs: number;
  readonly tookMs: number;
}

/**
 * How long after its id was made an event may be committed and still be found by the quick looks, the difference of the
 * producers' clocks included: a process whose clock is off by more says so. What comes later waits for the next look at
 * everything.
 */
const LATE_MS = 5000;
/** Between two looks at everything. */
const MIN_INTERVAL_MS = 1000;
/** Looks at everything take no more than this share of the time. */
const MAX_SHARE = 0.05;

/** The id behind which a look at `nowMs` begins; null for everything. */
export function lookAfter({ after, untilMs }: Horizon, nowMs: number): string | null {
  return nowMs < untilMs ? after : null;
}

/**
 * The horizon after a look, which has taken what is new in the order of the ids: nothing that was committed is left
 * before the last one, except what another relay has claimed. It follows the ids, so that a relay whose clock is fast
 * misses nothing; an id from the future, of a producer whose clock is fast, counts as made now.
 */
export function nextHorizon(horizon: Horizon, look: Look): Horizon {
  const { hadRoom, lastId, startedAt, endedMs, tookMs } = look;
  if (!hadRoom && lastId === null) return EVERYTHING;
  const seenUntilMs = lastId === null ? null : Math.min(startedAt.getTime(), timeOfId(lastId).getTime());
  const wasFull = look.after === null;
  return {
    after: seenUntilMs === null ? horizon.after : firstIdOf(new Date(seenUntilMs - LATE_MS)),
    untilMs: wasFull ? endedMs + Math.max(MIN_INTERVAL_MS, tookMs / MAX_SHARE) : horizon.untilMs,
  };
}
