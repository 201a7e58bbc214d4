/**
 * The table `orders`, written by the orders module alone.
 *
 * @module
 */
import { isFinal, ORDER_STATUSES, type OrderStatus } from "../order_status.ts";
import { type Atomically, type Queryable, rowset, type Statement, uuids } from "./connect.ts";
import { type EventOfRow, insertEvents } from "./outbox_events.ts";
import { markingProcessed } from "./processed_events.ts";

/** An order as the table has it. */
export interface OrderRow {
  /** The order's id, a version 7 uuid: the newest order has the highest. */
  readonly id: string;
  /** Who buys: any uuid. */
  readonly userId: string;
  /** What is bought: any uuid. */
  readonly courseId: string;
  /** A decimal string of two places. */
  readonly amount: string;
  /** Where the order stands in the state machine. */
  readonly status: OrderStatus;
  /** The correlation id of all the order's events: 1 to 128 visible ASCII characters. */
  readonly correlationId: string;
  /** When the order was asked for, by the clock of the API's process. */
  readonly createdAt: Date;
  /** When the status last changed; until then, `createdAt`. */
  readonly updatedAt: Date;
}

/** What a new order is made of; its status is `PENDING`. */
export type NewOrder = Omit<OrderRow, "status" | "updatedAt">;

/**
 * Inserts new orders in one statement: all of them, or on any error none. It runs when it is awaited; until then it can
 * be made a part of another statement.
 */
export function insertOrders(sql: Queryable, orders: readonly NewOrder[]): Statement {
  return sql`
    insert into orders (id, user_id, course_id, amount, correlation_id, created_at, updated_at)
    select "id", "userId", "courseId", "amount", "correlationId", "createdAt", "createdAt"
    from jsonb_to_recordset(${rowset(orders)}::text::jsonb) as new (
      "id" uuid, "userId" uuid, "courseId" uuid, "amount" numeric, "correlationId" text, "createdAt" timestamptz
    )`;
}

/** The order `id`, or undefined. */
export async function findOrder(sql: Queryable, id: string): Promise<OrderRow | undefined> {
  const [row] = await sql<OrderRow[]>`select ${columns(sql)} from orders where id = ${id}`;
  return row;
}

/** Up to `limit` orders, newest first, older than the order `before` where that is given. */
export async function listOrders(
  sql: Queryable,
  { limit, before }: { readonly limit: number; readonly before?: string | undefined },
): Promise<OrderRow[]> {
  return await sql<OrderRow[]>`
    select ${columns(sql)} from orders
    ${before ? sql`where id < ${before}` : sql``}
    order by id desc limit ${limit}`;
}

/** What `searchOrders` looks for, among orders from newest to oldest. */
export interface OrderSearch {
  /** The most orders to answer with. */
  readonly limit: number;
  /** Only orders older than the one with this id. */
  readonly before?: string | undefined;
  /** Only orders of this status. */
  readonly status?: OrderStatus | undefined;
  /** Only ids from the first of these to the second, both included. */
  readonly ids?: readonly [from: string, to: string] | undefined;
  /** Only orders of this correlation id. */
  readonly correlationId?: string | undefined;
}

/** What was found, and where to go on. */
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
  const range = sql`
    true ${before ? sql`and id < ${before}` : sql``} ${
    ids ? sql`and id between ${ids[0]} and ${ids[1]}` : sql``
  }`;
  const orders = await sql<OrderRow[]>`
    select ${
    columns(sql)
  } from (select * from orders where ${range} order by id desc limit ${MAX_SEARCHED}) as searched
    where true
    ${status ? sql`and status = ${status}` : sql``}
    ${correlationId === undefined ? sql`` : sql`and correlation_id = ${correlationId}`}
    order by id desc limit ${limit}`;
  if (orders.length === limit) return { orders, nextBefore: orders.at(-1)?.id ?? null };
  const [last] = await sql<{ id: string }[]>`
    select id from orders where ${range} order by id desc offset ${MAX_SEARCHED - 1} limit 1`;
  return { orders, nextBefore: last?.id ?? null };
}

/**
 * How many of the newest `among` orders have each status; 0 for one that none of them has. Read by the primary key, so it
 * costs the same however large the table is. Counting all of them would read the whole table.
 */
export async function countRecentOrders(sql: Queryable, among: number): Promise<Map<OrderStatus, number>> {
  const rows = await sql<{ status: OrderStatus; count: number }[]>`
    select status, count(*)::int as count
    from (select status from orders order by id desc limit ${among}) as newest
    group by status`;
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

/** How many of the newest `among` orders have each status; a status that none has is not named. */
export async function countStatuses(
  sql: Queryable,
  among: number,
): Promise<{ status: OrderStatus; count: number }[]> {
  return await sql<{ status: OrderStatus; count: number }[]>`
    select status, count(*)::int as count
    from (select status from orders order by id desc limit ${among}) as newest group by status`;
}

function columns(sql: Queryable) {
  return sql`
    id, user_id as "userId", course_id as "courseId", amount, status, correlation_id as "correlationId",
    created_at as "createdAt", updated_at as "updatedAt"`;
}

/**
 * The status of each of the orders `ids` that there is. Not locked: whoever decides by it has {@linkcode moveOrders}
 * see to it that it still holds.
 */
export async function readStatuses(
  sql: Queryable,
  ids: readonly string[],
): Promise<Map<string, OrderStatus>> {
  const rows = await sql<{ id: string; status: OrderStatus }[]>`
    select id, status from orders where id = any(${uuids(ids)}::text::uuid[])`;
  return new Map(rows.map(({ id, status }) => [id, status]));
}

/** A decided change of status. */
export interface StatusChange {
  /** The id of the order that moves. */
  readonly id: string;
  /** The status that the decision was made on. */
  readonly from: OrderStatus;
  /** The status that it moves to. */
  readonly to: OrderStatus;
}

/**
 * Makes the statement that moves each order that still is where its decision found it, and answers with the ids of those
 * (compare and set, https://martinfowler.com/eaaCatalog/optimisticOfflineLock.html). Meant to be a part of a larger one.
 * The rows are locked in the order of their ids, so that two workers cannot lock each other out; one that another worker
 * has just moved is looked at again when that has committed, and left alone. Each order is looked up by its id: a join
 * with the changes may be planned the other way round while the table is small, and then reads all of it for good.
 */
export function movingOrders(
  sql: Queryable,
  changes: readonly StatusChange[],
  now: Date,
): Statement<{ id: string }> {
  const byId = (key: "from" | "to") =>
    JSON.stringify(Object.fromEntries(changes.map((change) => [change.id, change[key]])));
  return sql`
    with unmoved as materialized (
      select id from orders
      where id = any(${uuids(changes.map(({ id }) => id))}::text::uuid[])
        and status = (select ${byId("from")}::text::jsonb) ->> id::text
      order by id for no key update
    )
    update orders
    set status = (select ${byId("to")}::text::jsonb) ->> id::text, updated_at = greatest(created_at, ${now})
    where id = any(array(select id from unmoved))
    returning id`;
}

/** An event that is through with. */
export interface SettledEvent {
  /** The event's id. */
  readonly eventId: string;
  /** The id of the order that it is about. */
  readonly orderId: string;
}

/** What was decided on the statuses that the orders had; it holds for each order that still has its status. */
export interface OrderMoves {
  /** What becomes of every order that moves. */
  readonly changes: readonly StatusChange[];
  /** The events that the inbox is to remember: those that moved an order, and repeats. */
  readonly settled: readonly SettledEvent[];
  /** The events to append in the same transaction, each with its order's id as `rowId`. */
  readonly outgoing: readonly EventOfRow[];
}

/**
 * Moves each order that still has the status its decision was made on, and with it marks its events as processed by
 * `consumer` and appends what is to be told of it; marks as processed the events of orders that were not to move. No event
 * may stand twice in `settled`. All in one statement. Answers with the ids of the orders that moved: nothing has happened
 * for the others, which somebody else has moved meanwhile.
 *
 * Errors: whatever the statement meets with; nothing is committed then.
 */
export async function moveOrders(
  atomically: Atomically,
  consumer: string,
  { changes, settled, outgoing }: OrderMoves,
  now: Date,
): Promise<Set<string>> {
  if (settled.length === 0) return new Set(); // whatever moves an order is settled
  const ids = settled.map(({ eventId }) => eventId);
  const moving = new Set(changes.map(({ id }) => id));
  const movers = JSON.stringify(
    Object.fromEntries(
      settled.flatMap(({ eventId, orderId }) => moving.has(orderId) ? [[eventId, orderId]] : []),
    ),
  );
  const rows = await atomically(async (sql) => {
    const mover = sql`((select ${movers}::text::jsonb) ->> id::text)::uuid`;
    const isSettled = sql`(${mover} is null or ${mover} = any(array(select id from moved)))`;
    return await sql<{ id: string }[]>`
      with moved as (${movingOrders(sql, changes, now)}),
      inbox as (${markingProcessed(sql, consumer, ids, now, isSettled)}),
      told as (${insertEvents(sql, outgoing, sql`row_id = any(array(select id from moved))`)})
      select id from moved`;
  });
  return new Set(rows.map(({ id }) => id));
}
