import { assertEquals } from "@std/assert";
import { firstIdOf } from "../../shared/sql/outbox.ts";
import { EVERYTHING, lookAfter, nextHorizon } from "./horizon.ts";

const startedAt = new Date("2026-01-02T03:04:05Z");
const lastId = firstIdOf(new Date("2026-01-02T03:03:30Z"));
const look = { after: null, hadRoom: true, lastId, startedAt, endedMs: 10_000, tookMs: 2 };

Deno.test("nextHorizon() looks two seconds back for a second, once all that is older is known to be gone", () => {
  const horizon = nextHorizon(EVERYTHING, look);
  assertEquals(horizon, { after: firstIdOf(new Date("2026-01-02T03:04:03Z")), untilMs: 11_000 });
  assertEquals(nextHorizon(EVERYTHING, { ...look, lastId: null }), horizon);
  assertEquals(lookAfter(horizon, 10_999), horizon.after);
  assertEquals(lookAfter(horizon, 11_000), null);
});

Deno.test("nextHorizon() follows a backlog from its last event on, and quick looks do not put off the full one", () => {
  const full = nextHorizon(EVERYTHING, { ...look, hadRoom: false });
  assertEquals(full, { after: firstIdOf(new Date("2026-01-02T03:03:28Z")), untilMs: 11_000 });
  const quick = nextHorizon(full, { ...look, after: full.after, endedMs: 10_500 });
  assertEquals(quick, { after: firstIdOf(new Date("2026-01-02T03:04:03Z")), untilMs: 11_000 });
});

Deno.test("nextHorizon() looks at everything again while events that were refused before fill the batches", () => {
  assertEquals(nextHorizon(EVERYTHING, { ...look, hadRoom: false, lastId: null }), EVERYTHING);
});

Deno.test("nextHorizon() looks at everything the less often the longer that takes", () => {
  assertEquals(nextHorizon(EVERYTHING, { ...look, tookMs: 200 }).untilMs, 14_000);
});
