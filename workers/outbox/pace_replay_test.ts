import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { DueReplay } from "../../shared/sql/replay_progress.ts";
import { MAX_REPLAY_RATE } from "../../shared/replay.ts";
import { MAX_REPLAY_TRIES, paceOf, progressAfter, type ReplayTry } from "./pace_replay.ts";

Deno.test("paceOf() sends a tenth of the rate ten times a second, and slow ones one by one", () => {
  assertEquals(paceOf(200), { size: 20, everyMs: 100 });
  assertEquals(paceOf(5000), { size: 500, everyMs: 100 });
  assertEquals(paceOf(1), { size: 1, everyMs: 1000 });
  assertEquals(paceOf(7), { size: 1, everyMs: 143 });
});

Deno.test("paceOf() puts no more than the rate into any second, however long each sending takes", () => {
  const rates = fc.integer({ min: 1, max: MAX_REPLAY_RATE });
  const sendings = fc.array(fc.record({ tookMs: fc.nat(2000), lateMs: fc.nat(50) }), { maxLength: 40 });
  fc.assert(fc.property(rates, sendings, (rate, sendings) => {
    const { size, everyMs } = paceOf(rate);
    const spans: { from: number; to: number }[] = [];
    let at = 0;
    for (const { tookMs, lateMs } of sendings) {
      spans.push({ from: at + lateMs, to: at + lateMs + tookMs });
      at += lateMs + tookMs + everyMs;
    }
    // The worst second begins at the last message of a sending, and has all of those that begin within it.
    for (const { to: begin } of spans) {
      const inside = spans.filter(({ from, to }) => to >= begin && from < begin + 1000);
      assert(
        inside.length * size <= rate,
        `${inside.length} sendings of ${size} within a second, of ${rate}`,
      );
    }
  }));
});

const replay: DueReplay = { id: "r", total: 6, sent: 2, skipped: 1, rate: 20, retryCount: 3 };

function tried(confirmed: number[], skipped: number[] = [], error: string | null = null): ReplayTry {
  const messages = [3, 4, 5].map((position) => ({ position, eventId: `e${position}`, consumer: "c" }));
  return { messages, confirmed: new Set(confirmed), skipped: new Set(skipped), error };
}

Deno.test("progressAfter() goes on behind what was sent or skipped, at the replay's pace", () => {
  const well = { skipped: 1, retryCount: 0, error: null };
  assertEquals(progressAfter(replay, tried([3, 4, 5]), 0.5), {
    ...well,
    state: "RUNNING",
    sent: 5,
    dueInMs: 100,
  });
  assertEquals(progressAfter(replay, tried([3, 5], [4]), 0.5), {
    ...well,
    skipped: 2,
    state: "RUNNING",
    sent: 5,
    dueInMs: 100,
  });
  assertEquals(progressAfter({ ...replay, total: 5 }, tried([3, 4, 5]), 0.5), {
    ...well,
    state: "DONE",
    sent: 5,
  });
});

Deno.test("progressAfter() stops before the first message that is missing, and tries again later", () => {
  const some = progressAfter(replay, tried([3, 5], [], "NO_ROUTE"), 0.5);
  assertEquals(some, {
    state: "RUNNING",
    sent: 3,
    skipped: 1,
    retryCount: 1,
    error: "NO_ROUTE",
    dueInMs: 500,
  });
  const none = progressAfter(replay, tried([4, 5], [], "NO_ROUTE"), 0.5);
  assertEquals([none.sent, none.retryCount, none.state === "RUNNING" && none.dueInMs], [2, 4, 32_000]);
  const unanswered = progressAfter(replay, tried([]), 0.5);
  assertEquals(unanswered.error, "the broker gave no answer");
});

Deno.test("progressAfter() ends a replay after so many tries in a row, with the reason", () => {
  const last = progressAfter({ ...replay, retryCount: MAX_REPLAY_TRIES - 1 }, tried([], [], "NO_ROUTE"), 0.5);
  assertEquals([last.state, last.sent], ["CANCELLED", 2]);
  assertEquals(
    last.state === "CANCELLED" && last.reason,
    `given up after ${MAX_REPLAY_TRIES} tries in a row: NO_ROUTE`,
  );
  const moved = progressAfter({ ...replay, retryCount: MAX_REPLAY_TRIES - 1 }, tried([3], [], "NO_ROUTE"), 0);
  assertEquals([moved.state, moved.retryCount], ["RUNNING", 1]);
});

Deno.test("progressAfter() ends a replay whose set is gone, and counts the rest as skipped", () => {
  const gone = progressAfter(replay, { ...tried([]), messages: [] }, 0.5);
  assertEquals(gone, { state: "DONE", sent: 6, skipped: 5, retryCount: 0, error: null });
});
