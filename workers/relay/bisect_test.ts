import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { nextBisection, wholeBatches } from "./bisect.ts";

Deno.test("nextBisection() keeps to whole batches while the broker takes everything", () => {
  assertEquals(nextBisection(wholeBatches(500), { claimed: 500, offended: false }, 500), wholeBatches(500));
  assertEquals(nextBisection(wholeBatches(500), { claimed: 3, offended: false }, 500), wholeBatches(500));
});

Deno.test("nextBisection() finds the event at fault, wherever it is, in about 2 log2(n) batches, and then ends", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 2000 }), fc.nat(), (waiting, nth) => {
    const size = 500;
    const events = Array.from({ length: waiting }, (_, i) => i);
    const bad = nth % waiting;
    let bisection = wholeBatches(size);
    let batches = 0;
    for (let refused = false; events.length > 0 && batches < 100; batches++) {
      const batch = events.slice(0, bisection.limit);
      const offended = batch.includes(bad);
      if (!offended || batch.length === 1) {
        events.splice(0, batch.length);
        refused ||= offended;
      }
      bisection = nextBisection(bisection, { claimed: batch.length, offended }, size);
      if (refused && offended) assertEquals(bisection, wholeBatches(size));
    }
    assertEquals(events, []);
    assert(batches <= waiting / size + 2 * Math.ceil(Math.log2(size)) + 2, `${batches} batches`);
  }));
});

Deno.test("nextBisection() ends once all that were with the offender are published", () => {
  // Another relay may have taken the offender meanwhile.
  let bisection = nextBisection(wholeBatches(100), { claimed: 100, offended: true }, 100);
  assertEquals(bisection, { limit: 50, left: 100 });
  bisection = nextBisection(bisection, { claimed: 50, offended: false }, 100);
  assertEquals(bisection, { limit: 50, left: 50 });
  assertEquals(nextBisection(bisection, { claimed: 50, offended: false }, 100), wholeBatches(100));
});
