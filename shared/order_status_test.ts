import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  decideTransition,
  isFinal,
  ORDER_STATUSES,
  ORDER_TRANSITIONS,
  type OrderDecision,
  type OrderStatus,
  type OrderTrigger,
} from "./order_status.ts";

const triggers = ORDER_TRANSITIONS.map((t) => t.on);

Deno.test("decideTransition() answers every (status, event) pair as the lifecycle says", () => {
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
      assertEquals(decideTransition(status, trigger).kind, kinds[status][trigger], `${status} + ${trigger}`);
    }
  }
});

Deno.test("decideTransition() asks for a refund exactly when a paid order gets no seat", () => {
  for (const status of ORDER_STATUSES) {
    for (const trigger of triggers) {
      const decision = decideTransition(status, trigger);
      const emits = decision.kind === "move" && decision.emits === "refund.requested";
      assertEquals(emits, status === "PAID" && trigger === "enrollment.failed");
    }
  }
});

Deno.test("ORDER_TRANSITIONS names each event once", () => {
  assertEquals(new Set(triggers).size, triggers.length);
});

Deno.test("decideTransition() ends in the same state whatever the order, repetition and delay of the events", () => {
  const histories: Record<string, { events: OrderTrigger[]; end: OrderStatus }> = {
    success: { events: ["payment.succeeded", "enrollment.granted"], end: "COMPLETED" },
    declined: { events: ["payment.failed"], end: "PAYMENT_FAILED" },
    refund: { events: ["payment.succeeded", "enrollment.failed", "refund.succeeded"], end: "REFUNDED" },
  };
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.keys(histories)),
      fc.array(fc.nat(), { maxLength: 12 }),
      fc.infiniteStream(fc.nat()),
      (name, repeats, picks) => {
        const history = histories[name];
        assert(history);
        const { events, end } = history;
        let waiting = [...events, ...repeats.flatMap((n) => events.slice(n % events.length).slice(0, 1))];
        let status: OrderStatus = "PENDING";
        let refunds = 0;
        // Whatever is picked next is decided; what is too early goes back. Bounded: a round without a move ends it.
        for (let idle = 0; waiting.length > 0 && idle <= waiting.length * 20;) {
          const at = picks.next().value % waiting.length;
          const trigger = waiting[at];
          assert(trigger);
          const decision = decideTransition(status, trigger);
          assert(decision.kind !== "never", `${trigger} must not be illegal in ${status}`);
          if (decision.kind === "too-early") {
            idle++;
            continue;
          }
          idle = 0;
          if (decision.kind === "move") {
            status = decision.to;
            if (decision.emits) refunds++;
          }
          waiting = waiting.filter((_, i) => i !== at);
        }
        assertEquals(status, end);
        assertEquals(isFinal(status), true);
        assertEquals(refunds, name === "refund" ? 1 : 0);
      },
    ),
  );
});

function row(...kinds: OrderDecision["kind"][]): Record<OrderTrigger, OrderDecision["kind"]> {
  return Object.fromEntries(triggers.map((trigger, i) => [trigger, kinds[i]])) as Record<
    OrderTrigger,
    OrderDecision["kind"]
  >;
}
