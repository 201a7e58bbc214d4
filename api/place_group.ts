/**
 * Creates a group of orders in one transaction, each idempotency key's order once.
 *
 * @module
 */
import type { OutgoingEvent } from "../shared/events/catalog.ts";
import { type Queryable, type Sql, type Transaction, transaction } from "../shared/sql/connect.ts";
import {
  findUsedKeys,
  type IdempotencyKey,
  insertKeys,
  tryLockKeys,
  type UsedKey,
} from "../shared/sql/idempotency_keys.ts";
import { insertOrders, type NewOrder, type OrderRow } from "../shared/sql/orders.ts";
import { insertEvents } from "../shared/sql/outbox_events.ts";
import { HttpProblem } from "./http_errors.ts";

/** One order that is asked for. */
export interface Placement {
  /** The order to create. */
  readonly order: NewOrder;
  /** Its `order.created`. */
  readonly created: OutgoingEvent;
  /** The key that the client sent; null where it sent none. */
  readonly key: IdempotencyKey | null;
}

/**
 * What becomes of a placement.
 *
 * - `created`: the order is stored, with its event and its key.
 * - `replayed`: nothing is stored; `order` is the one that the key has made before, from the same request.
 * - `running`: nothing is stored; another request with this key is under way.
 * - `mismatch`: nothing is stored; the key has made an order from another request.
 */
export type Outcome =
  | { readonly kind: "created" | "replayed"; readonly order: NewOrder }
  | { readonly kind: "running" | "mismatch" };

/** What the database says of the keys in a group. */
export interface KeyState {
  /** The keys that this transaction holds the lock of. */
  readonly locked: ReadonlySet<string>;
  /** The keys that have made an order. */
  readonly used: ReadonlyMap<string, UsedKey>;
}

const NO_KEYS: KeyState = { locked: new Set(), used: new Map() };

/** Decides what becomes of each placement, in their order. */
export function decideOutcomes(group: readonly Placement[], { locked, used }: KeyState): Outcome[] {
  const taken = new Set<string>();
  return group.map(({ order, key }) => {
    if (!key) return { kind: "created", order };
    const before = used.get(key.key);
    if (before) {
      return before.fingerprint === key.fingerprint
        ? { kind: "replayed", order: before.order }
        : { kind: "mismatch" };
    }
    if (!locked.has(key.key) || taken.has(key.key)) return { kind: "running" };
    taken.add(key.key);
    return { kind: "created", order };
  });
}

/**
 * Creates the orders of `group` that are to be created, with their events and keys, in one transaction. Answers when it
 * is committed, in the order of `group`. A group without keys costs no statement for them.
 *
 * Errors: what the database says; nothing is committed then.
 */
export async function placeGroup(sql: Sql, group: readonly Placement[]): Promise<Outcome[]> {
  const keys = new Set(group.flatMap(({ key }) => key ? [key.key] : []));
  if (keys.size === 0) {
    await insertBoth(sql, group);
    return decideOutcomes(group, NO_KEYS);
  }
  return await transaction(sql, async (tx) => {
    const outcomes = decideOutcomes(group, await lockAndRead(tx, [...keys]));
    const created = group.filter((_, i) => outcomes[i]?.kind === "created");
    if (created.length > 0) {
      await Promise.all([
        insertBoth(tx, created),
        insertKeys(tx, created.flatMap(({ key, order }) => key ? [{ ...key, order }] : [])),
      ]);
    }
    return outcomes;
  });
}

/** Orders and events in one statement, which is a transaction: one round trip to the database instead of three. */
async function insertBoth(sql: Queryable, created: readonly Placement[]): Promise<void> {
  await sql`
    with placed as (${insertOrders(sql, created.map(({ order }) => order))})
    ${insertEvents(sql, created.map((placement) => placement.created))}`;
}

/**
 * First the locks, then, in a statement and so with a snapshot of its own, the rows. In one statement the rows could be
 * read before the transaction that holds a lock commits, and the lock be taken after it: the key would seem unused.
 */
async function lockAndRead(tx: Transaction, keys: readonly string[]): Promise<KeyState> {
  const locked = await tryLockKeys(tx, keys);
  const used = await findUsedKeys(tx, keys);
  return { locked, used: new Map(used.map((row) => [row.key, row])) };
}

/** An order as it was when it was created, whatever has become of it since. */
export interface PlacedOrder extends OrderRow {
  /** Whether an earlier request with the same idempotency key has created it. */
  readonly isReplay: boolean;
}

/** The order that `outcome` answers with; throws a 409 for `running` and a 422 for `mismatch`. */
export function placedOrder(outcome: Outcome): PlacedOrder {
  switch (outcome.kind) {
    case "created":
    case "replayed": {
      const { kind, order } = outcome;
      return { ...order, status: "PENDING", updatedAt: order.createdAt, isReplay: kind === "replayed" };
    }
    case "running":
      throw new HttpProblem(
        409,
        "A request with this Idempotency-Key is under way. Send it again in a moment to get its answer.",
        { headers: { "retry-after": "1" } },
      );
    case "mismatch":
      throw new HttpProblem(
        422,
        "This Idempotency-Key came before with another body. Send that body again, or this one with a new key.",
      );
  }
}
