import { assertEquals } from "@std/assert";
import { frameOf } from "./screen.ts";

Deno.test("frameOf() writes each line over the old one, and never clears the whole screen", () => {
  assertEquals(
    frameOf(["one", "\x1b[31mtwo\x1b[0m"], { columns: 20, rows: 5 }),
    "\x1b[Hone\x1b[K\r\n\x1b[31mtwo\x1b[0m\x1b[K\x1b[J",
  );
});

Deno.test("frameOf() leaves away what does not fit, wrapped lines counted, and says so", () => {
  const lines = ["one", "0123456789ab", "three", "four"];
  const shown = (rows: number) =>
    frameOf(lines, { columns: 10, rows }).replaceAll("\x1b[K", "").split("\r\n").slice(1);
  assertEquals(shown(6), ["0123456789ab", "three", "four\x1b[J"]);
  assertEquals(shown(5), ["0123456789ab", "three", "… 1 more l\x1b[J"]);
  assertEquals(shown(3), ["… 3 more l\x1b[J"]);
});
