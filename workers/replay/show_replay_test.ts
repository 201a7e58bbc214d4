import { assertEquals } from "@std/assert";
import { showEnd, showSet } from "./show_replay.ts";

const replay = {
  id: "r1",
  state: "PREPARED",
  total: 12,
  alreadyProcessed: 3,
  sent: 0,
  skipped: 0,
  lastError: null,
  reason: null,
} as const;

Deno.test("showSet() has the count, the first ten messages in columns, and where the others are", () => {
  const at = "2026-11-22T17:15:43.113Z";
  const event = { eventId: "e", consumer: "payments", type: "order.created", orderId: "o1", occurredAt: at };
  const pruned = { eventId: "e", consumer: "payments", type: null, orderId: null, occurredAt: null };
  const lines = showSet(replay, { events: [event, pruned, ...Array(10).fill(event)] });
  assertEquals(lines.slice(0, 4), [
    "Replay r1: 12 messages.",
    "3 of them their consumer has processed: it will absorb those, and count the repeat.",
    `  ${at}  order.created  order o1  payments`,
    `  pruned                    -              -         payments`,
  ]);
  assertEquals(lines.length, 2 + 10 + 1);
  assertEquals(lines.at(-1), "  and 2 more: /ops/replays/r1/events");
});

Deno.test("showEnd() says how many were sent or skipped, and why it ended early", () => {
  const done = { ...replay, state: "DONE", sent: 12, skipped: 2 } as const;
  assertEquals(showEnd(done), "Done: 12 messages, 2 of them skipped: their events are too old or pruned.");
  const ended = { ...replay, state: "CANCELLED", sent: 4, reason: "enough" } as const;
  assertEquals(showEnd(ended), "Cancelled after 4 of 12 messages: enough.");
});
