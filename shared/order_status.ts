// The life of an order, as one table. Everything that draws or decides a transition reads it from here.

/** The statuses that an order can have, in the order in which an order meets them. */
export const ORDER_STATUSES = [
  "PENDING",
  "PAID",
  "COMPLETED",
  "PAYMENT_FAILED",
  "REFUND_IN_PROGRESS",
  "REFUNDED",
] as const;

/** One status of an order. */
export type OrderStatus = (typeof ORDER_STATUSES)[number];

/** An event that can move an order. */
export type OrderTrigger =
  | "payment.succeeded"
  | "payment.failed"
  | "enrollment.granted"
  | "enrollment.failed"
  | "refund.succeeded";

/** One arrow of the state machine: in `from`, the event `on` leads to `to`, and `emits` an event with it. */
export interface OrderTransition {
  /** The status that the order must be in. */
  readonly from: OrderStatus;
  /** The event that moves it. */
  readonly on: OrderTrigger;
  /** The status that it moves to. */
  readonly to: OrderStatus;
  /** The event that goes out in the same transaction; absent where none does. */
  readonly emits?: "refund.requested";
}

/** The state machine. Each event appears once, which is what makes a repeat recognisable. */
export const ORDER_TRANSITIONS: readonly OrderTransition[] = [
  { from: "PENDING", on: "payment.succeeded", to: "PAID" },
  { from: "PENDING", on: "payment.failed", to: "PAYMENT_FAILED" },
  { from: "PAID", on: "enrollment.granted", to: "COMPLETED" },
  { from: "PAID", on: "enrollment.failed", to: "REFUND_IN_PROGRESS", emits: "refund.requested" },
  { from: "REFUND_IN_PROGRESS", on: "refund.succeeded", to: "REFUNDED" },
];

/** What an event means for an order in a given status. */
export type OrderDecision =
  /** The order moves, and the event of `emits` goes out in the same transaction. */
  | { readonly kind: "move"; readonly to: OrderStatus; readonly emits?: "refund.requested" }
  /** A repeat: the order has been through this. Nothing changes, nothing is emitted. */
  | { readonly kind: "already-there" }
  /** Two queues race: the order has yet to reach `awaits`, from where the event is legal. Wait, try again. */
  | { readonly kind: "too-early"; readonly awaits: OrderStatus }
  /** No path leads from here through this event. */
  | { readonly kind: "never" };

/** Whether an order in `from` can still get to `to`; a status reaches itself. */
function reaches(from: OrderStatus, to: OrderStatus): boolean {
  return from === to || ORDER_TRANSITIONS.some((t) => t.from === from && reaches(t.to, to));
}

/** Whether no event moves an order on from `status`. */
export function isFinal(status: OrderStatus): boolean {
  return !ORDER_TRANSITIONS.some((t) => t.from === status);
}

/** Whether `type` is an event that can move an order. */
export function isOrderTrigger(type: string): type is OrderTrigger {
  return ORDER_TRANSITIONS.some((t) => t.on === type);
}

/** Decides what event `on` means for an order in `status`. Total: every pair has an answer. */
export function decideTransition(status: OrderStatus, on: OrderTrigger): OrderDecision {
  const transition = ORDER_TRANSITIONS.find((t) => t.on === on);
  if (!transition) return { kind: "never" };
  if (transition.from === status) {
    const { to, emits } = transition;
    return emits ? { kind: "move", to, emits } : { kind: "move", to };
  }
  if (reaches(transition.to, status)) return { kind: "already-there" };
  if (reaches(status, transition.from)) return { kind: "too-early", awaits: transition.from };
  return { kind: "never" };
}
