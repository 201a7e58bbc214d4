import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { createReadyList } from "./ready_list.ts";
import { createRingQueue } from "./ring_queue.ts";

Deno.test("createRingQueue behaves like an array that is pushed to and shifted from", () => {
  fc.assert(fc.property(fc.array(fc.integer({ min: -60, max: 60 }), { maxLength: 60 }), (steps) => {
    const queue = createRingQueue<number>();
    const model: number[] = [];
    let next = 0;
    for (const step of steps) { // a positive step pushes that many, a negative one shifts
      for (let count = 0; count < Math.abs(step); count++) {
        if (step > 0) {
          queue.push(next);
          model.push(next++);
        } else assertEquals(queue.shift(), model.shift());
        assertEquals([queue.length, queue.peek()], [model.length, model[0]]);
      }
    }
  }));
});

Deno.test("createRingQueue keeps the order over many sizes, up and down", () => {
  const queue = createRingQueue<number>();
  for (let value = 0; value < 100_000; value++) queue.push(value);
  for (let value = 0; value < 100_000; value++) assertEquals(queue.shift(), value);
  assertEquals(queue.shift(), undefined);
});

Deno.test("createReadyList gives items by position, whatever was taken and put back in whichever order", () => {
  const step = fc.oneof(
    fc.record({ type: fc.constant("push" as const) }),
    fc.record({ type: fc.constant("take" as const) }),
    fc.record({ type: fc.constant("put back" as const), which: fc.nat() }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const list = createReadyList<{ position: number }>();
    const model: number[] = [];
    const out: number[] = [];
    let next = 0;
    for (const action of steps) {
      if (action.type === "push") {
        list.push({ position: next });
        model.push(next++);
      } else if (action.type === "take") {
        const item = list.shift();
        assertEquals(item?.position, model.shift());
        if (item) out.push(item.position);
      } else if (out.length > 0) {
        const [position = 0] = out.splice(action.which % out.length, 1);
        list.putBack({ position });
        model.push(position);
        model.sort((one, other) => one - other);
      }
      assertEquals([list.length, list.peek()?.position], [model.length, model[0]]);
    }
  }));
});
