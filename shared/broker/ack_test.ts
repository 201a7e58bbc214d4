import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { planAcks } from "./ack.ts";

Deno.test("planAcks() acks a batch that is settled whole with one frame", () => {
  assertEquals(planAcks([4, 2, 3], [5, 6]), [{ tag: 4, multiple: true }]);
  assertEquals(planAcks([7], []), [{ tag: 7, multiple: false }]);
  assertEquals(planAcks([], [1]), []);
});

Deno.test("planAcks() acks exactly what is settled, whatever is outstanding", () => {
  fc.assert(fc.property(fc.array(fc.boolean(), { maxLength: 40 }), fc.nat(20), (isSettled, before) => {
    // Tags up to `before` were acked earlier; each later one is either settled now or outstanding.
    const tags = isSettled.map((_, i) => before + 1 + i);
    const settled = tags.filter((_, i) => isSettled[i]);
    const outstanding = tags.filter((_, i) => !isSettled[i]);
    const acked = planAcks(settled, outstanding).flatMap(({ tag, multiple }) =>
      multiple ? tags.filter((other) => other <= tag) : [tag]
    );
    assertEquals(acked.toSorted((a, b) => a - b), settled);
  }));
});
