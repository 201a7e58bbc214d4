/**
 * Retention: deletes what is old, in small batches with pauses.
 *
 * @module
 */
import { firstIdOf } from "../../shared/sql/outbox.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { keepDoing } from "../../shared/process/keep_doing.ts";
import type { Logger } from "../../shared/process/log.ts";
import { pause } from "../../shared/process/stop.ts";

/** How many rows one call deleted from each table. */
export interface Pruned {
  /** Published events. Unpublished ones are kept, however old. */
  readonly outboxEvents: number;
  /** Inbox rows, of events that are no longer in the outbox. */
  readonly processedEvents: number;
  /** Idempotency keys. */
  readonly idempotencyKeys: number;
  /** Delayed retries that have been sent long ago. */
  readonly delayedRetries: number;
  /** Records of messages that were under suspicion and never settled. */
  readonly suspectDeliveries: number;
  /** Messages of replays that are not running, and the replays once they have none left. */
  readonly replays: number;
}

/**
 * Deletes up to `limit` rows of each table that are older than `before`, each table in a statement of its own: short
 * locks, short transactions. The outbox goes first, and an inbox row only once its event is gone from there: an event
 * that can still be published again is always one that its consumers remember.
 */
export async function prune(sql: Sql, before: Date, limit: number): Promise<Pruned> {
  const oldest = firstIdOf(before);
  const outbox = await sql`
    delete from outbox_events where id in (
      select id from outbox_events where id < ${oldest} and published_at is not null
      order by id limit ${limit} for update skip locked
    )`;
  const inbox = await sql`
    delete from processed_events where (event_id, consumer) in (
      select event_id, consumer from processed_events p
      where event_id < ${oldest} and not exists (select from outbox_events e where e.id = p.event_id)
      order by event_id, consumer limit ${limit}
    )`;
  const keys = await sql`
    delete from idempotency_keys where key in (
      select key from idempotency_keys where created_at < ${before} order by created_at limit ${limit}
    )`;
  const retries = await sql`
    delete from delayed_retries where (event_id, consumer) in (
      select event_id, consumer from delayed_retries where first_seen_at < ${before} and due_at is null
      order by first_seen_at limit ${limit}
    )`;
  const suspects = await sql`
    delete from suspect_deliveries where (consumer, fingerprint) in (
      select consumer, fingerprint from suspect_deliveries where last_at < ${before} order by last_at limit ${limit}
    )`;
  const messages = await sql`
    delete from replay_events where (replay_id, position) in (
      select m.replay_id, m.position from replays r join replay_events m on m.replay_id = r.id
      where r.id < ${oldest} and r.state <> 'RUNNING' order by m.replay_id, m.position limit ${limit}
    )`;
  const replays = await sql`
    delete from replays where id in (
      select id from replays r where id < ${oldest} and state <> 'RUNNING'
        and not exists (select from replay_events m where m.replay_id = r.id)
      order by id limit ${limit}
    )`;
  return {
    outboxEvents: outbox.count,
    processedEvents: inbox.count,
    idempotencyKeys: keys.count,
    delayedRetries: retries.count,
    suspectDeliveries: suspects.count,
    replays: messages.count + replays.count,
  };
}

/** What the loop is made of. */
export interface PruningOptions {
  /** A pool that may delete, and nothing else. */
  readonly sql: Sql;
  /** How long everything is kept, in days. */
  readonly days: number;
  /** Told of what was deleted, and of a round that failed. */
  readonly log: Logger;
}

/** Rows of one table in one statement: a few milliseconds of work. */
const BATCH_ROWS = 1000;
/** Between two batches, so that deleting never takes more than a part of the database's time. */
const BETWEEN_BATCHES_MS = 50;
/** Between two rounds. */
const BETWEEN_ROUNDS_MS = 60_000;
const DAY_MS = 86_400_000;

/** Prunes until `stop` is aborted. */
export function keepPruning({ sql, days, log }: PruningOptions, stop: AbortSignal): Promise<void> {
  const round = async () => {
    const rows = await pruneRound(sql, days, stop);
    if (rows > 0) log.info("Pruned", { rows, olderThanDays: days });
  };
  return keepDoing("Pruning", round, { everyMs: BETWEEN_ROUNDS_MS, log, stop }).running;
}

/** Deletes all that is old enough now; answers with how many rows that was. */
async function pruneRound(sql: Sql, days: number, stop: AbortSignal): Promise<number> {
  const before = new Date(Date.now() - days * DAY_MS);
  for (let total = 0;;) {
    const rows = rowsOf(await prune(sql, before, BATCH_ROWS));
    total += rows;
    if (rows === 0 || stop.aborted) return total;
    await pause(BETWEEN_BATCHES_MS, stop);
  }
}

function rowsOf(pruned: Pruned): number {
  return Object.values(pruned).reduce((sum, rows) => sum + rows, 0);
}
