import { assertEquals } from "@std/assert";
import { duration } from "./duration.ts";

Deno.test("duration() has the two largest units, without the second where that is 0", () => {
  const cases: [number, string][] = [
    [-1, "0 s"],
    [0.9, "0 s"],
    [59.9, "59 s"],
    [60, "1 min"],
    [184, "3 min 4 s"],
    [7200, "2 h"],
    [7261, "2 h 1 min"],
    [86_399, "23 h 59 min"],
    [3 * 86_400 + 7200, "3 d 2 h"],
  ];
  for (const [seconds, text] of cases) assertEquals(duration(seconds), text);
});
