// Moves orders on: what a batch of events means for the orders it is about, decided by the state machine and written by
// compare-and-set.

import { Counter } from "@prometheus-io/client";
import type { HandleBatch, Outcome } from "../../shared/broker/settle.ts";
import { type DomainEvent, makeEvent, type ReceivedEvent } from "../../shared/events.ts";
import {
  decideTransition,
  ORDER_TRANSITIONS,
  type OrderStatus,
  type OrderTrigger,
} from "../../shared/order_status.ts";
import type { Registry } from "../../shared/process/metrics.ts";
import { moveOrders, type OrderMoves, readStatuses, type StatusChange } from "../../shared/sql/orders.ts";
import type { HandlerDeps } from "../consumer.ts";

type Received = ReceivedEvent<OrderTrigger>;

/** The decided moves of a batch, and what they mean for its messages. */
export interface BatchDecision extends OrderMoves {
  readonly outcomes: readonly Outcome[];
}

/**
 * Decides a batch, event by event in the order of their arrival, each on the status that the ones before it left.
 * `before` has the status of every order that exists.
 */
export function decideBatch(
  events: readonly Received[],
  before: ReadonlyMap<string, OrderStatus>,
  now: Date,
): BatchDecision {
  const statuses = new Map<string, OrderStatus>();
  const settled: { eventId: string; orderId: string }[] = [];
  const outgoing: OrderMoves["outgoing"][number][] = [];

  function decide(received: Received): Outcome {
    const { event: { eventId, type, data: { orderId } } } = received;
    const status = statuses.get(orderId) ?? before.get(orderId);
    if (!status) return { kind: "rejected", reason: "illegal transition", detail: "there is no such order" };
    const decision = decideTransition(status, type);
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
        return { kind: "rejected", reason: "illegal transition", detail: `${type} while ${status}` };
      default:
        return decision satisfies never;
    }
  }

  const outcomes = events.map(decide);
  const changes = [...statuses].flatMap(([id, to]) => {
    const from = before.get(id);
    return from ? [{ id, from, to }] : [];
  });
  return { outcomes, settled, changes, outgoing };
}

function refundFor({ event, traceparent, tracestate }: Received, now: Date) {
  const { correlationId, data: { orderId } } = event;
  const reason = event.type === "enrollment.failed" ? event.data.reason : "enrollment failed";
  return makeEvent("refund.requested", { orderId, reason }, { correlationId, traceparent, tracestate }, now);
}

/**
 * The status that each order should have for the first of its events to move it. Every event has one arrow in the state
 * machine, so this needs no look at the table.
 */
function expectedStatuses(events: readonly Received[]): Map<string, OrderStatus> {
  const expected = new Map<string, OrderStatus>();
  for (const { event: { type, data: { orderId } } } of events) {
    const from = ORDER_TRANSITIONS.find(({ on }) => on === type)?.from;
    if (from && !expected.has(orderId)) expected.set(orderId, from);
  }
  return expected;
}

/**
 * A write on what is expected, and one more for each time that another copy can move an order between a look and its
 * write: an order moves three times at most.
 */
const MAX_WRITES = 5;

/**
 * Makes the handler, the same for both queues of the orders module. It writes on the statuses that the events expect,
 * which is one round trip for all that is in order; only orders that are elsewhere (a repeat, too early, illegal) are
 * read and decided anew. A repeat finds the order already there, whether or not the inbox remembers it.
 */
export function moveEach(
  { sql, inbox, registry }: Pick<HandlerDeps, "sql" | "inbox" | "registry">,
): HandleBatch<DomainEvent<OrderTrigger>> {
  const count = registry ? createTransitionCounter(registry) : () => {};
  return async (events) => {
    const outcomes = new Map<Received, Outcome>();
    let open = events;
    for (let writes = 0; open.length > 0; writes++) {
      if (writes === MAX_WRITES) {
        throw new Error(`Orders kept moving while they were decided, ${writes} times`);
      }
      const before = writes === 0 ? expectedStatuses(open) : await readStatuses(sql, open.map(orderOf));
      const now = new Date(); // behind what was read, so that an order's changes have their times in their order
      const decision = decideBatch(open, before, now);
      const moved = await moveOrders(inbox, decision, now);
      count(decision.changes.filter(({ id }) => moved.has(id)));
      const elsewhere = new Set(decision.changes.map(({ id }) => id).filter((id) => !moved.has(id)));
      open.forEach((received, i) => {
        const outcome = decision.outcomes[i];
        if (outcome && !elsewhere.has(orderOf(received))) outcomes.set(received, outcome);
      });
      open = open.filter((received) => elsewhere.has(orderOf(received)));
    }
    return events.map((received) => outcomes.get(received) ?? { kind: "failed", error: "not decided" });
  };
}

function orderOf({ event }: Received): string {
  return event.data.orderId;
}

function createTransitionCounter(registry: Registry): (moved: readonly StatusChange[]) => void {
  const transitions = new Counter({
    name: "orderflow_order_transitions_total",
    help: "Orders that this process has moved from one status to another.",
    labelNames: ["from", "to"],
    registers: [registry],
  });
  for (const { from, to } of ORDER_TRANSITIONS) transitions.inc({ from, to }, 0);
  return (moved) => {
    for (const { from, to } of moved) transitions.inc({ from, to });
  };
}
