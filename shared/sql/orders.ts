/**
 * The table `orders`, written by the orders module alone.
 *
 * @module
 */
import type { OrderStatus } from "../order_status.ts";
import { type Queryable, rowset, type Statement, type Transaction, uuids } from "./connect.ts";
import { type EventOfRow, insertingEvents, wakingRelay } from "./outbox.ts";
import { type Inbox, markingProcessed } from "./inbox.ts";

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
export function insertingOrders(sql: Queryable, orders: readonly NewOrder[]): Statement {
  return sql`
    insert into orders (id, user_id, course_id, amount, correlation_id, created_at, updated_at)
    select "id", "userId", "courseId", "amount", "correlationId", "createdAt", "createdAt"
    from jsonb_to_recordset(${rowset(orders)}::text::jsonb) as new (
      "id" uuid, "userId" uuid, "courseId" uuid, "amount" numeric, "correlationId" text, "createdAt" timestamptz
    )`;
}

/** The order `id`, or undefined. */
export async function findOrder(sql: Queryable, id: string): Promise<OrderRow | undefined> {
  const [row] = await sql<OrderRow[]>`select ${orderColumns(sql)} from orders where id = ${id}`;
  return row;
}

/** Up to `limit` orders, newest first, older than the order `before` where that is given. */
export async function listOrders(
  sql: Queryable,
  { limit, before }: { readonly limit: number; readonly before?: string | undefined },
): Promise<OrderRow[]> {
  return await sql<OrderRow[]>`
    select ${orderColumns(sql)} from orders
    ${before ? sql`where id < ${before}` : sql``}
    order by id desc limit ${limit}`;
}

/** The columns of an order as this code names them. */
export function orderColumns(sql: Queryable) {
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
 * The statement that moves each order that is where its decision wants it, and returns the ids of those
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

/** An event that its consumer is done with. */
export interface SettledEvent {
  /** The event's id. */
  readonly eventId: string;
  /** The id of the order that it is about. */
  readonly orderId: string;
}

/** What was decided on the statuses of orders; it holds for each order that has that status. */
export interface OrderMoves {
  /** What becomes of every order that moves. */
  readonly changes: readonly StatusChange[];
  /** The events that the inbox is to remember: those that moved an order, and repeats. */
  readonly settled: readonly SettledEvent[];
  /** The events to append in the same transaction, each with its order's id as `rowId`. */
  readonly outgoing: readonly EventOfRow[];
}

/**
 * Moves each order that has the status its decision was made on, and with it marks its events as processed and appends
 * what is to be told of it; marks as processed the events of orders that were not to move. State first, then inbox, so
 * that an order whose status is another one has neither moved nor used up its events. No event may stand twice in
 * `settled`. All in one statement. Returns the ids of the orders that moved.
 *
 * Errors: whatever the statement meets with; nothing is committed then.
 */
export async function moveOrders(
  { consumer, atomically, wakeUps }: Inbox,
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
      told as (${insertingEvents(sql, outgoing, sql`row_id = any(array(select id from moved))`)})
      select id, ${outgoing.length > 0 ? wakingRelay(sql, wakeUps) : sql`null`} as woken from moved`;
  });
  return new Set(rows.map(({ id }) => id));
}

/** A key as a request carries it. */
export interface IdempotencyKey {
  /** The client's own name for the request: 1 to 255 visible ASCII characters. */
  readonly key: string;
  /** What tells this request from others: a SHA-256 in hex. */
  readonly fingerprint: string;
}

/** A key that has made an order. */
export interface UsedKey extends IdempotencyKey {
  /** The order as it was asked for, whatever has become of it since. */
  readonly order: NewOrder;
}

/**
 * Locks `keys` until the transaction ends, those that no other transaction has locked, and answers with these. It never
 * waits, so groups with overlapping keys cannot lock each other out. The lock is there before any row is, and the
 * server lets go of it when the transaction ends in whatever way.
 */
export async function tryLockKeys(tx: Transaction, keys: readonly string[]): Promise<Set<string>> {
  const rows = await tx<{ key: string; locked: boolean }[]>`
    select key, pg_try_advisory_xact_lock(hashtextextended(key, 0)) as locked
    from jsonb_array_elements_text(${JSON.stringify(keys)}::text::jsonb) as key`;
  return new Set(rows.flatMap(({ key, locked }) => locked ? [key] : []));
}

/** Those of `keys` that have made an order, each with it. */
export async function findUsedKeys(sql: Queryable, keys: readonly string[]): Promise<UsedKey[]> {
  const rows = await sql<(IdempotencyKey & NewOrder)[]>`
    select k.key, encode(k.fingerprint, 'hex') as fingerprint, o.id, o.user_id as "userId",
           o.course_id as "courseId", o.amount, o.correlation_id as "correlationId", o.created_at as "createdAt"
    from idempotency_keys k join orders o on o.id = k.order_id
    where k.key = any(array(select jsonb_array_elements_text(${JSON.stringify(keys)}::text::jsonb)))`;
  return rows.map(({ key, fingerprint, ...order }) => ({ key, fingerprint, order }));
}

/** Inserts keys in one statement, in the transaction of their orders: all of them, or on any error none. */
export async function insertKeys(sql: Queryable, keys: readonly UsedKey[]): Promise<void> {
  if (keys.length === 0) return;
  const rows = keys.map(({ key, fingerprint, order }) => ({
    key,
    fingerprint,
    orderId: order.id,
    createdAt: order.createdAt,
  }));
  await sql`
    insert into idempotency_keys (key, fingerprint, order_id, created_at)
    select "key", decode("fingerprint", 'hex'), "orderId", "createdAt"
    from jsonb_to_recordset(${rowset(rows)}::text::jsonb) as new (
      "key" text, "fingerprint" text, "orderId" uuid, "createdAt" timestamptz
    )`;
}
