import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { addReady, takeReady } from "./queue.ts";

Deno.test("what is ready comes by position, whatever was taken and put back in whichever order", () => {
  // A step adds so many, or takes so many where it is negative, then puts back some that were taken.
  const step = fc.record({
    times: fc.integer({ min: -60, max: 60 }),
    back: fc.array(fc.nat(), { maxLength: 20 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
    const heap: { position: number }[] = [];
    const model = new Set<number>();
    const out: number[] = [];
    let next = 0;
    const add = (position: number) => {
      addReady(heap, { position });
      model.add(position);
    };
    for (const { times, back } of steps) {
      for (let time = 0; time < times; time++) add(next++);
      for (let time = times; time < 0 && model.size > 0; time++) {
        const lowest = Math.min(...model);
        assertEquals(takeReady(heap)?.position, lowest);
        model.delete(lowest);
        out.push(lowest);
      }
      for (const index of back) {
        const [position] = out.splice(index % Math.max(out.length, 1), 1);
        if (position !== undefined) add(position);
      }
      assertEquals(heap.length, model.size);
    }
  }));
});
