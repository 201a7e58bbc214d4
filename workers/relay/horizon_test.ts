import { assertEquals } from "@std/assert";
import { firstIdOf } from "../../shared/sql/outbox.ts";
import { EVERYTHING, lookAfter, nextHorizon } from "./horizon.ts";

const startedAt = new Date("2026-01-02T03:04:05Z");
const lastId = firstIdOf(new Date("2026-01-02T03:04:04Z"));
const behindLast = firstIdOf(new Date("2026-01-02T03:03:59Z"));
const look = { after: null, hadRoom: true, lastId, startedAt, endedMs: 10_000, tookMs: 2 };

Deno.test("nextHorizon() looks five seconds back from the last event for a second, then at everything", () => {
  const horizon = nextHorizon(EVERYTHING, look);
  assertEquals(horizon, { after: behindLast, untilMs: 11_000 });
  assertEquals(lookAfter(horizon, 10_999), behindLast);
  assertEquals(lookAfter(horizon, 11_000), null);
});

Deno.test("nextHorizon() stays where it is when nothing is found, and quick looks do not put off the full one", () => {
  const full = nextHorizon(EVERYTHING, { ...look, hadRoom: false });
  const quick = nextHorizon(full, { ...look, after: full.after, lastId: null, endedMs: 10_500 });
  assertEquals(quick, { after: behindLast, untilMs: 11_000 });
});

Deno.test("nextHorizon() is misled neither by a relay's clock that is fast, nor by a producer's", () => {
  const fastRelay = nextHorizon(EVERYTHING, { ...look, startedAt: new Date("2026-01-02T04:00:00Z") });
  assertEquals(fastRelay.after, behindLast);
  const fromTheFuture = firstIdOf(new Date("2026-01-02T04:00:00Z"));
  const fastProducer = nextHorizon(EVERYTHING, { ...look, lastId: fromTheFuture });
  assertEquals(fastProducer.after, firstIdOf(new Date("2026-01-02T03:04:00Z")));
});

Deno.test("nextHorizon() looks at everything again while events that were refused before fill the batches", () => {
  assertEquals(nextHorizon(EVERYTHING, { ...look, hadRoom: false, lastId: null }), EVERYTHING);
});

Deno.test("nextHorizon() looks at everything the less often the longer that takes", () => {
  assertEquals(nextHorizon(EVERYTHING, { ...look, tookMs: 200 }).untilMs, 14_000);
});
