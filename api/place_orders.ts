/**
 * Creates orders, many in one transaction, each `Idempotency-Key`'s order once
 * (https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/).
 *
 * @module
 */
import { createHash } from "node:crypto";
import { setImmediate } from "node:timers";
import { v7 as uuidv7 } from "uuid";
import { HttpProblem } from "./http_errors.ts";
import { bisect, kindOfError, messageOf } from "../shared/process/errors.ts";
import { failSpan, linksTo, startRootSpan, traceIdOf, type Tracer } from "../shared/process/tracing.ts";
import type { Cause, OutgoingEvent } from "../shared/broker/message.ts";
import { makeEvent } from "../shared/events.ts";
import { type Queryable, type Sql, type Transaction, transaction } from "../shared/sql/connect.ts";
import {
  findUsedKeys,
  type IdempotencyKey,
  insertingOrders,
  insertKeys,
  type NewOrder,
  type OrderRow,
  tryLockKeys,
  type UsedKey,
} from "../shared/sql/orders.ts";
import { insertingEvents, type OutboxWaker } from "../shared/sql/outbox.ts";
import { type Logger, ONE_BY_ONE } from "../shared/process/log.ts";

/** The request header that carries the key. */
export const IDEMPOTENCY_HEADER = "idempotency-key";
/** The response header that says, with `true`, that the answer is an earlier request's. */
export const REPLAYED_HEADER = "idempotency-replayed";

/** A String of structured fields (RFC 9651, section 3.3.3): in quotes, with `\"` and `\\`. */
const QUOTED = /^"((?:[^"\\]|\\["\\])*)"$/;
const KEY = /^[\x21-\x7e]{1,255}$/;

/**
 * The key that the header's value says, or undefined where there is no header. The draft wants a quoted string, many
 * clients send the bare key: both are taken, and mean the same. Throws a 400 for a value that is no key.
 */
export function parseIdempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = header.startsWith('"') ? QUOTED.exec(header)?.[1]?.replaceAll(/\\(["\\])/g, "$1") : header;
  if (key !== undefined && KEY.test(key)) return key;
  throw new HttpProblem(
    400,
    `The header ${IDEMPOTENCY_HEADER} must be 1 to 255 visible ASCII characters, bare or as a quoted string. ` +
      "Send a new uuid for each new request.",
  );
}

/**
 * What tells one request from another, a SHA-256 in hex. `values` are those of the validated request, in a fixed order:
 * how the JSON was written makes no difference.
 */
export function fingerprintOf(values: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(values)).digest("hex");
}

/**
 * Runs `insert` in a span of its own, in a trace of its own: it works for many requests, and belongs to none. Links lead
 * to all of them.
 *
 * Errors: those of `insert`.
 */
export async function inGroupSpan<T>(
  tracer: Tracer,
  group: readonly Placement[],
  insert: () => Promise<T>,
): Promise<T> {
  const span = startRootSpan(tracer, "place orders", {
    attributes: { "orderflow.orders": group.length },
    links: linksTo(group.map(({ created }) => created.traceparent)),
  });
  try {
    return await insert();
  } catch (error) {
    failSpan(span, kindOfError(error), messageOf(error));
    throw error;
  } finally {
    span.end();
  }
}

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
    with placed as (${insertingOrders(sql, created.map(({ order }) => order))})
    ${insertingEvents(sql, created.map((placement) => placement.created))}`;
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

/** What an order is asked for with. */
export interface OrderRequest {
  /** Who buys: any uuid, in lower case. */
  readonly userId: string;
  /** What is bought: any uuid, in lower case. */
  readonly courseId: string;
  /** A decimal string of two places. */
  readonly amount: string;
}

/**
 * Creates one order; resolves when it is committed, together with its `order.created`. With an idempotency key, of 1 to
 * 255 visible ASCII characters, only the first such request does; the others get its order, a 409 while it is under
 * way, or a 422 if it asked for something else.
 */
export type PlaceOrder = (
  request: OrderRequest,
  cause: Cause,
  idempotencyKey?: string,
) => Promise<PlacedOrder>;

/** Orders in one statement at most: enough to amortise a commit, small enough to keep it short. */
const MAX_GROUP = 256;
/** Groups under way at once: one is built while the other commits. */
const MAX_GROUPS = 2;
/** Orders that may wait for a group. More than this cannot be served in time, and is told so. */
const MAX_WAITING = 10_000;

interface Waiting extends Placement {
  readonly done: PromiseWithResolvers<Outcome>;
}

/**
 * Makes a `PlaceOrder` that puts concurrent requests into one multi-row insert: those of one turn of the event loop,
 * and those that arrive while earlier groups commit. No request waits for a timer. One bad row fails alone. The log has
 * what was created, and what was answered once more; `onCreated` is told how many orders each group has created.
 * With a `tracer` each group has a span.
 *
 * Errors of the placed order: a 503 when too many wait, the 409 and the 422 of its key, and whatever the database says
 * of that one order.
 */
export function createOrderPlacer(
  sql: Sql,
  waker: OutboxWaker,
  log: Logger,
  onCreated: (orders: number) => void = () => {},
  tracer: Tracer | null = null,
): PlaceOrder {
  const waiting: Waiting[] = [];
  let groups = 0;
  let scheduled = false;

  function schedule(): void {
    if (scheduled || groups >= MAX_GROUPS || waiting.length === 0) return;
    scheduled = true;
    // After the I/O of this turn: requests that were read together are inserted together. A timer would cost 1 ms more.
    setImmediate(() => {
      scheduled = false;
      groups++;
      insertGroup(waiting.splice(0, MAX_GROUP)).finally(() => {
        groups--;
        schedule();
      });
      schedule();
    });
  }

  async function insertGroup(group: readonly Waiting[]): Promise<void> {
    try {
      const insert = () => bisect(group, (part) => placeGroup(sql, part));
      const results = await (tracer ? inGroupSpan(tracer, group, insert) : insert());
      results.forEach((result, i) => {
        const done = group[i]?.done;
        if (result.status === "fulfilled") done?.resolve(result.value);
        else done?.reject(result.reason);
      });
      const outcomes = results.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
      const created = ordersOf(outcomes, "created");
      if (created.length > 0) {
        waker.wake();
        onCreated(created.length);
      }
      report("Created", created, group);
      report("Replayed", ordersOf(outcomes, "replayed"), group);
    } catch (error) {
      for (const { done } of group) done.reject(error);
    }
  }

  /** Up to a few orders have a line each; more at once mean load, and are summed up. */
  function report(
    did: "Created" | "Replayed",
    orders: readonly NewOrder[],
    group: readonly Placement[],
  ): void {
    if (orders.length > ONE_BY_ONE) return log.info(`${did} orders`, { orders: orders.length });
    for (const { id: orderId, courseId, amount, correlationId } of orders) {
      const placement = group.find(({ order }) => order.id === orderId); // none for an order of an earlier group
      const traceId = traceIdOf(placement?.created.traceparent ?? null);
      log.info(did, { orderId, correlationId, traceId, courseId, amount });
    }
  }

  return async (request, cause, idempotencyKey) => {
    if (waiting.length >= MAX_WAITING) {
      throw new HttpProblem(503, "Too many orders are waiting to be stored. Try again in a moment.", {
        headers: { "retry-after": "1" },
      });
    }
    const createdAt = new Date();
    const order: NewOrder = { id: uuidv7(), ...request, correlationId: cause.correlationId, createdAt };
    const { id: orderId, userId, courseId, amount } = order;
    const created = makeEvent("order.created", { orderId, userId, courseId, amount }, cause, createdAt);
    const key = idempotencyKey === undefined
      ? null
      : { key: idempotencyKey, fingerprint: fingerprintOf([userId, courseId, amount]) };
    const done = Promise.withResolvers<Outcome>();
    waiting.push({ order, created, key, done });
    schedule();
    return placedOrder(await done.promise);
  };
}

function ordersOf(outcomes: readonly Outcome[], kind: "created" | "replayed"): NewOrder[] {
  return outcomes.flatMap((outcome) => outcome.kind === kind ? [outcome.order] : []);
}
