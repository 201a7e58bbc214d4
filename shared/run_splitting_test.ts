import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { runSplitting } from "./run_splitting.ts";

const double = (items: readonly number[]) => Promise.resolve(items.map((n) => n * 2));

Deno.test("runSplitting() runs a good batch once", async () => {
  let runs = 0;
  const results = await runSplitting([1, 2, 3], (items) => {
    runs++;
    return double(items);
  });
  assertEquals(runs, 1);
  assertEquals(results.map((r) => r.status === "fulfilled" && r.value), [2, 4, 6]);
});

Deno.test("runSplitting() fails exactly the items at fault, in place, in few runs", async () => {
  await fc.assert(fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 60 }), async (isBad) => {
    let runs = 0;
    const items = isBad.map((_, i) => i);
    const results = await runSplitting(items, (batch) => {
      runs++;
      const bad = batch.find((i) => isBad[i]);
      return bad === undefined ? double(batch) : Promise.reject(new Error(`bad ${bad}`));
    });
    assertEquals(results.map((r) => r.status === "rejected"), isBad);
    const faults = isBad.filter(Boolean).length;
    const most = 1 + 2 * faults * Math.ceil(Math.log2(Math.max(items.length, 2)));
    assertEquals(runs <= most, true, `${runs} runs for ${faults} faults in ${items.length}`);
  }));
});

Deno.test("runSplitting() gives up on an outage, which no item is at fault for", async () => {
  let runs = 0;
  await assertRejects(() =>
    runSplitting([1, 2, 3, 4], () => {
      runs++;
      return Promise.reject(Object.assign(new Error("refused"), { code: "ECONNREFUSED" }));
    })
  );
  assertEquals(runs, 1);
});
