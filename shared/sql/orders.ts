/**
 * The table `orders`, written by the orders module alone.
 *
 * @module
 */
import { isFinal, ORDER_STATUSES, type OrderStatus } from "../order_status.ts";
import { type Queryable, rowset, type Statement, uuids } from "./connect.ts";

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

/** How long those of the newest `among` orders took that have ended, from creation to final status, in milliseconds. */
export async function readLatencies(sql: Queryable, among: number): Promise<number[]> {
  const rows = await sql<{ ms: number }[]>`
    select (extract(epoch from updated_at - created_at) * 1000)::float8 as ms
    from (select status, created_at, updated_at from orders order by id desc limit ${among}) as newest
    where status in ${sql(ORDER_STATUSES.filter(isFinal))}`;
  return rows.map(({ ms }) => ms);
}

function columns(sql: Queryable) {
  return sql`
    id, user_id as "userId", course_id as "courseId", amount, status, correlation_id as "correlationId",
    created_at as "createdAt", updated_at as "updatedAt"`;
}

/** What a lifecycle decision needs to know of an order. */
export type LockedOrder = Pick<OrderRow, "id" | "status">;

/**
 * Locks the orders `ids` until the transaction ends, and reads their statuses. Read without a lock, a status may be
 * out of date by the time it is written: the other queue's worker commits in between and the order is stranded. In the
 * order of their ids, so that two workers cannot lock each other out.
 */
export async function lockOrders(sql: Queryable, ids: readonly string[]): Promise<LockedOrder[]> {
  return await sql<LockedOrder[]>`
    select id, status from orders where id = any(${uuids(ids)}::text::uuid[]) order by id for no key update`;
}

/** A decided change of status. */
export interface StatusChange {
  /** The id of the order that moves. */
  readonly id: string;
  /** The status that it moves to. */
  readonly status: OrderStatus;
}

/**
 * Writes decided statuses of locked orders, in one statement. Each order is looked up by its id: a join with the changes
 * may be planned the other way round while the table is small, and then reads all of it for good.
 */
export async function updateStatuses(
  sql: Queryable,
  changes: readonly StatusChange[],
  now: Date,
): Promise<void> {
  if (changes.length === 0) return;
  const statuses = JSON.stringify(Object.fromEntries(changes.map(({ id, status }) => [id, status])));
  await sql`
    update orders
    set status = (select ${statuses}::text::jsonb) ->> id::text, updated_at = greatest(created_at, ${now})
    where id = any(${uuids(changes.map(({ id }) => id))}::text::uuid[])`;
}
