import { assertEquals } from "@std/assert";
import { lateStretches, throughput } from "./open_transaction_part.ts";

const stretch = (startedAt: number, seconds: number, orders = 100) => ({ startedAt, seconds, orders });

Deno.test("throughput weighs each stretch by its time", () => {
  assertEquals(throughput([stretch(0, 1, 300), stretch(2, 3, 100)]), 100);
});

Deno.test("lateStretches takes those that lie in the last seconds, and the last one whatever it took", () => {
  const all = [stretch(0, 5), stretch(5, 5), stretch(10, 5)];
  assertEquals(lateStretches(all, 10), all.slice(1));
  assertEquals(lateStretches(all, 1), all.slice(2));
  assertEquals(lateStretches([], 1), []);
});
