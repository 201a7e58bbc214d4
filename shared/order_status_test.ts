import { assertEquals } from "@std/assert";
import {
  decideTransition,
  ORDER_STATUSES,
  ORDER_TRANSITIONS,
  type OrderDecision,
  type OrderStatus,
  type OrderTrigger,
} from "./order_status.ts";

const triggers = ORDER_TRANSITIONS.map((t) => t.on);

Deno.test("decideTransition() answers every (status, event) pair as the lifecycle says, and refunds only a paid order without a seat", () => {
  const kinds: Record<OrderStatus, Record<OrderTrigger, OrderDecision["kind"]>> = {
    PENDING: row("move", "move", "too-early", "too-early", "too-early"),
    PAID: row("already-there", "never", "move", "move", "too-early"),
    COMPLETED: row("already-there", "never", "already-there", "never", "never"),
    PAYMENT_FAILED: row("never", "already-there", "never", "never", "never"),
    REFUND_IN_PROGRESS: row("already-there", "never", "never", "already-there", "move"),
    REFUNDED: row("already-there", "never", "never", "already-there", "already-there"),
  };
  for (const status of ORDER_STATUSES) {
    for (const trigger of triggers) {
      const decision = decideTransition(status, trigger);
      assertEquals(decision.kind, kinds[status][trigger], `${status} + ${trigger}`);
      const emits = decision.kind === "move" && decision.emits === "refund.requested";
      assertEquals(emits, status === "PAID" && trigger === "enrollment.failed");
    }
  }
  assertEquals(new Set(triggers).size, triggers.length, "each event has one arrow");
});

function row(...kinds: OrderDecision["kind"][]): Record<OrderTrigger, OrderDecision["kind"]> {
  return Object.fromEntries(triggers.map((trigger, i) => [trigger, kinds[i]])) as Record<
    OrderTrigger,
    OrderDecision["kind"]
  >;
}
