import { assertEquals } from "@std/assert";
import { areaPath, largest, linePath, niceMax, type Sample, withSample } from "./chart_scale.ts";
import { TEST_START, testPulse } from "./testdata/test_pulse.ts";

/** Samples with these pending events at these seconds. */
function samples(...points: [second: number, pending: number | null][]): Sample[] {
  return points.map(([second, pending]) => ({
    at: TEST_START + second * 1000,
    orders: null,
    events: null,
    pending,
    p50: null,
    p99: null,
  }));
}

const plot = { width: 180, height: 100, max: 10, now: TEST_START + 180_000 };

Deno.test("linePath() maps the window to the plot's width and the values to its height", () => {
  assertEquals(linePath(samples([170, 0], [175, 5], [180, 10]), "pending", plot), "M170 100L175 50 180 0");
});

Deno.test("linePath() never crosses a gap, be it a silence or a figure that was not there", () => {
  assertEquals(
    linePath(samples([0, 1], [5, 1], [60, 1], [65, 1]), "pending", plot),
    "M0 90L5 90M60 90L65 90",
  );
  assertEquals(linePath(samples([0, 1], [1, null], [2, 1]), "pending", plot), "M0 90h0M2 90h0");
  assertEquals(linePath([], "pending", plot), "");
});

Deno.test("areaPath() closes each run at the bottom, and leaves single points out", () => {
  assertEquals(areaPath(samples([0, 10], [5, 10], [60, 1]), "pending", plot), "M0 100L0 0 5 0 5 100Z");
});

Deno.test("niceMax() is 1, 2 or 5 times a power of ten, and never below the value", () => {
  assertEquals([0, 1, 1.5, 3, 7, 10, 11, 240, 600].map(niceMax), [1, 1, 2, 5, 10, 10, 20, 500, 1000]);
});

Deno.test("withSample() keeps one sample a second of the last three minutes, the latest of each second", () => {
  let kept: readonly Sample[] = [];
  for (const second of [0, 100, 181, 181.25, 181.5, 182]) {
    kept = withSample(kept, testPulse(second, { outbox: { pending: second * 4, oldestSeconds: 0 } }));
  }
  assertEquals(kept.map(({ pending }) => pending), [400, 726, 728]);
  assertEquals(withSample(kept, testPulse(182)), kept, "the same pulse again adds nothing");
  assertEquals(largest(kept, ["pending", "p99"]), 728);
  assertEquals(largest([], ["pending"]), 0);
});
