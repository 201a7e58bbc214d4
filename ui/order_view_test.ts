import { assert, assertEquals } from "@std/assert";
import type { OrderStatus } from "../shared/order_status.ts";
import { isSettled, timeScale } from "./film.tsx";
import { fit, layoutMachine, SHAPES } from "./machine_layout.ts";
import { heldUpBy, isAsPromised, needsRereading, stepsOf } from "./order_view.tsx";
import { holdStill } from "./side.tsx";
import { QUEUE_LIST, testId, testOrder, testPulse, testStory } from "./testdata/page.ts";

const story = testStory();
const { beats } = story;

Deno.test("layoutMachine() overlaps no boxes in any shape, keeps them in view, and has a way for each beat", () => {
  for (const shape of SHAPES) {
    const { boxes, edges, width, height } = layoutMachine(QUEUE_LIST, shape);
    assertEquals(boxes.length, 4 + 2 * QUEUE_LIST.length);
    for (const [i, a] of boxes.entries()) {
      const isInView = a.x >= 0 && a.y >= 0 && a.x + a.width <= width && a.y + a.height <= height;
      assert(isInView, `${shape} ${a.place}`);
      for (const b of boxes.slice(i + 1)) {
        const isBeside = a.x + a.width <= b.x || b.x + b.width <= a.x;
        const isApart = isBeside || a.y + a.height <= b.y || b.y + b.height <= a.y;
        assert(isApart, `${shape}: ${a.place} and ${b.place}`);
      }
    }
    assert(!edges.some(({ from, to }) => `${from}>${to}` === "api>exchange"));
    assertEquals(edges.length, 3 + 3 * QUEUE_LIST.length);
  }
  assertEquals(fit("a".repeat(100), 59), `${"a".repeat(9)}…`);
  const known = new Set(layoutMachine(QUEUE_LIST, "wide").edges.map(({ from, to }) => `${from}>${to}`));
  for (const { ways, title } of beats) {
    for (const way of ways) way.slice(1).forEach((to, i) => assert(known.has(`${way[i]}>${to}`), title));
  }
});

Deno.test("timeScale() is true to time, and cuts one long stretch short", () => {
  assertEquals(timeScale([0, 50, 100]), { positions: [0, 0.5, 1], gap: null });
  const { positions, gap } = timeScale([0, 10, 10_010, 10_020]);
  assertEquals(positions.map((x) => Math.round(x * 100)), [0, 46, 54, 100]);
  assertEquals(gap?.ms, 10_000);
  assertEquals(timeScale([5]), { positions: [0], gap: null });
  assertEquals(timeScale([0, 1000]).gap, null);
  assertEquals(timeScale([]).positions, []);
});

Deno.test("an order that has not ended is read again, and says which dead letter holds it up", () => {
  assertEquals(isSettled(story), false);
  const ended = testStory({ status: "PAYMENT_FAILED" });
  assertEquals(isSettled(ended), true);
  assertEquals(needsRereading(ended, testPulse(0, { orders: [] })), false);
  const changed = testOrder({ updatedAt: "2026-01-02T03:05:00.000Z" });
  assertEquals(needsRereading(ended, testPulse(0, { orders: [changed] })), true);
  assertEquals(heldUpBy("PENDING", beats), testId(900));
  assertEquals(heldUpBy("COMPLETED", beats), null);
});

Deno.test("stepsOf() goes on where all would go well; isAsPromised() takes a scenario by its word", () => {
  assertEquals(stepsOf(story), ["PENDING", "PAID", "COMPLETED"]);
  const isKept = (expect: string, status: OrderStatus, told = beats) =>
    isAsPromised({ name: "a", path: "", group: "", expect }, status, told);
  assertEquals([isKept("COMPLETED: paid.", "COMPLETED"), isKept("COMPLETED: paid.", "PENDING")], [
    true,
    false,
  ]);
  const letter = "PENDING with a dead letter.";
  assertEquals([isKept(letter, "PENDING"), isKept(letter, "PENDING", beats.slice(0, 2))], [true, false]);
});

Deno.test("holdStill() keeps the rows where they stand, as they are now, and counts what is newer", () => {
  const [a, b, c] = [
    testOrder({ id: testId(1) }),
    testOrder({ id: testId(2) }),
    testOrder({ id: testId(3) }),
  ];
  const paid = { ...a, status: "PAID" as const };
  assertEquals(holdStill([b, a], [c, b, paid]), { shown: [b, paid], newer: 1 });
  const all = [b, a];
  assertEquals(holdStill(all, all), { shown: all, newer: 0 });
});
