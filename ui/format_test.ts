import { assertEquals } from "@std/assert";
import { formatAge, formatMillis, formatMoney, formatTime, shortId } from "./format.ts";

const NOW = Date.parse("2026-01-02T00:00:00.000Z");
const ago = (seconds: number) => formatAge(new Date(NOW - seconds * 1000).toISOString(), NOW);

Deno.test("ages count whole units, times are in UTC, money has its thousands apart, ids keep both ends", () => {
  const ages = ["just now", "just now", "12 s ago", "1 min ago", "2 h ago", "2 d ago"];
  assertEquals([-3, 0, 12, 61, 7200, 200_000].map(ago), ages);
  assertEquals(formatTime("2026-01-02T03:04:05.678Z"), "03:04:05");
  assertEquals(formatMillis("2026-01-02T03:04:05.678Z"), "03:04:05.678");
  const money = {
    "49.90": "49.90",
    "1234.50": "1,234.50",
    "9999999999.99": "9,999,999,999.99",
    "0.01": "0.01",
  };
  assertEquals(Object.keys(money).map(formatMoney), Object.values(money));
  assertEquals(shortId("019b7c00-0000-7000-8000-0000000012ab"), "019b7c00…12ab");
  assertEquals(shortId("short"), "short");
});
