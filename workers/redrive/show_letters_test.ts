import { assertEquals } from "@std/assert";
import { showLetters, showOutcome } from "./show_letters.ts";

const letter = {
  id: "0190",
  consumer: "payments.order-created.v1",
  eventType: "order.created",
  orderId: "7",
  reason: "retries exhausted",
  lastFailedAt: "2026-11-22T12:00:00.000Z",
  state: "OPEN" as const,
  resolution: null,
};

Deno.test("showLetters() has the count and the first ten in columns", () => {
  const broken = { ...letter, eventType: null, orderId: null, reason: "invalid" };
  assertEquals(showLetters({ letters: [letter, broken], more: false }), [
    "2 dead letters, oldest first:",
    "  0190  2026-11-22T12:00:00.000Z  payments.order-created.v1  order.created  retries exhausted, order 7",
    "  0190  2026-11-22T12:00:00.000Z  payments.order-created.v1  no event       invalid",
  ]);
  const many = showLetters({ letters: Array(12).fill(letter), more: true });
  assertEquals(many.slice(11), [
    "  and 2 more",
    "There are more: these are the newest 12. Run it again for the rest.",
  ]);
  assertEquals(showLetters({ letters: [letter], more: false })[0], "1 dead letter, oldest first:");
});

Deno.test("showOutcome() has a line for each kind of end, and why the broker refused", () => {
  const none = { redriven: 0, alreadyProcessed: 0, discarded: 0, gone: 0, refused: [], untouched: 0 };
  assertEquals(showOutcome(none), []);
  const refused = Array.from({ length: 11 }, (_, i) => ({ id: `${i}`, error: "NO_ROUTE" }));
  const lines = showOutcome({ ...none, redriven: 3, alreadyProcessed: 1, gone: 2, refused, untouched: 4 });
  assertEquals(lines.slice(0, 6), [
    "3 dead letters sent to their consumers again.",
    "1 dead letter closed unsent: their consumers have processed the event meanwhile.",
    "2 dead letters dealt with by somebody else meanwhile.",
    "11 dead letters left open: the broker did not take them.",
    "4 dead letters left open: it was cancelled before.",
    "  0: NO_ROUTE",
  ]);
  assertEquals([lines.length, lines.at(-1)], [16, "  and 1 more"]);
  assertEquals(showOutcome({ ...none, discarded: 1 }), ["1 dead letter discarded."]);
});
