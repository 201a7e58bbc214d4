import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { addReady, countReady, createReadyList, peekReady, putBackReady, takeReady } from "./queue.ts";

Deno.test("a ready list gives items by position, whatever was taken and put back in whichever order", () => {
  const step = fc.oneof(
    fc.record({ type: fc.constantFrom("add" as const, "take" as const), times: fc.nat(2000) }),
    fc.record({ type: fc.constant("put back" as const), times: fc.nat() }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
    const list = createReadyList<{ position: number }>();
    const model: number[] = [];
    const out: number[] = [];
    let next = 0;
    for (const { type, times } of steps) {
      if (type === "put back") {
        const [position] = out.splice(times % Math.max(out.length, 1), 1);
        if (position === undefined) continue;
        putBackReady(list, { position });
        model.push(position);
        model.sort((one, other) => one - other);
      }
      for (let time = 0; type === "add" && time < times; time++) {
        addReady(list, { position: next });
        model.push(next++);
      }
      for (let time = 0; type === "take" && time < times; time++) {
        const item = takeReady(list);
        assertEquals(item?.position, model.shift());
        if (!item) break;
        out.push(item.position);
      }
      assertEquals([countReady(list), peekReady(list)?.position], [model.length, model[0]]);
    }
  }));
});
