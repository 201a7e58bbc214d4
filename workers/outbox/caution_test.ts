import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { atEase, nextCaution } from "./caution.ts";

Deno.test("nextCaution() stays at ease while the broker takes everything", () => {
  assertEquals(nextCaution(atEase(500), { claimed: 500, offended: false }, 500), atEase(500));
  assertEquals(nextCaution(atEase(500), { claimed: 3, offended: false }, 500), atEase(500));
});

Deno.test("nextCaution() finds the event at fault, wherever it is, in about 2 log2(n) batches, and is at ease again", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 2000 }), fc.nat(), (waiting, nth) => {
    const size = 500;
    const events = Array.from({ length: waiting }, (_, i) => i);
    const bad = nth % waiting;
    let caution = atEase(size);
    let batches = 0;
    for (let refused = false; events.length > 0; batches++) {
      const batch = events.slice(0, caution.limit);
      const offended = batch.includes(bad);
      if (!offended || batch.length === 1) {
        events.splice(0, batch.length);
        refused ||= offended;
      }
      caution = nextCaution(caution, { claimed: batch.length, offended }, size);
      if (refused && offended) assertEquals(caution, atEase(size));
    }
    assert(batches <= waiting / size + 2 * Math.ceil(Math.log2(size)) + 2, `${batches} batches`);
  }));
});

Deno.test("nextCaution() is at ease again once all that were with an offender are through", () => {
  // Another relay may have taken the offender meanwhile.
  let caution = nextCaution(atEase(100), { claimed: 100, offended: true }, 100);
  assertEquals(caution, { limit: 50, left: 100 });
  caution = nextCaution(caution, { claimed: 50, offended: false }, 100);
  assertEquals(caution, { limit: 50, left: 50 });
  assertEquals(nextCaution(caution, { claimed: 50, offended: false }, 100), atEase(100));
});
