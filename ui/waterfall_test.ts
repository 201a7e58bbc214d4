import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { TimelineEntryJson } from "../shared/ops/answers.ts";
import { isHeldUp, isSettled, readStoryEvents } from "./story_events.ts";
import { entry, HELD_UP, REFUNDED, START, testStory } from "./testdata/stories.ts";
import { layoutWaterfall } from "./waterfall.ts";

const placed = entry(0, 0, null, { kind: "status", from: null, to: "PENDING" });
const ORDER_CREATED = "order.created";
const PAYMENTS = "payments.order-created.v1";

Deno.test("layoutWaterfall() gives each event a row with its wait in the outbox, and one per consumer below it", () => {
  const { rows } = layoutWaterfall(REFUNDED, START + 100);
  assertEquals(rows.slice(0, 5).map(({ name, isConsumer }) => [name, isConsumer]), [
    ["order.created", false],
    [PAYMENTS, true],
    ["payment.succeeded", false],
    ["orders.payment-events.v1", true],
    ["enrollments.payment-succeeded.v1", true],
  ]);
  assertEquals(rows[0]?.bars[0]?.title, "order.created waited 4 ms in the outbox");
  assertEquals(
    rows[1]?.bars[0]?.title,
    `${PAYMENTS} had processed order.created 8 ms after it left the outbox`,
  );
});

Deno.test("the way back begins at refund.requested, once, and everything behind it belongs to it", () => {
  const { rows } = layoutWaterfall(REFUNDED, START + 100);
  const turn = rows.findIndex(({ compensation }) => compensation === "turn");
  assertEquals(rows[turn]?.name, "refund.requested");
  assert(rows.slice(0, turn).every(({ compensation }) => compensation === "none"));
  assert(rows.slice(turn + 1).every(({ compensation }) => compensation === "on"));
});

Deno.test("the guides tell the order's way through the state machine, in time", () => {
  const { guides } = layoutWaterfall(REFUNDED, START + 100);
  assertEquals(guides.map(({ status, after }) => `${status} ${after}`), [
    "PENDING 0 ms",
    "PAID 20 ms",
    "REFUND_IN_PROGRESS 35 ms",
    "REFUNDED 60 ms",
  ]);
});

Deno.test("retries, dead letters and absorbed duplicates are marked, and say what they are", () => {
  const timeline = [
    ...HELD_UP.timeline,
    entry(60_000, 1, ORDER_CREATED, { kind: "processed", consumer: PAYMENTS }),
    entry(61_000, 1, ORDER_CREATED, { kind: "duplicate", consumer: PAYMENTS, duplicates: 2 }),
  ];
  const row = layoutWaterfall(testStory("PENDING", timeline), START).rows.find(({ isConsumer }) =>
    isConsumer
  );
  assertEquals(row?.marks.map(({ kind, note }) => [kind, note]), [
    ["retry", "retry ×3"],
    ["dead-letter", "dead letter: retries exhausted, redriven"],
    ["processed", ""],
    ["duplicate", "duplicate absorbed ×2"],
  ]);
});

Deno.test("an event that waits has an open bar until now, in the outbox first and then at each consumer", () => {
  const emitted = entry(0, 1, ORDER_CREATED, { kind: "emitted" });
  const inOutbox = layoutWaterfall(testStory("PENDING", [placed, emitted]), START + 12_000);
  assertEquals(inOutbox.rows.map(({ name, bars }) => [name, bars[0]?.isOpen, bars[0]?.text]), [
    [ORDER_CREATED, true, "12.0 s"],
  ]);
  const published = entry(5, 1, ORDER_CREATED, { kind: "published", retryCount: 0 });
  const inBroker = layoutWaterfall(testStory("PENDING", [placed, emitted, published]), START + 12_000);
  assertEquals(inBroker.rows.map(({ name, bars }) => [name, bars[0]?.isOpen]), [[ORDER_CREATED, false], [
    PAYMENTS,
    true,
  ]]);
});

Deno.test("an event that is republished left the outbox when it was first processed, not when it was sent again", () => {
  const story = testStory("PENDING", [
    placed,
    entry(0, 1, ORDER_CREATED, { kind: "emitted" }),
    entry(10, 1, ORDER_CREATED, { kind: "processed", consumer: PAYMENTS }),
    entry(60_000, 1, ORDER_CREATED, { kind: "published", retryCount: 0 }),
  ]);
  assertEquals(readStoryEvents(story)[0]?.sentAt, START + 10);
});

Deno.test("a message that says nothing of itself has a row with its dead letter", () => {
  const letter = entry(30, 0, null, {
    kind: "dead-letter",
    consumer: PAYMENTS,
    reason: "not JSON",
    deadLetterId: "019b7c00-0000-7000-8000-000000000999",
  });
  const { rows } = layoutWaterfall(testStory("PENDING", [placed, letter]), START + 50);
  assertEquals(rows.map(({ name, eventId, bars }) => [name, eventId, bars.length]), [
    ["unreadable message", null, 0],
    [PAYMENTS, null, 0],
  ]);
});

Deno.test("isSettled() holds once the order has ended and nothing is on its way; isHeldUp() at an open dead letter", () => {
  assertEquals([isSettled(REFUNDED), isHeldUp(REFUNDED)], [true, false]);
  assertEquals([isSettled(HELD_UP), isHeldUp(HELD_UP)], [false, true]);
  const unpublished = REFUNDED.timeline.filter(({ kind, eventType }) =>
    !(kind === "published" && eventType === "notification.sent")
  );
  assertEquals(isSettled({ ...REFUNDED, timeline: unpublished }), false);
  const unprocessed = REFUNDED.timeline.filter((entry) =>
    !("consumer" in entry && entry.consumer === "notifications.final-events.v1")
  );
  assertEquals(isSettled({ ...REFUNDED, timeline: unprocessed }), false);
});

const ms = fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 10_000_000 }));
const anyEntry: fc.Arbitrary<TimelineEntryJson> = fc.tuple(
  ms,
  fc.integer({ min: 1, max: 4 }),
  fc.integer({ min: 0, max: 4 }),
)
  .map(([at, n, kind]) => {
    const parts = [
      { kind: "emitted" as const },
      { kind: "published" as const, retryCount: 1 },
      { kind: "processed" as const, consumer: PAYMENTS },
      { kind: "duplicate" as const, consumer: PAYMENTS, duplicates: 1 },
      { kind: "retry" as const, consumer: PAYMENTS, retries: 1, error: "no", dueAt: null },
    ];
    return entry(at, n, ORDER_CREATED, parts[kind] ?? { kind: "emitted" });
  });

Deno.test("every bar, mark and guide of any timeline lies on the axis, and no text covers a mark", () => {
  fc.assert(fc.property(fc.array(anyEntry, { maxLength: 25 }), ms, (entries, now) => {
    const { rows, guides } = layoutWaterfall(testStory("PENDING", [placed, ...entries]), START + now);
    for (const { bars, marks } of rows) {
      for (const { x0, x1 } of bars) assert(x0 >= 0 && x0 <= x1 && x1 <= 1, `${x0} ${x1}`);
      for (const { x } of marks) assert(x >= 0 && x <= 1);
      for (const { textSide, text, textX } of bars) {
        const width = text.length * 0.019;
        if (textSide === "right") {
          assert(textX + width <= 1 && !marks.some(({ x }) => x > textX && x < textX + width));
        }
        if (textSide === "left") {
          assert(textX - width >= 0 && !marks.some(({ x }) => x < textX && x > textX - width));
        }
      }
    }
    for (const { x } of guides) assert(x >= 0 && x <= 1);
  }));
});
