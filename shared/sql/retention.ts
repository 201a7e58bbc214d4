/**
 * Deletes what nobody needs any more, a few rows at a time.
 *
 * @module
 */
import { firstIdOf } from "./id_time.ts";
import type { Sql } from "./connect.ts";

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
