import { assertEquals, assertGreater } from "@std/assert";
import { describeShares, parseStats, startMachineMeter, usedBetween } from "./cost_part.ts";

const stat = (pid: number, program: string, parent: number, user: number, system: number) =>
  `${pid} (${program}) S ${parent} 1 1 0 -1 4194560 1 2 3 4 ${user} ${system} 0 0 20 0 1 0 100 1000 512 10`;

Deno.test("parseStats reads a process whose name has spaces and brackets, and skips what is no process", () => {
  const read = parseStats([stat(7, "a (b) c", 1, 150, 50), "cat: no such file", ""].join("\n"));
  assertEquals(read, new Map([[7, { program: "a (b) c", parent: 1, cpuSeconds: 2 }]]));
});

Deno.test("usedBetween tells our processes, the broker and the others apart, new ones included", () => {
  const before = parseStats([
    stat(10, "deno", 1, 100, 0),
    stat(11, "deno", 10, 100, 0),
    stat(12, "deno", 10, 100, 0),
    stat(20, "postgres", 1, 100, 0),
  ].join("\n"));
  const after = parseStats([
    stat(10, "deno", 1, 110, 0),
    stat(11, "deno", 10, 200, 0),
    stat(12, "deno", 10, 100, 50),
    stat(20, "postgres", 1, 100, 0),
    stat(21, "postgres", 20, 300, 0),
    stat(30, "beam.smp", 1, 5, 5),
    stat(31, "deno", 1, 7, 0),
  ].join("\n"));
  const used = usedBetween(before, after, new Map([["api", 11], ["gone", 99]]), 10);
  const hundredths = Object.fromEntries(
    [...used].map(([name, seconds]) => [name, Math.round(seconds * 100)]),
  );
  assertEquals(hundredths, { api: 100, gone: 0, benchmark: 10, broker: 60, postgres: 300, others: 7 });
});

Deno.test("describeShares names the largest first and leaves out what is next to nothing", () => {
  const cpuSeconds = new Map([["api", 0.5], ["idle", 0.01], ["postgres", 1.25]]);
  assertEquals(describeShares({ seconds: 2, cpuSeconds }), "postgres 0.63, api 0.25");
});

Deno.test(
  "startMachineMeter sees what this very process uses",
  { ignore: Deno.build.os !== "linux" },
  async () => {
    const meter = await startMachineMeter(new Map([["me", Deno.pid]]));
    for (const until = performance.now() + 100; performance.now() < until;);
    assertGreater((await meter.read()).cpuSeconds.get("me") ?? 0, 0);
  },
);
