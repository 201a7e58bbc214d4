import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { amountSchema } from "./money.ts";

Deno.test("amountSchema accepts positive decimals that fit numeric(12,2), with two places", () => {
  for (
    const [given, kept] of [["49.9", "49.90"], ["1", "1.00"], ["0.01", "0.01"], [
      "9999999999.99",
      "9999999999.99",
    ]]
  ) {
    assertEquals(amountSchema.parse(given), kept);
  }
});

Deno.test("amountSchema refuses what is not such a decimal", () => {
  const bad = [
    "",
    "0",
    "0.00",
    "-1",
    "+1",
    "1.",
    ".5",
    "1.234",
    "1e3",
    "01",
    "10000000000",
    " 1",
    "1 ",
    "1,5",
    "NaN",
    "١",
  ];
  for (const amount of [...bad, 49.9, null, undefined, {}, true]) {
    assertEquals(amountSchema.safeParse(amount).success, false, JSON.stringify(amount));
  }
});

Deno.test("amountSchema keeps its own output as it is, and the value in cents", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 999_999_999_999 }), (cents) => {
    const text = `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, "0")}`;
    assertEquals(amountSchema.parse(text), text);
  }));
});
