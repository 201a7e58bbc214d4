import { assert, assertEquals } from "@std/assert";
import { ORDER_STATUSES, ORDER_TRANSITIONS } from "../shared/order_status.ts";
import { layoutStateMachine, pathOf } from "./state_machine.ts";
import { REFUNDED } from "./testdata/stories.ts";

for (const direction of ["across", "down"] as const) {
  Deno.test(`layoutStateMachine() ${direction} draws every status once and every transition`, () => {
    const { states, arrows, box, width, height } = layoutStateMachine(direction);
    assertEquals(states.map(({ status }) => status).sort(), [...ORDER_STATUSES].sort());
    assertEquals(arrows.map(({ transition }) => transition), [...ORDER_TRANSITIONS]);
    for (const [index, { x, y }] of states.entries()) {
      assert(x >= 0 && y >= 0 && x + box.width <= width && y + box.height <= height);
      const others = states.slice(index + 1);
      assert(
        others.every((other) => Math.abs(other.x - x) >= box.width || Math.abs(other.y - y) >= box.height),
      );
    }
  });

  Deno.test(`layoutStateMachine() ${direction} has each transition lead onwards`, () => {
    const { states } = layoutStateMachine(direction);
    const along = (status: string) => {
      const state = states.find((state) => state.status === status);
      return (direction === "across" ? state?.x : state?.y) ?? NaN;
    };
    for (const { from, to } of ORDER_TRANSITIONS) assert(along(from) < along(to), `${from} ${to}`);
  });
}

Deno.test("layoutStateMachine() follows its table, not a picture of it", () => {
  const { states } = layoutStateMachine("across", [
    { from: "PENDING", on: "payment.succeeded", to: "PAID" },
    { from: "PAID", on: "payment.failed", to: "PAYMENT_FAILED" },
  ]);
  assertEquals(states.map(({ status, y }) => `${status} ${y}`), ["PENDING 4", "PAID 4", "PAYMENT_FAILED 4"]);
});

Deno.test("pathOf() names the states and the arrows that a story has been through", () => {
  assertEquals([...pathOf(REFUNDED)], [
    "PENDING",
    "null>PENDING",
    "PAID",
    "PENDING>PAID",
    "REFUND_IN_PROGRESS",
    "PAID>REFUND_IN_PROGRESS",
    "REFUNDED",
    "REFUND_IN_PROGRESS>REFUNDED",
  ]);
});
