import { assertEquals } from "@std/assert";
import { counted, duration, listOf } from "./words.ts";

Deno.test("duration() names the two largest units that say something", () => {
  const cases: [number, string][] = [
    [-5, "0 ms"],
    [0, "0 ms"],
    [0.4, "<1 ms"],
    [840, "840 ms"],
    [999.6, "1.0 s"],
    [8000, "8.0 s"],
    [59_960, "1 min"],
    [80_000, "1 min 20 s"],
    [7_500_000, "2 h 5 min"],
    [273_600_000, "3 d 4 h"],
  ];
  for (const [ms, words] of cases) assertEquals(duration(ms), words);
});

Deno.test("counted() and listOf() speak English", () => {
  assertEquals([counted(1, "order"), counted(2000, "order"), counted(0, "retry", "retries")], [
    "1 order",
    "2,000 orders",
    "0 retries",
  ]);
  assertEquals([listOf([]), listOf(["a"]), listOf(["a", "b"]), listOf(["a", "b", "c"])], [
    "",
    "a",
    "a and b",
    "a, b, and c",
  ]);
});
