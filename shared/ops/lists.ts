// What operators list, search and count: orders, the outbox, the inbox, and messages over all of it. It reads, and makes one
// event due.

import { isFinal, ORDER_STATUSES, type OrderStatus } from "../order_status.ts";
import type { Binding } from "../broker/connection.ts";
import { type Queryable, rowset, type Statement } from "../sql/connect.ts";
import type { MessageJson, MessageState, OutboxEventJson, ProcessedEventJson, Row } from "./answers.ts";
import { orderColumns, type OrderRow } from "../sql/orders.ts";

/** Orders that one search looks at. */
const MAX_SEARCHED = 10_000;

/**
 * Up to `limit` orders that match all that is given, newest first, with ids in the range `ids`, both ends included. Looks
 * through the newest 10,000 orders there are behind the id `before`, by the primary key; `nextBefore` goes on, even where
 * there are fewer than the limit, and is null where nothing is left to look at. There is no index on the status, on
 * purpose: each change of it would have to write that as well, and could no longer stay in its page. Nor one on the
 * correlation id, which every insert would pay for.
 */
export async function searchOrders(sql: Queryable, { limit, before, status, ids, correlationId }: {
  readonly limit: number;
  readonly before?: string | undefined;
  readonly status?: OrderStatus | undefined;
  readonly ids?: readonly [from: string, to: string] | undefined;
  readonly correlationId?: string | undefined;
}): Promise<{ readonly orders: readonly OrderRow[]; readonly nextBefore: string | null }> {
  const older = before ? sql`and id < ${before}` : sql``;
  const range = sql`true ${older} ${ids ? sql`and id between ${ids[0]} and ${ids[1]}` : sql``}`;
  const searched = sql`select * from orders where ${range} order by id desc limit ${MAX_SEARCHED}`;
  const orders = await sql<OrderRow[]>`
    select ${orderColumns(sql)} from (${searched}) as searched where true
    ${status ? sql`and status = ${status}` : sql``}
    ${correlationId === undefined ? sql`` : sql`and correlation_id = ${correlationId}`}
    order by id desc limit ${limit}`;
  if (orders.length === limit) return { orders, nextBefore: orders.at(-1)?.id ?? null };
  const [last] = await sql<{ id: string }[]>`
    select id from orders where ${range} order by id desc offset ${MAX_SEARCHED - 1} limit 1`;
  return { orders, nextBefore: last?.id ?? null };
}

/**
 * How many of the newest `among` orders have each status, in the order of the lifecycle. Read by the primary key, so it
 * costs the same however large the table is. Counting all of them would read the whole table.
 */
export async function countRecentOrders(sql: Queryable, among: number): Promise<Map<OrderStatus, number>> {
  const rows = await sql<{ status: OrderStatus; count: number }[]>`
    select status, count(*)::int as count
    from (select status from orders order by id desc limit ${among}) as newest group by status`;
  const counts = new Map(rows.map(({ status, count }) => [status, count]));
  return new Map(ORDER_STATUSES.map((status) => [status, counts.get(status) ?? 0]));
}

/** How long those of the newest `among` orders took that have ended, from creation to final status, in milliseconds. */
export async function readLatencies(sql: Queryable, among: number): Promise<number[]> {
  const rows = await sql<{ ms: number }[]>`
    select (extract(epoch from updated_at - created_at) * 1000)::float8 as ms
    from (select status, created_at, updated_at from orders order by id desc limit ${among}) as newest
    where status in ${sql(ORDER_STATUSES.filter(isFinal))}`;
  return rows.map(({ ms }) => ms);
}

/** An event as ops shows it. `lastError` stays when the event is published in the end. */
export type OutboxEventRow = Row<OutboxEventJson>;

/** Up to `limit` events that match all that is given, newest first; `before` goes on behind the event with this id. */
export async function listEvents(sql: Queryable, { limit, before, type, orderId, published }: {
  readonly limit: number;
  readonly before?: string | undefined;
  readonly type?: string | undefined;
  readonly orderId?: string | undefined;
  readonly published?: boolean | undefined;
}): Promise<OutboxEventRow[]> {
  const state = published ? sql`and published_at is not null` : sql`and published_at is null`;
  return await sql<OutboxEventRow[]>`
    select ${eventColumns(sql)} from outbox_events where true
    ${before ? sql`and id < ${before}` : sql``}
    ${type ? sql`and type = ${type}` : sql``}
    ${orderId ? sql`and order_id = ${orderId}` : sql``}
    ${published === undefined ? sql`` : state}
    order by id desc limit ${limit}`;
}

/** The event `id`, or undefined. */
export async function findEvent(sql: Queryable, id: string): Promise<OutboxEventRow | undefined> {
  const [row] = await sql<OutboxEventRow[]>`select ${eventColumns(sql)} from outbox_events where id = ${id}`;
  return row;
}

/** Makes an event due that waits for its next attempt; changes nothing where it was published. */
export async function hurryEvent(sql: Queryable, id: string): Promise<void> {
  await sql`
    update outbox_events set next_attempt_at = '-infinity' where id = ${id} and published_at is null`;
}

function eventColumns(sql: Queryable) {
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

/** One row of the inbox; `processedAt` is when the batch began, by the consumer's clock. */
export type ProcessedEventRow = Row<ProcessedEventJson>;

/**
 * Up to `limit` rows, those of the newest events first; `before` goes on behind a row. Ordered by the event's id, which
 * is a time and has an index, not by the time of processing, which would need one more on the hottest table.
 */
export async function listProcessed(
  sql: Queryable,
  { limit, before, eventId, consumer }: {
    readonly limit: number;
    readonly before?: Pick<ProcessedEventRow, "eventId" | "consumer"> | undefined;
    readonly eventId?: string | undefined;
    readonly consumer?: string | undefined;
  },
): Promise<ProcessedEventRow[]> {
  return await sql<ProcessedEventRow[]>`
    select event_id as "eventId", consumer, processed_at as "processedAt", duplicates,
           last_duplicate_at as "lastDuplicateAt"
    from processed_events where true
    ${eventId ? sql`and event_id = ${eventId}` : sql``}
    ${consumer ? sql`and consumer = ${consumer}` : sql``}
    ${before ? sql`and (event_id, consumer) < (${before.eventId}, ${before.consumer})` : sql``}
    order by event_id desc, consumer desc limit ${limit}`;
}

/** Only messages that match all that is given; both ends of the range `ids` are in it. */
export interface MessageFilter {
  /** Who is to get which types of event: those that are asked about. */
  readonly bindings: readonly Binding[];
  readonly consumer?: string | undefined;
  readonly type?: string | undefined;
  /** Of events, their orders, or dead letters. */
  readonly ids?: readonly [from: string, to: string] | undefined;
  readonly correlationId?: string | undefined;
}

/** A message; `key` tells it and its consumer from all others, and the newest have the highest. */
export type MessageRow = Row<MessageJson> & { readonly key: string };

/**
 * Events that one look goes through, and what waits, retries or is dead at most: what one answer costs is bounded. With
 * 1,000,000 events a page takes 1 to 130 ms, and the counts 110.
 */
const MAX_LOOKED_AT = 10_000;

/**
 * Up to `limit` messages, the newest first, from behind `before`: an event of the outbox and a consumer each, or an open dead
 * letter where `state` is `dead`, as many of those are of no event. `nextBefore` goes on, even from a page that is not full;
 * it is null where nothing is left to look at.
 */
export async function listMessages(sql: Queryable, filter: MessageFilter, { limit, state, before }: {
  readonly limit: number;
  readonly state?: MessageState | undefined;
  readonly before?: Pick<MessageRow, "key" | "consumer"> | undefined;
}): Promise<{ messages: MessageRow[]; nextBefore: Pick<MessageRow, "key" | "consumer"> | null }> {
  const older = before ? sql`and id <= ${before.key}` : sql``;
  const found = state === "dead"
    ? deadMessages(sql, filter, older)
    : messagesOf(sql, filter, eventsIn(sql, state, filter, older));
  const messages = await sql<MessageRow[]>`
    select * from (${found}) as found where true
    ${state ? sql`and state = ${state}` : sql``}
    ${before ? sql`and (key, consumer) < (${before.key}, ${before.consumer})` : sql``}
    order by key desc, consumer desc limit ${limit}`;
  const last = messages.length === limit ? messages.at(-1) : await lastLookedAt(sql, state, filter, older);
  return { messages, nextBefore: last ? { key: last.key, consumer: last.consumer } : null };
}

/** The last event, or letter, of a look at the newest that did not get to the end. Of all else it saw what there is. */
async function lastLookedAt(
  sql: Queryable,
  state: MessageState | undefined,
  { ids }: MessageFilter,
  older: Statement,
) {
  if (ids || state === "waiting" || state === "retrying") return undefined;
  const all = state === "dead" ? sql`dead_letters where state = 'OPEN'` : sql`outbox_events where true`;
  const [last] = await sql<{ key: string; consumer: string }[]>`
    select id as key, '' as consumer from ${all} ${older}
    order by id desc offset ${MAX_LOOKED_AT - 1} limit 1`;
  return last;
}

/** How many messages match in each state: among the newest events, and of all that waits, retries or is dead. */
export async function countMessages(
  sql: Queryable,
  filter: MessageFilter,
): Promise<Record<MessageState, number>> {
  const all = sql``;
  const events = sql`
    select * from (${eventsIn(sql, undefined, filter, all)}) as newest
    union select * from (${eventsIn(sql, "waiting", filter, all)}) as waiting
    union select * from (${eventsIn(sql, "retrying", filter, all)}) as retrying`;
  const rows = await sql<{ state: MessageState; count: number }[]>`
    select state, count(*)::int as count from (
      select state from (${messagesOf(sql, filter, events)}) as found where state <> 'dead'
      union all select state from (${deadMessages(sql, filter, all)}) as dead
    ) as counted group by state`;
  const none = { waiting: 0, queued: 0, retrying: 0, dead: 0, absorbed: 0, done: 0 };
  return { ...none, ...Object.fromEntries(rows.map(({ state, count }) => [state, count])) };
}

/** Events to look at for messages in `state`. */
function eventsIn(
  sql: Queryable,
  state: MessageState | undefined,
  { ids, correlationId }: MessageFilter,
  older: Statement,
): Statement {
  const columns =
    sql`id, type, order_id, correlation_id, occurred_at, published_at, next_attempt_at, last_error`;
  const look = (where: Statement, order: Statement) =>
    sql`(select ${columns} from outbox_events where ${where} ${older} order by ${order} limit ${MAX_LOOKED_AT})`;
  const isMatch = ids
    ? sql`(id between ${ids[0]} and ${ids[1]} or order_id between ${ids[0]} and ${ids[1]})`
    : correlationId === undefined
    ? sql`true`
    : sql`correlation_id = ${correlationId}`;
  if (state === "waiting") return look(sql`published_at is null and ${isMatch}`, sql`next_attempt_at, id`);
  if (state === "retrying") {
    const retried = sql`select event_id from delayed_retries where due_at is not null limit ${MAX_LOOKED_AT}`;
    return look(sql`id = any(array(${retried})) and ${isMatch}`, sql`id desc`);
  }
  if (!ids) return sql`select * from ${look(sql`true`, sql`id desc`)} as newest where ${isMatch}`;
  return sql`
    ${look(sql`id between ${ids[0]} and ${ids[1]}`, sql`id desc`)}
    union ${look(sql`order_id between ${ids[0]} and ${ids[1]}`, sql`order_id desc`)}`;
}

/** The messages of these events. Each is looked up by keys: a join might read whole tables for it. */
function messagesOf(
  sql: Queryable,
  { bindings, consumer, type }: MessageFilter,
  events: Statement,
): Statement {
  const wanted = bindings.filter((binding) =>
    (consumer ?? binding.consumer) === binding.consumer && (type ?? binding.type) === binding.type
  );
  return sql`
    select e.id as key, e.id as "eventId", b.consumer, e.type, e.order_id as "orderId",
      e.correlation_id as "correlationId", s.state,
      case s.state when 'dead' then d.last_failed_at when 'waiting' then e.occurred_at when 'queued' then e.published_at
        when 'retrying' then r.last_failed_at when 'absorbed' then p.last_duplicate_at
        else coalesce(p.processed_at, d.resolved_at) end as "sinceAt",
      case s.state when 'dead' then d.reason || ': ' || d.detail when 'waiting' then e.last_error
        when 'retrying' then r.error else 'discarded: ' || d.resolution end as detail,
      coalesce(r.due_at, case when s.state = 'waiting' then nullif(e.next_attempt_at, '-infinity') end) as "dueAt",
      case when s.state = 'dead' then d.id end as "deadLetterId"
    from (${events}) as e
    join jsonb_to_recordset(${rowset(wanted)}::text::jsonb) as b (consumer text, type text) using (type)
    left join lateral (select * from processed_events p where p.event_id = e.id and p.consumer = b.consumer limit 1)
      as p on true
    left join lateral (select * from delayed_retries r
      where r.event_id = e.id and r.consumer = b.consumer and r.due_at is not null limit 1) as r on true
    left join lateral (select * from dead_letters d
      where d.event_id = e.id and d.consumer = b.consumer and d.state <> 'REDRIVEN' order by d.state desc limit 1)
      as d on true
    cross join lateral (select case when d.state = 'OPEN' then 'dead' when e.published_at is null then 'waiting'
      when r.due_at is not null then 'retrying' when p.duplicates > 0 then 'absorbed'
      when p.event_id is not null or d.id is not null then 'done' else 'queued' end as state) as s`;
}

/** Open dead letters as messages. */
function deadMessages(
  sql: Queryable,
  { consumer, type, ids, correlationId }: MessageFilter,
  older: Statement,
): Statement {
  const isIn = (column: Statement) => ids ? sql`${column} between ${ids[0]} and ${ids[1]}` : sql`true`;
  const isMatch = sql`(${isIn(sql`id`)} or ${isIn(sql`event_id`)} or ${isIn(sql`order_id`)})`;
  return sql`
    select id as key, event_id as "eventId", consumer, event_type as type, order_id as "orderId",
      correlation_id as "correlationId", 'dead' as state, last_failed_at as "sinceAt", reason || ': ' || detail as detail,
      null::timestamptz as "dueAt", id as "deadLetterId"
    from (
      select * from dead_letters where state = 'OPEN' and ${isMatch} ${older} order by id desc limit ${MAX_LOOKED_AT}
    ) as open
    where true ${consumer ? sql`and consumer = ${consumer}` : sql``}
    ${type ? sql`and event_type = ${type}` : sql``}
    ${correlationId === undefined ? sql`` : sql`and correlation_id = ${correlationId}`}`;
}

const ID_SHAPE = "00000000-0000-0000-0000-000000000000";

/** The first and the last id that begin with `text`; null where no id does. */
export function idRange(text: string): [from: string, to: string] | null {
  const prefix = text.toLowerCase();
  const fits = prefix.length <= ID_SHAPE.length &&
    [...prefix].every((char, i) => ID_SHAPE[i] === "-" ? char === "-" : /[0-9a-f]/.test(char));
  if (!fits) return null;
  const rest = ID_SHAPE.slice(prefix.length);
  return [prefix + rest, prefix + rest.replaceAll("0", "f")];
}
