import { assertEquals } from "@std/assert";
import { acceptRows } from "./throughput_parts.ts";
import { isReached } from "./bench.ts";

Deno.test("accepting is compared by the medians of the rounds: more orders, and a lower p99", () => {
  const round = (perSecond: number, p99: number) => ({ perSecond, p50: p99 / 2, p99, cpuShare: 0.25 });
  const rows = acceptRows(64, 2, {
    ours: [round(900, 80), round(4000, 10), round(4200, 12)],
    naive: [round(2000, 20), round(1900, 18), round(100, 500)],
  });
  assertEquals(rows.map(({ what, ours, beside }) => [what, ours, beside]), [
    ["accept, 64 connections: orders", 4000, 1900],
    ["accept, 64 connections: p50", 6, 10],
    ["accept, 64 connections: p99", 12, 20],
  ]);
  assertEquals(rows.map(isReached), [true, null, true]);
  assertEquals(rows[0]?.note, "the load generator took 25 % of a core, the naive client 25 %");
});
