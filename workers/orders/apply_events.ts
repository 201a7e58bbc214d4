/**
 * Applies a batch of events to the orders it is about.
 *
 * @module
 */
import type { HandleBatch } from "../../shared/broker/judge_batch.ts";
import type { OrderTrigger } from "../../shared/order_status.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { lockOrders, updateStatuses } from "../../shared/sql/orders.ts";
import { appendEvents } from "../../shared/sql/outbox_events.ts";
import type { OutboxWaker } from "../../shared/sql/outbox_wakeup.ts";
import { markProcessed } from "../../shared/sql/processed_events.ts";
import { decideBatch } from "./decide_batch.ts";

/** What the handler is made of. */
export interface OrderEventsDeps {
  /** A pool that may write `orders`, the inbox and the outbox. */
  readonly sql: Sql;
  /** The consumer's name, for the inbox. */
  readonly consumer: string;
  /** Wakes the relay after a batch that emits events. */
  readonly waker: OutboxWaker;
}

/**
 * Makes the handler, the same for both queues of the orders module. The orders are locked before their statuses are
 * read, so the decision still holds when it is written; a repeat finds the order already there, whether or not the
 * inbox remembers it.
 */
export function createOrderEventsHandler(
  { sql, consumer, waker }: OrderEventsDeps,
): HandleBatch<OrderTrigger> {
  return async (events) => {
    const ids = [...new Set(events.map(({ event }) => event.data.orderId))];
    const decision = await transaction(sql, async (tx) => {
      const orders = await lockOrders(tx, ids);
      const now = new Date(); // behind the lock, so that an order's changes have their times in their order
      const decision = decideBatch(events, new Map(orders.map(({ id, status }) => [id, status])), now);
      const changes = [...decision.statuses].map(([id, status]) => ({ id, status }));
      await Promise.all([
        markProcessed(tx, consumer, decision.settled, now),
        updateStatuses(tx, changes, now),
        appendEvents(tx, decision.outgoing),
      ]);
      return decision;
    });
    if (decision.outgoing.length > 0) waker.wake();
    return decision.verdicts;
  };
}
