// The table `orders`, written by the orders module alone.

import type { OutgoingEvent } from "../broker/message.ts";
import type { OrderStatus } from "../order_status.ts";
import { type Queryable, rowset, type Statement, uuids } from "./connect.ts";
import { type EventOfRow, insertingEvents, type WakeUps, wakingRelay } from "./outbox.ts";
import { type Inbox, markingProcessed } from "./inbox.ts";

export interface OrderRow {
  /** A version 7 uuid: the newest order has the highest. */
  readonly id: string;
  readonly userId: string;
  readonly courseId: string;
  readonly amount: string;
  readonly status: OrderStatus;
  /** On all the order's events: 1 to 128 visible ASCII characters. */
  readonly correlationId: string;
  /** By the clock of the API's process. */
  readonly createdAt: Date;
  /** When the status last changed; until then, `createdAt`. */
  readonly updatedAt: Date;
}

/** A new order; its status is `PENDING`. */
export type NewOrder = Omit<OrderRow, "status" | "updatedAt">;

export interface IdempotencyKey {
  /** 1 to 255 visible ASCII characters. */
  readonly key: string;
  /** Tells this request from others: a SHA-256 in hex. */
  readonly fingerprint: string;
}

/** An order to insert, its `order.created`, and the key that it was asked for with. */
export interface Placement {
  readonly order: NewOrder;
  readonly created: OutgoingEvent;
  readonly key: IdempotencyKey | null;
}

/**
 * Inserts orders with their events and keys, and wakes the relay, in one statement: on any error nothing is stored.
 * Answers, in the order of `placements`, whether each order was inserted. It was not where another one has its key: one
 * of an earlier statement, or one ahead of it in `placements`. The key of a statement that is still under way is waited
 * for: who waits inserts nothing when that commits, and goes on when it rolls back. The keys are inserted in their order,
 * so that two statements cannot wait for one another. Orders without a key do not touch the keys' table.
 *
 * Errors: those of the database, such as the statement's time-out while it waits.
 */
export async function insertOrders(
  sql: Queryable,
  placements: readonly Placement[],
  wakeUps: WakeUps,
): Promise<boolean[]> {
  const hasKeys = placements.some(({ key }) => key !== null);
  const orders = placements.map(({ order, key }) => ({ ...order, hasKey: key !== null }));
  const events = placements.map(({ order, created }) => ({ ...created, rowId: order.id }));
  const isFirst = hasKeys ? sql`not "hasKey" or "id" = any(array(select order_id from keyed))` : undefined;
  const isStored = hasKeys ? sql`row_id = any(array(select id from placed))` : undefined;
  const rows = await wakeUps.carry(async (isDue) =>
    await sql<{ id: string }[]>`
    with ${hasKeys ? sql`keyed as (${insertingKeys(sql, placements)}),` : sql``}
    placed as (${insertingOrders(sql, orders, isFirst)}),
    told as (${insertingEvents(sql, events, isStored)})
    select id, ${wakingRelay(sql, isDue)} as woken from placed`
  );
  const placed = new Set(rows.map(({ id }) => id));
  return orders.map(({ id }) => placed.has(id));
}

/** The statement that inserts orders, and answers with their ids. `where` is a condition on `"id"` and `"hasKey"`. */
export function insertingOrders(
  sql: Queryable,
  orders: readonly (NewOrder & { readonly hasKey?: boolean })[],
  where: Statement = sql`true`,
): Statement<{ id: string }> {
  return sql`
    insert into orders (id, user_id, course_id, amount, correlation_id, created_at, updated_at)
    select "id", "userId", "courseId", "amount", "correlationId", "createdAt", "createdAt"
    from jsonb_to_recordset(${rowset(orders)}::text::jsonb) as new (
      "id" uuid, "userId" uuid, "courseId" uuid, "amount" numeric, "correlationId" text, "createdAt" timestamptz,
      "hasKey" boolean
    )
    where ${where} returning id`;
}

/** The statement that inserts the keys that nobody has used, and answers with the ids of their orders. */
function insertingKeys(sql: Queryable, placements: readonly Placement[]): Statement {
  const keys = placements.flatMap(({ key, order: { id } }) => key ? [{ ...key, id }] : []);
  return sql`
    insert into idempotency_keys (key, fingerprint, order_id, created_at)
    select "key", decode("fingerprint", 'hex'), "id", now()
    from jsonb_to_recordset(${rowset(keys)}::text::jsonb) as new (
      "key" text, "fingerprint" text, "id" uuid
    )
    order by "key", "id"
    on conflict do nothing returning order_id`;
}

/** A key that has made an order, which is as it was asked for, whatever has become of it since. */
export interface UsedKey extends IdempotencyKey {
  readonly order: NewOrder;
}

/** Those of `keys` that have made an order, each with it. */
export async function findUsedKeys(sql: Queryable, keys: readonly string[]): Promise<Map<string, UsedKey>> {
  if (keys.length === 0) return new Map();
  const rows = await sql<(IdempotencyKey & NewOrder)[]>`
    select k.key, encode(k.fingerprint, 'hex') as fingerprint, o.id, o.user_id as "userId",
           o.course_id as "courseId", o.amount, o.correlation_id as "correlationId", o.created_at as "createdAt"
    from idempotency_keys k join orders o on o.id = k.order_id
    where k.key = any(array(select jsonb_array_elements_text(${JSON.stringify(keys)}::text::jsonb)))`;
  return new Map(rows.map(({ key, fingerprint, ...order }) => [key, { key, fingerprint, order }]));
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

/** The status of each of the orders `ids` that there is. Not locked: {@linkcode moveOrders} checks that it still holds. */
export async function readStatuses(
  sql: Queryable,
  ids: readonly string[],
): Promise<Map<string, OrderStatus>> {
  const rows = await sql<{ id: string; status: OrderStatus }[]>`
    select id, status from orders where id = any(${uuids(ids)}::text::uuid[])`;
  return new Map(rows.map(({ id, status }) => [id, status]));
}

/** A decided change of the status of the order `id`. */
export interface StatusChange {
  readonly id: string;
  readonly from: OrderStatus;
  readonly to: OrderStatus;
}

/**
 * The statement that moves each order that is where its decision wants it, and returns the ids of those
 * (compare and set, https://martinfowler.com/eaaCatalog/optimisticOfflineLock.html). Meant to be a part of a larger one.
 * The rows are locked in the order of their ids, so that two workers cannot lock each other out; one that another worker
 * has just moved is looked at again when that has committed, and left alone. Each order is looked up by its id: a join
 * with the changes may be planned the other way round while the table is small, and then always reads all of it.
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

/** What was decided on the statuses of orders; it holds for each order that has that status. */
export interface OrderMoves {
  readonly changes: readonly StatusChange[];
  /** The events that the inbox is to remember: those that moved an order, and repeats. */
  readonly settled: readonly { readonly eventId: string; readonly orderId: string }[];
  /** Each with its order's id as `rowId`. */
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
  const orderOf = settled.flatMap(({ eventId, orderId }) => moving.has(orderId) ? [[eventId, orderId]] : []);
  const movers = JSON.stringify(Object.fromEntries(orderOf));
  const write = (isDue: boolean) =>
    atomically(async (sql) => {
      const mover = sql`((select ${movers}::text::jsonb) ->> id::text)::uuid`;
      const isSettled = sql`(${mover} is null or ${mover} = any(array(select id from moved)))`;
      return await sql<{ id: string }[]>`
      with moved as (${movingOrders(sql, changes, now)}),
      inbox as (${markingProcessed(sql, consumer, ids, now, isSettled)}),
      told as (${insertingEvents(sql, outgoing, sql`row_id = any(array(select id from moved))`)})
      select id, ${wakingRelay(sql, isDue)} as woken from moved`;
    });
  const rows = await (outgoing.length > 0 ? wakeUps.carry(write) : write(false)); // only what is told wakes the relay
  return new Set(rows.map(({ id }) => id));
}
