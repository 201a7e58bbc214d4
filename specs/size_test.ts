import { assert, assertEquals } from "@std/assert";
import { runTask } from "./support/run_task.ts";
import { partsOf, readingList } from "./size.ts";

Deno.test("partsOf() counts source by folder, tests apart, and the way in the order in which it is read", () => {
  const lines = new Map([
    ["shared/events.ts", 200],
    ["shared/sql/outbox.ts", 90],
    ["shared/events_test.ts", 50],
    ["shared/embedded/postgres.ts", 30],
    ["api/orders.ts", 100],
    ["ui/page.tsx", 7],
    ["ui/page.css", 11],
    ["specs/browser/page_browser.ts", 5],
    ["README.md", 160],
  ]);
  const way = readingList(
    "1. `shared/events.ts`: what?\n2. `shared/sql/outbox.ts`: how?\n3. `api/orders.ts`: who?\n",
  );
  const parts = new Map(partsOf(lines, way).map(({ part, now }) => [part, now]));
  const found = [...parts].filter(([, now]) => now > 0);
  assertEquals(Object.fromEntries(found), {
    "the way of an order: files": 3,
    "the way of an order: lines": 390,
    "the way of an order: changes of folder": 2,
    "shared without embedded": 290,
    embedded: 30,
    api: 100,
    "ui, TypeScript": 7,
    "ui, CSS": 11,
    "all TypeScript that is no test": 427,
    tests: 55,
    files: 9,
    "README.md": 160,
  });
});

Deno.test("deno task size prints a row for each part, with its figure and what it may be", async () => {
  const { code, out, err } = await runTask("size", []);
  assertEquals(code, 0, err);
  const rows = out.trim().split("\n").slice(1);
  assertEquals(rows.length, partsOf(new Map(), []).length);
  for (const row of rows) assert(/ [\d,]+ +[\d,]+( +[\d,]+ over)?$/.test(row), row);
});
