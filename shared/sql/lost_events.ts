// What the broker lost: `reconciliation_cursors`, up to when everything that was sent has been compared with the inbox,
// and `lost_events`, what was found missing. Written only by the relay that reconciles.

import type { Binding } from "../broker/connection.ts";
import { type Queryable, rowset, type Statement, uuids } from "./connect.ts";

/** Instants by the database's clock are text: a `Date` would cut their microseconds off. */
type Instant = string;

/**
 * The dead letters of the event `e`, of the outbox, at the consumer `b.consumer` that speak for it: open, discarded, or
 * redriven after `until`. Not those of a spoilt copy, which has no more of it than its id. But if the event itself is what
 * its consumer cannot read, then the body is the event's, byte for byte.
 */
export function lettersOf(sql: Queryable, until: Statement): Statement {
  return sql`
    select from dead_letters d
    where d.event_id = e.id and d.consumer = b.consumer and (d.state <> 'REDRIVEN' or d.resolved_at > ${until})
      and (not d.is_malformed and d.event_type = e.type or d.fingerprint = (
        select sha256(convert_to(own.payload::text, 'UTF8')) from outbox_events own where own.id = d.event_id))`;
}

/**
 * The condition that the event `e`, of the outbox, is missing at the consumer `b.consumer`: that has neither processed it
 * nor set it aside, and whoever sent it last, the relay, a retry or a redrive, did so up to `until`. A dead letter, open
 * or discarded, counts as set aside: somebody knows of it, or has decided. So does a retry that waits: it is on time.
 */
export function isMissing(sql: Queryable, until: Instant): Statement {
  return sql`
    e.published_at <= ${until}::text::timestamptz
    and not exists (select from processed_events p where p.event_id = e.id and p.consumer = b.consumer)
    and not exists (${lettersOf(sql, sql`${until}::text::timestamptz`)})
    and not exists (
      select from delayed_retries r where r.event_id = e.id and r.consumer = b.consumer
        and (r.due_at is not null or r.sent_at > ${until}::text::timestamptz))`;
}

/**
 * Makes a cursor for each binding that has none. The first cursors of a database begin with its first event. One that
 * joins them later is of a new binding, which is at most `ageMs` milliseconds old: it was not owed what was published before.
 */
export async function insertCursors(
  sql: Queryable,
  bindings: readonly Binding[],
  ageMs: number,
): Promise<void> {
  await sql`
    insert into reconciliation_cursors (consumer, type, bound_since, sent_until)
    select consumer, type, since, since
    from jsonb_to_recordset(${rowset(bindings)}::text::jsonb) as b (consumer text, type text)
    cross join (
      select case when exists (select from reconciliation_cursors)
        then now() - ${ageMs}::float8 * interval '1 millisecond' else '-infinity' end) as beginning (since)
    on conflict (consumer, type) do nothing`;
}

/**
 * Moves cursors of `bindings` on over the next `limit` sendings, at the farthest to `until`, and notes what was lost
 * among them. Of cursors at different places it moves those that are ahead, so that a consumer that is far behind does
 * not hold up the others. Answers with how many events each consumer of those lacks; with nothing once all are there.
 *
 * A sending is when something was published, retried or redriven. So what is set aside, or was sent again after
 * `until`, is passed over: when it is sent, or the cursor is there, it is looked at once more.
 */
export async function sweepSendings(
  sql: Queryable,
  bindings: readonly Binding[],
  until: Instant,
  limit: number,
): Promise<{ consumer: string; lost: number }[]> {
  return await sql<{ consumer: string; lost: number }[]>`
    with behind as materialized (
      select consumer, type, sent_until from reconciliation_cursors
      join jsonb_to_recordset(${
    rowset(bindings)
  }::text::jsonb) as b (consumer text, type text) using (consumer, type)
      where sent_until < ${until}::text::timestamptz
    ), moving as materialized (
      select * from behind where sent_until = (select max(sent_until) from behind)
    ), sent as materialized (
      select * from (${sendings(sql, until, limit)}) as sent order by at fetch first ${limit} rows with ties
    ), moved as (
      update reconciliation_cursors c
      set sent_until = case when (select count(*) from sent) < ${limit} then ${until}::text::timestamptz
        else (select max(at) from sent) end
      from moving where c.consumer = moving.consumer and c.type = moving.type
    ), lost as (
      insert into lost_events (event_id, consumer)
      select distinct e.id, b.consumer from sent as e
      join moving as b on b.type = e.type and b.consumer = coalesce(e.consumer, b.consumer)
      where ${isMissing(sql, until)}
      on conflict (event_id, consumer) do nothing returning consumer
    )
    select distinct consumer, (select count(*)::int from lost where lost.consumer = moving.consumer) as lost from moving`;
}

/** The next sendings behind the cursors that are `moving`, each with its event, and its consumer unless it is everyone's. */
function sendings(sql: Queryable, until: Instant, limit: number): Statement {
  const next = (at: Statement) =>
    sql`${at} > (select max(sent_until) from moving) and ${at} <= ${until}::text::timestamptz
        order by ${at} fetch first ${limit} rows with ties`;
  return sql`
    (select published_at as at, id, type, published_at, null as consumer from outbox_events
      where ${next(sql`published_at`)})
    union all
    (select sent_at, id, type, published_at, consumer from delayed_retries join outbox_events on id = event_id
      where ${next(sql`sent_at`)})
    union all
    (select resolved_at, e.id, type, published_at, consumer from dead_letters d join outbox_events e on e.id = event_id
      where state = 'REDRIVEN' and ${next(sql`resolved_at`)})`;
}

/** How many events each consumer lacks that lacks any. */
export async function countLost(sql: Queryable): Promise<{ consumer: string; lost: number }[]> {
  return await sql<{ consumer: string; lost: number }[]>`
    select consumer, count(*)::int as lost from lost_events group by consumer`;
}

/** Forgets what is missing at `consumer` no more. Answers with how many events are left. */
export async function forgetFound(sql: Queryable, consumer: string): Promise<number> {
  const [row] = await sql<{ lost: number }[]>`
    with looked_at as materialized (
      select b.event_id, missing.id is not null as is_missing
      from lost_events b left join lateral (
        select e.id from outbox_events e where e.id = b.event_id and ${isMissing(sql, "infinity")} limit 1
      ) as missing on true
      where b.consumer = ${consumer}
    ), forgotten as (
      delete from lost_events
      where event_id = any(array(select event_id from looked_at where not is_missing)) and consumer = ${consumer}
    )
    select count(*) filter (where is_missing)::int as lost from looked_at`;
  return row?.lost ?? 0;
}

/** The events that are to be sent to `consumer` now, by their ids: those that nobody has sent since `until`. */
export async function findUnsent(sql: Queryable, consumer: string, until: Instant): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select e.id from lost_events b join outbox_events e on e.id = b.event_id
    where b.consumer = ${consumer} and coalesce(b.sent_at, '-infinity') <= ${until}::text::timestamptz
      and ${isMissing(sql, until)}
    order by b.event_id`;
  return rows.map(({ id }) => id);
}

/**
 * Notes that events were sent to `consumer` again. The history has `startedAt`, when that began, by the caller's clock:
 * whoever got one may have processed it before this.
 */
export async function markSentAgain(
  sql: Queryable,
  consumer: string,
  ids: readonly string[],
  startedAt: Date,
): Promise<void> {
  await sql`
    with sent as (
      update lost_events set sent_at = clock_timestamp()
      where event_id = any(${uuids(ids)}::text::uuid[]) and consumer = ${consumer}
      returning event_id, consumer
    )
    insert into event_history (event_id, consumer, kind, at)
    select event_id, consumer, 'resent', ${startedAt}::timestamptz from sent`;
}
