/**
 * Applies a batch of events to the orders it is about.
 *
 * @module
 */
import { Counter } from "prom-client";
import type { ReceivedEvent } from "../../shared/broker/message.ts";
import type { HandleBatch, Verdict } from "../../shared/broker/settle.ts";
import { makeEvent, type OutgoingEvent } from "../../shared/events.ts";
import {
  moveOrders,
  type OrderMoves,
  readStatuses,
  type SettledEvent,
  type StatusChange,
} from "../../shared/sql/orders.ts";
import type { EventOfRow, OutboxWaker } from "../../shared/sql/outbox.ts";
import {
  decideTransition,
  ORDER_TRANSITIONS,
  type OrderStatus,
  type OrderTrigger,
} from "../../shared/order_status.ts";
import type { Atomically, Sql } from "../../shared/sql/connect.ts";
import type { Registry } from "../../shared/process/metrics.ts";

/** The decided effects of a batch, and what they mean for its messages. */
export interface BatchDecision extends OrderMoves {
  /** One verdict per event, in their order. */
  readonly verdicts: readonly Verdict[];
}

/**
 * Decides a batch, event by event in the order of their arrival, each on the status that the ones before it left.
 * `before` has the status of every order that exists.
 */
export function decideBatch(
  events: readonly ReceivedEvent<OrderTrigger>[],
  before: ReadonlyMap<string, OrderStatus>,
  now: Date,
): BatchDecision {
  const statuses = new Map<string, OrderStatus>();
  const settled: SettledEvent[] = [];
  const outgoing: EventOfRow[] = [];

  function decide(received: ReceivedEvent<OrderTrigger>): Verdict {
    const { event } = received;
    const { eventId, data: { orderId } } = event;
    const status = statuses.get(orderId) ?? before.get(orderId);
    if (!status) return { kind: "rejected", reason: "illegal transition", detail: "there is no such order" };
    const decision = decideTransition(status, event.type);
    switch (decision.kind) {
      case "move":
        statuses.set(orderId, decision.to);
        settled.push({ eventId, orderId });
        if (decision.emits) outgoing.push({ ...refundFor(received, now), rowId: orderId });
        return { kind: "done", note: `${status} → ${decision.to}` };
      case "already-there":
        settled.push({ eventId, orderId });
        return { kind: "duplicate" };
      case "too-early":
        return { kind: "early", awaits: decision.awaits };
      case "never":
        return { kind: "rejected", reason: "illegal transition", detail: `${event.type} while ${status}` };
      default:
        return decision satisfies never;
    }
  }

  const verdicts = events.map(decide);
  const changes = [...statuses].flatMap(([id, to]) => {
    const from = before.get(id);
    return from ? [{ id, from, to }] : [];
  });
  return { verdicts, settled, changes, outgoing };
}

function refundFor({ event, traceparent }: ReceivedEvent<OrderTrigger>, now: Date): OutgoingEvent {
  const reason = event.type === "enrollment.failed" ? event.data.reason : "enrollment failed";
  return makeEvent(
    "refund.requested",
    { orderId: event.data.orderId, reason },
    { correlationId: event.correlationId, traceparent },
    now,
  );
}

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

/** Makes the counter of transitions in `registry`; what it answers with is to be told of orders that have moved. */
export function createTransitionCounter(registry: Registry): (moved: readonly StatusChange[]) => void {
  const transitions = new Counter({
    name: "orderflow_order_transitions_total",
    help: "Orders that this process has moved from one status to another.",
    labelNames: ["from", "to"],
    registers: [registry],
  });
  for (const { from, to } of ORDER_TRANSITIONS) transitions.inc({ from, to }, 0);
  return (moved) => {
    for (const changes of Map.groupBy(moved, ({ from, to }) => `${from} ${to}`).values()) {
      const [first] = changes;
      if (first) transitions.inc({ from: first.from, to: first.to }, changes.length);
    }
  };
}
