import { assertEquals } from "@std/assert";
import { type BenchRow, benchTable, medianRows } from "./bench.ts";

const row: BenchRow = { what: "accept", unit: "/s", ours: 1500, beside: 1000, goal: { atLeast: 1 } };

Deno.test("benchTable() has a line for each row, with its ratio and whether that is enough", () => {
  const rows = [row, { ...row, what: "idle", unit: "%", ours: 3.25, beside: null, goal: { atMost: 3 } }];
  assertEquals(
    benchTable(rows),
    [
      "| what   | OrderFlow | beside it | ratio | to reach |             |",
      "| ------ | --------: | --------: | ----: | -------: | ----------- |",
      "| accept |  1,500 /s |  1,000 /s |  1.50 |      ≥ 1 | reached     |",
      "| idle   |    3.25 % |           |       |      ≤ 3 | NOT reached |",
    ].join("\n"),
  );
});

Deno.test("a bound that is met exactly is reached; a row without a goal says only its note", () => {
  const met = { ...row, ours: 1000 };
  assertEquals(benchTable([met]).includes(" reached "), true);
  const open = benchTable([{ ...row, goal: null, note: "generator: 20 %" }]);
  assertEquals(/reached/.test(open), false);
  assertEquals(/generator: 20 %/.test(open), true);
});

Deno.test("medianRows() takes of each line the run in the middle, by its ratio", () => {
  const runs = [900, 2000, 1200].map((ours) => [{ ...row, ours }]);
  assertEquals(medianRows(runs).map(({ ours }) => ours), [1200]);
  assertEquals(medianRows([]), []);
});
