/**
 * The table `idempotency_keys`: which order a client's key has made. Written by the orders module alone.
 *
 * @module
 */
import { type Queryable, rowset, type Transaction } from "./connect.ts";
import type { NewOrder } from "./orders.ts";

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
