import { assertEquals } from "@std/assert";
import { formatAge, formatMillis, formatMoney, formatTime, shortId } from "./format.ts";

Deno.test("formatAge() counts whole units, and calls what lies ahead just now", () => {
  const now = Date.parse("2026-01-02T00:00:00.000Z");
  const ago = (seconds: number) => formatAge(new Date(now - seconds * 1000).toISOString(), now);
  assertEquals([-3, 0, 12, 61, 7200, 200_000].map(ago), [
    "just now",
    "just now",
    "12 s ago",
    "1 min ago",
    "2 h ago",
    "2 d ago",
  ]);
});

Deno.test("formatTime() and formatMillis() are in UTC", () => {
  assertEquals(formatTime("2026-01-02T03:04:05.678Z"), "03:04:05");
  assertEquals(formatMillis("2026-01-02T03:04:05.678Z"), "03:04:05.678");
});

Deno.test("formatMoney() sets thousands apart and leaves the places alone", () => {
  assertEquals(["49.90", "1234.50", "9999999999.99", "0.01"].map(formatMoney), [
    "49.90",
    "1,234.50",
    "9,999,999,999.99",
    "0.01",
  ]);
});

Deno.test("shortId() keeps both ends", () => {
  assertEquals(shortId("019b7c00-0000-7000-8000-0000000012ab"), "019b7c00…12ab");
  assertEquals(shortId("short"), "short");
});
