/**
 * Creates orders, many in one transaction.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { v7 as uuidv7 } from "uuid";
import { type Cause, makeEvent } from "../shared/events/catalog.ts";
import { type Logger, ONE_BY_ONE } from "../shared/log.ts";
import { runSplitting } from "../shared/run_splitting.ts";
import type { Sql } from "../shared/sql/connect.ts";
import type { NewOrder } from "../shared/sql/orders.ts";
import type { OutboxWaker } from "../shared/sql/outbox_wakeup.ts";
import { traceIdOf } from "../shared/trace_context.ts";
import type { Tracer } from "../shared/tracing.ts";
import { inGroupSpan } from "./group_span.ts";
import { HttpProblem } from "./http_errors.ts";
import { fingerprintOf } from "./idempotency_key.ts";
import { type Outcome, type PlacedOrder, placedOrder, placeGroup, type Placement } from "./place_group.ts";

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
      const insert = () => runSplitting(group, (part) => placeGroup(sql, part));
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
