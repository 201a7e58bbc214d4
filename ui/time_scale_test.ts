import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { LABEL, labelExtent, placeOf, scaleLabels, scalePieces } from "./time_scale.ts";

/** Times as stories have them: clusters of milliseconds, with waits of any length between. */
const times = fc.array(
  fc.oneof(
    fc.integer({ min: 0, max: 100 }),
    fc.integer({ min: 0, max: 100_000 }),
    fc.integer({ min: 0, max: 1e9 }),
  ),
  { minLength: 1, maxLength: 30 },
);

Deno.test("scalePieces() covers the axis from 0 to 1 without a gap, and never runs backwards", () => {
  fc.assert(fc.property(times, (times) => {
    const pieces = scalePieces(times);
    assertEquals(pieces[0]?.x0, 0);
    assertEquals(pieces.at(-1)?.x1, 1);
    assertEquals(pieces[0]?.from, Math.min(...times));
    assertEquals(pieces.at(-1)?.to, Math.max(...times));
    for (const [index, piece] of pieces.entries()) {
      assert(piece.x1 >= piece.x0);
      const next = pieces[index + 1];
      if (next) assertEquals([next.from, next.x0], [piece.to, piece.x1]);
    }
  }));
});

Deno.test("placeOf() puts each time on the axis, and a later one never before an earlier one", () => {
  fc.assert(fc.property(times, (times) => {
    const pieces = scalePieces(times);
    const sorted = [...times].sort((a, b) => a - b);
    const places = sorted.map((time) => placeOf(pieces, time));
    for (const [index, place] of places.entries()) {
      assert(place >= 0 && place <= 1);
      assert(place >= (places[index - 1] ?? 0));
      const before = sorted[index - 1];
      if (before !== undefined && before < (sorted[index] ?? 0)) assert(place > (places[index - 1] ?? 0));
    }
    assertEquals(placeOf(pieces, Math.max(...times) + 1) <= 1, true);
  }));
});

Deno.test("scaleLabels() lets no two labels overlap, and none stick out", () => {
  fc.assert(fc.property(times, (times) => {
    const extents = scaleLabels(scalePieces(times)).map(labelExtent);
    for (const [index, [from, to]] of extents.entries()) {
      assert(from > -1e-9 && to < 1 + 1e-9);
      const others = extents.slice(index + 1);
      assert(others.every(([otherFrom, otherTo]) => otherFrom >= to || otherTo <= from));
    }
  }));
});

Deno.test("a wait that is 100 times all others is cut down and labelled, and the others keep most of the axis", () => {
  const pieces = scalePieces([0, 10, 20, 30, 8030, 8040, 8050]);
  const breaks = pieces.filter(({ isBreak }) => isBreak);
  assertEquals(breaks.map(({ from, to }) => [from, to]), [[30, 8030]]);
  const width = (breaks[0]?.x1 ?? 0) - (breaks[0]?.x0 ?? 0);
  assert(width >= 3 * LABEL.char && width < 0.25);
  assertEquals(scaleLabels(pieces).filter(({ isBreak }) => isBreak).map(({ text }) => text), ["8.0 s"]);
});

Deno.test("a story of even steps has no break", () => {
  assertEquals(scalePieces([0, 10, 25, 30, 70]).length, 1);
});

Deno.test("after a break the axis says where it goes on", () => {
  const labels = scaleLabels(scalePieces([0, 10, 20, 30, 8030, 8040, 8050]));
  assert(labels.some(({ text, isBreak }) => text === "8.0 s" && !isBreak), JSON.stringify(labels));
});
