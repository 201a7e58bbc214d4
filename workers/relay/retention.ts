// Retention: deletes what is old, in small batches with pauses.

import { rowset, type Sql } from "../../shared/sql/connect.ts";
import type { Binding } from "../../shared/broker/connection.ts";
import { lettersOf } from "../../shared/sql/lost_events.ts";
import { firstIdOf } from "../../shared/sql/outbox.ts";
import { keepDoing } from "../../shared/process/errors.ts";
import type { Logger } from "../../shared/process/log.ts";
import { pause } from "../../shared/process/stop.ts";

/** What is to be deleted: up to `limit` rows of each table that are older than `before`, by the database's clock. */
interface PruneOptions {
  readonly before: Date;
  readonly limit: number;
  /** Who is to get which types of event. */
  readonly bindings: readonly Binding[];
}

/** How many rows were deleted, and the last event that was looked at, by its id; null where none was. */
interface Step {
  readonly rows: number;
  readonly last: string | null;
}

const NOTHING: Step = { rows: 0, last: null };

/** Where pruning goes on: behind these events. Some of those before have to stay. */
interface Place {
  readonly outbox: string;
  readonly inbox: string;
}

const NIL = "00000000-0000-0000-0000-000000000000";
const START: Place = { outbox: NIL, inbox: NIL };

/**
 * Looks at up to `limit` rows of each table that are older than `before`, and deletes what may go, each table in a
 * statement of its own: short locks, short transactions. Answers with how many rows that were, and with where to go on;
 * null at the end.
 *
 * The outbox comes first, and an inbox row goes only once its event is gone from there: an event that can still be
 * published again is always one that its consumers remember. So what decides is when an event was published, by the
 * database's clock; the time in its id, by its producer's, only narrows what is looked at.
 */
export async function prune(
  sql: Sql,
  options: PruneOptions,
  { outbox, inbox }: Place = START,
): Promise<{ rows: number; next: Place | null }> {
  const events = await pruneOutbox(sql, options, outbox);
  const processed = await pruneInbox(sql, options, inbox);
  const others = await pruneOthers(sql, options);
  const isAtEnd = events.last === null && processed.last === null && others === 0;
  return {
    rows: events.rows + processed.rows + others,
    next: isAtEnd ? null : { outbox: events.last ?? outbox, inbox: processed.last ?? inbox },
  };
}

/**
 * An event may go once it is published, and every consumer that is bound to it has processed it, or somebody has discarded
 * its dead letter. What is only set aside stays: it will be sent once more, and what the broker loses of that is sent
 * again from here. So does what was sent again lately: a copy may wait in a queue for as long as an event may, and the inbox
 * has to know it then.
 */
async function pruneOutbox(
  sql: Sql,
  { before, bindings, limit }: PruneOptions,
  after: string,
): Promise<Step> {
  const [step = NOTHING] = await sql<Step[]>`
    with batch as materialized (
      select id from outbox_events where id > ${after} and id < ${firstIdOf(before)}
      order by id limit ${limit}
    ), settled as materialized (
      select id from outbox_events e
      where id = any(array(select id from batch)) and published_at < ${before} and not exists (
        select from jsonb_to_recordset(${rowset(bindings)}::text::jsonb) as b (consumer text, type text)
        left join reconciliation_cursors c on c.consumer = b.consumer and c.type = b.type
        where b.type = e.type and e.published_at >= coalesce(c.bound_since, '-infinity')
          and not exists (select from processed_events p where p.event_id = e.id and p.consumer = b.consumer)
          and not exists (${lettersOf(sql, sql`'infinity'`)} and d.state = 'DISCARDED'))
        and not exists (
          select from replay_events m where m.event_id = e.id and m.result = 'SENT' and m.settled_at >= ${before})
      for update of e skip locked
    ), deleted as (
      delete from outbox_events where id = any(array(select id from settled)) returning id
    )
    select (select count(*)::int from deleted) as rows, (select id from batch order by id desc limit 1) as last`;
  return step;
}

async function pruneInbox(sql: Sql, { before, limit }: PruneOptions, after: string): Promise<Step> {
  const [step = NOTHING] = await sql<Step[]>`
    with batch as materialized (
      select event_id from processed_events where event_id > ${after} and event_id < ${firstIdOf(before)}
      order by event_id fetch first ${limit} rows with ties
    ), deleted as (
      delete from processed_events where event_id = any(array(
        select event_id from batch where not exists (select from outbox_events e where e.id = event_id)))
      returning event_id
    )
    select (select count(*)::int from deleted) as rows,
           (select event_id from batch order by event_id desc limit 1) as last`;
  return step;
}

/** Deletes the oldest rows of the other tables; answers with how many that were. */
async function pruneOthers(sql: Sql, { before, limit }: PruneOptions): Promise<number> {
  const deletions = [
    sql`
    delete from idempotency_keys where key in (
      select key from idempotency_keys where created_at < ${before} order by created_at limit ${limit}
    )`,
    sql`
    delete from delayed_retries where (event_id, consumer) in (
      select event_id, consumer from delayed_retries where first_seen_at < ${before} and due_at is null
      order by first_seen_at limit ${limit}
    )`,
    sql`
    delete from suspect_deliveries where (consumer, fingerprint) in (
      select consumer, fingerprint from suspect_deliveries where last_at < ${before} order by last_at limit ${limit}
    )`,
    sql`
    delete from event_history where event_id in (
      select h.event_id from event_history h where h.event_id < ${firstIdOf(before)}
        and not exists (select from outbox_events e where e.id = h.event_id)
      order by h.event_id limit ${limit}
    )`,
    sql`
    delete from replay_events where (replay_id, position) in (
      select m.replay_id, m.position from replays r join replay_events m on m.replay_id = r.id
      where coalesce(r.finished_at, r.created_at) < ${before} and r.state <> 'RUNNING' order by m.replay_id, m.position limit ${limit}
    )`,
    sql`
    delete from replays where id in (
      select id from replays r where coalesce(finished_at, created_at) < ${before} and state <> 'RUNNING'
        and not exists (select from replay_events m where m.replay_id = r.id)
      order by id limit ${limit}
    )`,
    sql`
    delete from operations where id in (
      select id from operations where id < ${firstIdOf(before)} order by id limit ${limit}
    )`,
  ];
  let rows = 0;
  for (const deletion of deletions) rows += (await deletion).count; // each is sent when it is waited for
  return rows;
}

/** Of one table in one statement: a few milliseconds of work. */
const BATCH_ROWS = 1000;
/** Deleting never takes more than a part of the database's time. */
const BETWEEN_BATCHES_MS = 50;
const BETWEEN_ROUNDS_MS = 60_000;

/**
 * Deletes all that is older than `days` days, again and again until `stop` is aborted. `sql` is opened with
 * `KEYED_SETTINGS`, under a role that may do nothing but delete.
 */
export function keepPruning(
  { sql, bindings, days, log }: {
    readonly sql: Sql;
    readonly bindings: readonly Binding[];
    readonly days: number;
    readonly log: Logger;
  },
  stop: AbortSignal,
): Promise<void> {
  async function round(): Promise<void> {
    const [now] = await sql<{ before: Date }[]>`select now() - make_interval(days => ${days}) as before`;
    let rows = 0;
    for (let next: Place | null = START; now && next && !stop.aborted;) {
      const pruned = await prune(sql, { before: now.before, bindings, limit: BATCH_ROWS }, next);
      rows += pruned.rows;
      next = pruned.next;
      await pause(BETWEEN_BATCHES_MS, stop);
    }
    if (rows > 0) log.info("Pruned", { rows, olderThanDays: days });
  }

  return keepDoing("Pruning", round, { everyMs: BETWEEN_ROUNDS_MS, log, stop }).running;
}
