import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { PROCESSES } from "../../workers/dev/processes.ts";
import { countByKind, describeFault, FAULT_KINDS, scheduleFaults } from "./schedule.ts";

const plan = fc.record({
  seed: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  orders: fc.integer({ min: 1, max: 20_000 }),
  faults: fc.integer({ min: 0, max: 150 }),
});

Deno.test("scheduleFaults() gives the same schedule for the same seed", () => {
  fc.assert(fc.property(plan, (p) => assertEquals(scheduleFaults(p), scheduleFaults({ ...p }))));
});

Deno.test("scheduleFaults() gives another schedule for another seed", () => {
  const schedules = Array.from({ length: 100 }, (_, seed) => {
    return JSON.stringify(scheduleFaults({ seed, orders: 1000, faults: 20 }));
  });
  assertEquals(new Set(schedules).size, 100);
});

Deno.test("scheduleFaults() lets as many faults strike as asked for, in order, while there is load", () => {
  fc.assert(fc.property(plan, (p) => {
    const moments = scheduleFaults(p).map(({ at }) => at);
    assertEquals(moments.length, p.faults);
    assertEquals(moments, moments.toSorted((a, b) => a - b));
    assert(moments.every((at) => at >= 1 && at <= Math.max(1, p.orders * 0.95)));
  }));
});

Deno.test("scheduleFaults() has every kind among 12 faults, and kills every process among 36", () => {
  fc.assert(fc.property(plan, (p) => {
    const counts = countByKind(scheduleFaults({ ...p, faults: 12 }));
    assertEquals(Object.entries(counts).filter(([, count]) => count === 0), []);
    const faults = scheduleFaults({ ...p, faults: 36 });
    const killed = new Set(faults.filter(({ kind }) => kind === "kill").map(({ target }) => target));
    assertEquals([...killed].toSorted(), PROCESSES.map(({ name }) => name).toSorted());
  }));
});

Deno.test("countByKind() counts each fault once", () => {
  fc.assert(fc.property(plan, (p) => {
    const counts = countByKind(scheduleFaults(p));
    assertEquals(Object.keys(counts), Object.keys(FAULT_KINDS));
    assertEquals(Object.values(counts).reduce((sum, count) => sum + count, 0), p.faults);
  }));
});

Deno.test("describeFault() says when, what, to whom and how much", () => {
  const fault = {
    number: 3,
    at: 120,
    kind: "cut",
    target: "broker",
    lastsMs: 700,
    messages: 0,
    seed: 1,
  } as const;
  assertEquals(describeFault(fault), "fault 3 at order 120: cut broker, 700 ms");
});

Deno.test("project.md's table of faults is FAULT_KINDS", () => {
  const text = Deno.readTextFileSync(new URL("../project.md", import.meta.url));
  const [, chaos = ""] = text.split("\n## Chaos\n");
  const rows = [...chaos.matchAll(/^\| `(\w+)` +\| (.+?) +\|$/gm)].map(([, kind, what]) => [kind, what]);
  assertEquals(rows.slice(0, Object.keys(FAULT_KINDS).length), Object.entries(FAULT_KINDS));
  assertEquals(chaos.split("\n## ")[0]?.match(/^\| `/gm)?.length, Object.keys(FAULT_KINDS).length);
});
