/**
 * The outbox: `outbox_events`, where an event waits from the transaction that made it true until the broker has it
 * (the transactional outbox pattern, https://microservices.io/patterns/data/transactional-outbox.html).
 *
 * @module
 */
import type { OutgoingEvent } from "../events/catalog.ts";
import { KEYED_SETTINGS, type Queryable, rowset, type Statement, uuids } from "./connect.ts";

/** Appends events, in one statement. To be called in the transaction that changes the state they tell of. */
export async function appendEvents(sql: Queryable, events: readonly OutgoingEvent[]): Promise<void> {
  if (events.length > 0) await insertEvents(sql, events);
}

/** An event that is to be told once the row with the id `rowId` is stored, or whatever happens. */
export type EventOfRow = OutgoingEvent & { readonly rowId?: string };

/**
 * The statement of {@linkcode appendEvents}, which can be made a part of the one that changes the state. `where` is a
 * condition on `row_id`.
 */
export function insertEvents(
  sql: Queryable,
  events: readonly EventOfRow[],
  where: Statement = sql`true`,
): Statement {
  const rows = events.map(({ event, traceparent, rowId }) => ({ traceparent, event, row_id: rowId }));
  return sql`
    insert into outbox_events (id, type, order_id, correlation_id, traceparent, payload, occurred_at)
    select (event ->> 'eventId')::uuid, event ->> 'type', (event -> 'data' ->> 'orderId')::uuid,
           event ->> 'correlationId', traceparent, event, (event ->> 'occurredAt')::timestamptz
    from jsonb_to_recordset(${rowset(rows)}::text::jsonb) as new (traceparent text, event jsonb, row_id uuid)
    where ${where}`;
}

/** An event as the relay publishes it. */
export interface ClaimedEvent {
  /** The event's id, a uuid, which is also the row's. */
  readonly id: string;
  /** The event's type, which is its routing key. */
  readonly type: string;
  /** The event's correlation id: 1 to 128 visible ASCII characters. */
  readonly correlationId: string;
  /** W3C trace context; null where there is none. */
  readonly traceparent: string | null;
  /** When the event happened, by the clock of the process that made it. */
  readonly occurredAt: Date;
  /** The envelope as JSON text: the relay never parses it. */
  readonly body: string;
  /** How often the broker has refused it so far. */
  readonly retryCount: number;
}

/**
 * The planner settings of a relay's session. Statistics that were taken while the outbox was almost empty make the
 * planner read all of its index and sort it; these leave it one plan, which walks the index in order and stops.
 */
export const CLAIM_SETTINGS = {
  ...KEYED_SETTINGS,
  enable_sort: "off",
  enable_bitmapscan: "off",
} as const;

/**
 * Claims up to `limit` unpublished events that are due: those never tried by their ids, then those whose backoff is
 * over. The claim is the rows' lock, so it ends with the transaction, however that ends; other relays skip locked rows
 * and take the next ones. With `after`, only events that were never tried and have a higher id: quick where the index
 * still holds many that are published, but ids are not given out in the order of commits, so whoever claims like this
 * must claim without it as well.
 */
export async function claimEvents(
  sql: Queryable,
  limit: number,
  after: string | null = null,
): Promise<ClaimedEvent[]> {
  const due = after === null
    ? sql`next_attempt_at <= now()`
    : sql`next_attempt_at = '-infinity' and id > ${after}::text::uuid`;
  return await sql<ClaimedEvent[]>`
    select ${publishedColumns(sql)}
    from outbox_events
    where published_at is null and ${due}
    order by next_attempt_at, id
    limit ${limit}
    for update skip locked`;
}

/** The events `ids` as they are published, without claiming them: to be sent once more to whom they did not reach. */
export async function readEventsForPublishing(
  sql: Queryable,
  ids: readonly string[],
): Promise<ClaimedEvent[]> {
  return await sql<ClaimedEvent[]>`
    select ${publishedColumns(sql)} from outbox_events where id = any(${uuids(ids)}::text::uuid[])`;
}

function publishedColumns(sql: Queryable) {
  return sql`
    id, type, correlation_id as "correlationId", traceparent, occurred_at as "occurredAt",
    payload::text as body, retry_count as "retryCount"`;
}

/** Marks events as published, in one statement; what an earlier try met with stays readable beside it. */
export async function markPublished(sql: Queryable, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await sql`
    update outbox_events set published_at = clock_timestamp(), next_attempt_at = '-infinity'
    where id = any(${uuids(ids)}::text::uuid[])`;
}

/** An event that the broker did not take. */
export interface RefusedEvent {
  /** The id of the event. */
  readonly id: string;
  /** Why the broker did not take it; the first 500 characters are kept. */
  readonly error: string;
  /** When to try again, in milliseconds from now. */
  readonly retryInMs: number;
}

/** Notes why events could not be published, and when each is due again, in one statement. */
export async function markRefused(sql: Queryable, refused: readonly RefusedEvent[]): Promise<void> {
  if (refused.length === 0) return;
  await sql`
    update outbox_events
    set retry_count = retry_count + 1, last_error = left(refused.error, 500),
        next_attempt_at = clock_timestamp() + refused."retryInMs" * interval '1 millisecond'
    from jsonb_to_recordset(${
    rowset(refused)
  }::text::jsonb) as refused (id uuid, error text, "retryInMs" integer)
    where outbox_events.id = refused.id
      and outbox_events.id = any(${uuids(refused.map(({ id }) => id))}::text::uuid[]) -- by the index`;
}

/** An event as ops shows it. */
export interface OutboxEventRow {
  /** The event's id, a version 7 uuid: the newest event has the highest. */
  readonly id: string;
  /** The event's type, which is its routing key. */
  readonly type: string;
  /** The order that the event is about. */
  readonly orderId: string;
  /** The event's correlation id: 1 to 128 visible ASCII characters. */
  readonly correlationId: string;
  /** W3C trace context; null where there is none. */
  readonly traceparent: string | null;
  /** The whole envelope, data included, as it is sent. */
  readonly payload: unknown;
  /** When the event happened, by the clock of the process that made it. */
  readonly occurredAt: Date;
  /** When the broker had confirmed it; null while it waits. */
  readonly publishedAt: Date | null;
  /** How often the broker has refused it so far. */
  readonly retryCount: number;
  /** Why it was last refused, even if it is published by now; null where it never was. */
  readonly lastError: string | null;
  /** When an event that was refused is tried again; null for all others. */
  readonly nextAttemptAt: Date | null;
}

/** What `listEvents` filters by. */
export interface OutboxFilter {
  /** The most events to answer with. */
  readonly limit: number;
  /** Only events older than the one with this id. */
  readonly before?: string | undefined;
  /** Only events of this type. */
  readonly type?: string | undefined;
  /** Only events about this order. */
  readonly orderId?: string | undefined;
  /** Only published ones, or only those that are not. */
  readonly published?: boolean | undefined;
}

/** Up to `limit` events, newest first. */
export async function listEvents(sql: Queryable, filter: OutboxFilter): Promise<OutboxEventRow[]> {
  const { limit, before, type, orderId, published } = filter;
  return await sql<OutboxEventRow[]>`
    select ${columns(sql)} from outbox_events where true
    ${before ? sql`and id < ${before}` : sql``}
    ${type ? sql`and type = ${type}` : sql``}
    ${orderId ? sql`and order_id = ${orderId}` : sql``}
    ${
    published === undefined
      ? sql``
      : published
      ? sql`and published_at is not null`
      : sql`and published_at is null`
  }
    order by id desc limit ${limit}`;
}

/** The event `id`, or undefined. */
export async function findEvent(sql: Queryable, id: string): Promise<OutboxEventRow | undefined> {
  const [row] = await sql<OutboxEventRow[]>`select ${columns(sql)} from outbox_events where id = ${id}`;
  return row;
}

/** Has the event `id` published again; answers with it, or undefined where there is no such event. */
export async function republishEvent(sql: Queryable, id: string): Promise<OutboxEventRow | undefined> {
  const [row] = await sql<OutboxEventRow[]>`
    update outbox_events set published_at = null, next_attempt_at = '-infinity' where id = ${id}
    returning ${columns(sql)}`;
  return row;
}

function columns(sql: Queryable) {
  return sql`
    id, type, order_id as "orderId", correlation_id as "correlationId", traceparent, payload,
    occurred_at as "occurredAt", published_at as "publishedAt", retry_count as "retryCount",
    last_error as "lastError", nullif(next_attempt_at, '-infinity') as "nextAttemptAt"`;
}

/**
 * How many events wait to be published, and since when the oldest of them has. With `atMost`, no more than so many are
 * looked at, in the order in which the relay takes them: whoever asks again and again must not read a whole backlog.
 */
export async function countUnpublished(
  sql: Queryable,
  atMost: number | null = null,
): Promise<{ count: number; oldestAt: Date | null }> {
  const [row] = await sql<{ count: number; oldestAt: Date | null }[]>`
    select count(*)::int as count, min(occurred_at) as "oldestAt" from (
      select occurred_at from outbox_events where published_at is null
      ${atMost === null ? sql`` : sql`order by next_attempt_at, id limit ${atMost}`}
    ) as waiting`;
  return row ?? { count: 0, oldestAt: null };
}
