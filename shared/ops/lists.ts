/**
 * What operators list, search and count: orders, the outbox, the inbox. It reads, and makes one event due.
 *
 * @module
 */
import { isFinal, ORDER_STATUSES, type OrderStatus } from "../order_status.ts";
import type { Queryable } from "../sql/connect.ts";
import type { OutboxEventJson, ProcessedEventJson, Row } from "./answers.ts";
import { orderColumns, type OrderRow } from "../sql/orders.ts";

/** Only orders that match all that is given; both ends of the range `ids` are in it. */
export interface OrderSearch {
  readonly limit: number;
  /** Only orders older than the one with this id. */
  readonly before?: string | undefined;
  readonly status?: OrderStatus | undefined;
  readonly ids?: readonly [from: string, to: string] | undefined;
  readonly correlationId?: string | undefined;
}

export interface FoundOrders {
  /** The orders, newest first: fewer than the limit where the search gave up. */
  readonly orders: readonly OrderRow[];
  /** As `before`, goes on with the search; null where there is nothing left to look at. */
  readonly nextBefore: string | null;
}

/** Orders that one search looks at. */
const MAX_SEARCHED = 10_000;

/**
 * Looks through the newest 10,000 orders there are behind `before`, by the primary key, and says where to go on. There is
 * no index on the status, on purpose: each change of it would have to write that as well, and could no longer stay in
 * its page. Nor one on the correlation id, which every insert would pay for.
 */
export async function searchOrders(sql: Queryable, search: OrderSearch): Promise<FoundOrders> {
  const { limit, before, status, ids, correlationId } = search;
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
 * How many of the newest `among` orders have each status; a status that none has is not named. Read by the primary key,
 * so it costs the same however large the table is. Counting all of them would read the whole table.
 */
export async function countStatuses(
  sql: Queryable,
  among: number,
): Promise<{ status: OrderStatus; count: number }[]> {
  return await sql<{ status: OrderStatus; count: number }[]>`
    select status, count(*)::int as count
    from (select status from orders order by id desc limit ${among}) as newest group by status`;
}

/** As `countStatuses`, with 0 for a status that none of them has. */
export async function countRecentOrders(sql: Queryable, among: number): Promise<Map<OrderStatus, number>> {
  const counts = new Map((await countStatuses(sql, among)).map(({ status, count }) => [status, count]));
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
