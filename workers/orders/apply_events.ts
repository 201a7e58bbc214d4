/**
 * Applies a batch of events to the orders it is about.
 *
 * @module
 */
import type { ReceivedEvent } from "../../shared/broker/delivery.ts";
import type { HandleBatch } from "../../shared/broker/judge_batch.ts";
import type { Verdict } from "../../shared/broker/next_step.ts";
import type { OrderTrigger } from "../../shared/order_status.ts";
import type { Atomically, Sql } from "../../shared/sql/connect.ts";
import { moveOrders, readStatuses, type StatusChange } from "../../shared/sql/orders.ts";
import type { OutboxWaker } from "../../shared/sql/outbox_wakeup.ts";
import { decideBatch } from "./decide_batch.ts";

/** What the handler is made of. */
export interface OrderEventsDeps {
  /** A pool that may read `orders`. */
  readonly sql: Sql;
  /** Runs a statement that may write `orders`, the inbox and the outbox. */
  readonly atomically: Atomically;
  /** The consumer's name, for the inbox. */
  readonly consumer: string;
  /** Wakes the relay after a batch that emits events. */
  readonly waker: OutboxWaker;
  /** Told of the orders that a transaction has moved, after its commit. */
  readonly onMoved?: ((moved: readonly StatusChange[]) => void) | undefined;
}

type Received = ReceivedEvent<OrderTrigger>;

/** An order moves three times at most, so that this often at most somebody else moves it between a look and its write. */
const MAX_LOOKS = 4;

/**
 * Makes the handler, the same for both queues of the orders module. It decides on the statuses as they are and writes
 * where they still hold, which is two round trips instead of the five of a transaction with locks; an order that the
 * other queue's worker moved in between is decided anew. A repeat finds the order already there, whether or not the
 * inbox remembers it.
 */
export function createOrderEventsHandler(deps: OrderEventsDeps): HandleBatch<OrderTrigger> {
  return async (events) => {
    const verdicts = new Map<Received, Verdict>();
    let open = events;
    for (let looks = 0; open.length > 0; looks++) {
      if (looks === MAX_LOOKS) throw new Error(`Orders kept moving while they were decided, ${looks} times`);
      open = await applyOnce(deps, open, verdicts);
    }
    return events.map((received) => verdicts.get(received) ?? { kind: "failed", error: "not decided" });
  };
}

/** Decides and writes; adds the verdicts that hold to `verdicts`, and answers with the events that are to be decided anew. */
async function applyOnce(
  { sql, atomically, consumer, waker, onMoved }: OrderEventsDeps,
  events: readonly Received[],
  verdicts: Map<Received, Verdict>,
): Promise<readonly Received[]> {
  const before = await readStatuses(sql, [...new Set(events.map(orderOf))]);
  const now = new Date(); // behind what was read, so that an order's changes have their times in their order
  const decision = decideBatch(events, before, now);
  const moving = moveOrders(atomically, consumer, decision, now);
  if (decision.outgoing.length > 0) waker.wake();
  const moved = await moving;
  onMoved?.(decision.changes.filter(({ id }) => moved.has(id)));
  const late = new Set(decision.changes.map(({ id }) => id).filter((id) => !moved.has(id)));
  for (const [i, received] of events.entries()) {
    const verdict = decision.verdicts[i];
    if (verdict && !late.has(orderOf(received))) verdicts.set(received, verdict);
  }
  return events.filter((received) => late.has(orderOf(received)));
}

function orderOf({ event }: Received): string {
  return event.data.orderId;
}
