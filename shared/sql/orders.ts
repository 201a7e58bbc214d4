/**
 * The table `orders`, written by the orders module alone.
 *
 * @module
 */
import type { OrderStatus } from "../order_status.ts";
import { type Queryable, rowset, uuids } from "./connect.ts";

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

/** Inserts new orders in one statement: all of them, or on any error none. */
export async function insertOrders(sql: Queryable, orders: readonly NewOrder[]): Promise<void> {
  await sql`
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

/** Writes decided statuses of locked orders, in one statement. */
export async function updateStatuses(
  sql: Queryable,
  changes: readonly StatusChange[],
  now: Date,
): Promise<void> {
  if (changes.length === 0) return;
  await sql`
    update orders set status = changed.status, updated_at = greatest(orders.created_at, ${now})
    from jsonb_to_recordset(${rowset(changes)}::text::jsonb) as changed (id uuid, status text)
    where orders.id = changed.id`;
}
