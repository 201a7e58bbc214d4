/**
 * What a batch of events means for the orders it is about. Pure.
 *
 * @module
 */
import type { ReceivedEvent } from "../../shared/broker/delivery.ts";
import type { Verdict } from "../../shared/broker/next_step.ts";
import { makeEvent, type OutgoingEvent } from "../../shared/events/catalog.ts";
import type { OrderMoves, SettledEvent } from "../../shared/sql/orders.ts";
import type { EventOfRow } from "../../shared/sql/outbox_events.ts";
import { decideTransition, type OrderStatus, type OrderTrigger } from "../../shared/order_status.ts";

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
