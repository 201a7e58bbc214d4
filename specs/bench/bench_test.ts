import { assertEquals, assertStringIncludes } from "@std/assert";
import { runTask } from "../support/run_task.ts";
import { type BenchRow, benchTable, inTurns, isReached, medianRows } from "./bench.ts";
import { usedBetween } from "./cost.ts";
import { acceptRows } from "./speed.ts";

Deno.test("deno task bench knows its parts", async () => {
  const { code, err } = await runTask("bench", ["accept", "speed"]);
  assertEquals(code, 64);
  assertStringIncludes(err, '"speed" is no part: accept, relay, ');
});

Deno.test("inTurns() begins and ends with what is beside", async () => {
  const order: string[] = [];
  const measure = (what: string) => () => Promise.resolve(order.push(what));
  const bench = { say: () => {} };
  const { ours, beside } = await inTurns(bench, 2, { ours: measure("ours"), beside: measure("beside") });
  assertEquals(order, ["beside", "ours", "beside", "ours", "beside"]);
  assertEquals([ours, beside], [[2, 4], [1, 3, 5]]);
});

const row: BenchRow = { what: "accept", unit: "/s", ours: 1500, beside: 1000, goal: { atLeast: 1 } };

Deno.test("benchTable() has a line for each row, with its ratio and whether that is enough", () => {
  const rows: BenchRow[] = [
    row,
    { what: "accept", unit: "/s", ours: 1000, beside: 1000, note: "generator: 20 %" },
    { what: "idle", unit: "%", ours: 3.25, goal: { atMost: 3 } },
  ];
  assertEquals(
    benchTable(rows),
    [
      "what    OrderFlow  beside it  ratio  to reach",
      "accept   1,500 /s   1,000 /s   1.50       ≥ 1  reached",
      "accept   1,000 /s   1,000 /s   1.00            generator: 20 %",
      "idle       3.25 %                         ≤ 3  NOT reached",
    ].join("\n"),
  );
  assertEquals(isReached({ ...row, ours: 1000 }), true, "a bound that is met exactly");
});

Deno.test("medianRows() takes of each line the run in the middle, by its ratio", () => {
  const runs = [900, 2000, 1200].map((ours) => [{ ...row, ours }]);
  assertEquals([medianRows(runs).map(({ ours }) => ours), medianRows([])], [[1200], []]);
});

Deno.test("accepting is compared by the medians of the rounds: more orders, and a lower p99", () => {
  const round = (perSecond: number, p99: number) => ({ perSecond, p50: p99 / 2, p99, cpuShare: 0.25 });
  const rows = acceptRows(64, 2, {
    ours: [round(900, 80), round(4000, 10), round(4200, 12)],
    beside: [round(2000, 20), round(1900, 18), round(100, 500)],
  });
  assertEquals(rows.map(({ what, ours, beside }) => [what, ours, beside]), [
    ["accept, 64 connections: orders", 4000, 1900],
    ["accept, 64 connections: p50", 6, 10],
    ["accept, 64 connections: p99", 12, 20],
  ]);
  assertEquals(rows.map(isReached), [true, null, true]);
  assertEquals(rows[0]?.note, "the load generator took 25 % of a core, the naive client 25 %");
});

const stat = (pid: number, program: string, parent: number, user: number, system: number) =>
  `${pid} (${program}) S ${parent} 1 1 0 -1 4194560 1 2 3 4 ${user} ${system} 0 0 20 0 1 0 100 1000 512 10\n`;

Deno.test("usedBetween() tells our processes, the broker and the others apart, new ones and odd names included", () => {
  const before = stat(10, "deno", 1, 100, 0) + stat(11, "deno", 10, 100, 0) + stat(12, "deno", 10, 100, 0) +
    stat(20, "postgres", 1, 100, 0);
  const after = stat(10, "deno", 1, 110, 0) + stat(11, "deno", 10, 200, 0) + "cat: no such file\n" +
    stat(12, "deno", 10, 100, 50) + stat(20, "postgres", 1, 100, 0) + stat(21, "postgres", 20, 300, 0) +
    stat(30, "beam.smp", 1, 5, 5) + stat(31, "a (b) c", 1, 7, 0);
  const used = usedBetween(before, after, new Map([["api", 11], ["gone", 99]]), 10);
  const hundredths = Object.fromEntries(
    [...used].map(([name, seconds]) => [name, Math.round(seconds * 100)]),
  );
  assertEquals(hundredths, { api: 100, gone: 0, benchmark: 10, broker: 60, postgres: 300, others: 7 });
});
