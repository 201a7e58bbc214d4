import { assert, assertEquals } from "@std/assert";
import { QUEUE_KEYS } from "../shared/topology.ts";
import { layoutMachine, type NodeBox } from "./machine_layout.ts";

const layout = layoutMachine();

Deno.test("layoutMachine() has a node for every part, each once and inside the drawing", () => {
  const ids = layout.nodes.map(({ id }) => id);
  const rows = QUEUE_KEYS.flatMap((key) => [`queue:${key}`, `consumer:${key}`]);
  assertEquals(new Set<string>(ids), new Set(["api", "outbox", "relay", "exchange", "tables", ...rows]));
  assertEquals(new Set(ids).size, ids.length);
  for (const { id, x, y, width, height } of layout.nodes) {
    assert(x >= 0 && y >= 0 && x + width <= layout.width && y + height <= layout.height, id);
  }
});

Deno.test("layoutMachine() lets no two nodes overlap", () => {
  const overlap = (a: NodeBox, b: NodeBox) =>
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
  for (const a of layout.nodes) {
    for (const b of layout.nodes) assert(a === b || !overlap(a, b), `${a.id} ${b.id}`);
  }
});

Deno.test("every edge of layoutMachine() begins and ends at the border of its two nodes", () => {
  for (const { id, path } of layout.edges) {
    const [from = "", rest = ""] = id.split("-");
    const [to = "", key] = rest.split(":");
    const numbers = path.match(/-?\d+(\.\d+)?/g)?.map(Number) ?? [];
    const boxOf = (part: string) =>
      layout.nodes.find((node) => node.id === part || node.id === `${part}:${key}`);
    const [start, end] = [boxOf(from), boxOf(to)];
    assert(start && end, id);
    assert(touches(start, numbers[0] ?? NaN, numbers[1] ?? NaN), `${id} begins at ${start.id}`);
    const last = numbers.at(-1) ?? NaN;
    const x = /H[-\d.]+$/.test(path) ? last : /V[-\d.]+$/.test(path) ? null : numbers.at(-2) ?? NaN;
    const y = /H[-\d.]+$/.test(path) ? null : last;
    assert(x === null || x === end.x, `${id} ends at ${end.id}`);
    assert(y === null || (y >= end.y && y <= end.y + end.height), `${id} ends at ${end.id}`);
  }
});

function touches({ x, y, width, height }: NodeBox, px: number, py: number): boolean {
  const isInside = px >= x && px <= x + width && py >= y && py <= y + height;
  return isInside && (px === x || px === x + width || py === y || py === y + height);
}
