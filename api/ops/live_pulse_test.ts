import { assertEquals } from "@std/assert";
import { livePulseSchema } from "../../shared/ops/live.ts";
import { newHeartbeat } from "../../specs/support/test_events.ts";
import type { SeenHeartbeat } from "../../shared/process/heartbeat.ts";
import { buildPulse, type Reading, remember, type Samples, saysTheSame } from "./live_pulse.ts";

const START = Date.UTC(2026, 0, 1);

/** A heartbeat that came `atMs` after the start and is `ageMs` old. */
function heartbeat(
  atMs: number,
  counts: Record<string, number>,
  more: Partial<SeenHeartbeat> = {},
): SeenHeartbeat {
  return {
    ...newHeartbeat({ instance: "a", startedAt: new Date(START), counts }),
    host: "127.0.0.1",
    seenAt: new Date(START + atMs),
    ageMs: 0,
    ...more,
  };
}

const reading: Reading = {
  at: new Date(START + 10_000),
  orders: [{
    id: "o",
    userId: "u",
    courseId: "c",
    amount: "49.90",
    status: "PAID",
    correlationId: "x",
    createdAt: new Date(START),
    updatedAt: new Date(START + 5),
  }],
  unpublished: { count: 3, oldestAt: new Date(START + 8500) },
  queues: [{ queue: "q", messages: 2, consumers: 1 }],
  heartbeats: [heartbeat(9000, { published: 2 })],
  deadLetters: [{ consumer: "q", count: 4 }],
  retries: [],
  holds: [{
    part: "q",
    sinceAt: new Date(START),
    untilAt: new Date(START + 600_000),
    steps: 2,
    because: "look",
  }],
  latencies: [30, 10, 20],
};

const pulseOf = (more: Partial<Reading> = {}, samples: Samples = new Map()) =>
  buildPulse({ ...reading, ...more }, samples);

Deno.test("a pulse says how everything stands, in the shape that the page reads", () => {
  const pulse = pulseOf();
  assertEquals(livePulseSchema.parse(JSON.parse(JSON.stringify(pulse))), pulse);
  assertEquals(pulse.outbox, { pending: 3, oldestSeconds: 1.5 });
  assertEquals([pulse.deadLetters, pulse.retries], [{ q: 4 }, {}]);
  const [since, until] = ["2026-01-01T00:00:00.000Z", "2026-01-01T00:10:00.000Z"];
  assertEquals(pulse.holds, [{ part: "q", since, until, steps: 2, because: "look" }]);
  const away = pulseOf({ queues: null, unpublished: { count: 0, oldestAt: null } });
  assertEquals([away.queues, away.outbox.oldestSeconds], [null, 0]);
});

Deno.test("a rate is what all copies have counted per second between their first and last heartbeat, of late", () => {
  const published = (atMs: number, count: number, more: Partial<SeenHeartbeat> = {}) =>
    heartbeat(atMs, { published: count }, more);
  const b = { instance: "b" };
  const cases: [rate: number, readings: SeenHeartbeat[][]][] = [
    [100 + 10, [
      [published(0, 100), published(1000, 7, b)],
      [published(2000, 300), published(1000, 7, b)],
      [published(4000, 500), published(3000, 27, b)],
    ]],
    [0, [[published(0, 100)]]], // one heartbeat says nothing
    [0, [[published(0, 0)], [published(2000, 100)], [published(7000, 100)], [published(12_000, 100)]]], // idle since
    [0, [[published(0, 0)], [published(2000, 100)], [published(2000, 100, { ageMs: 9000 })]]], // it was killed
  ];
  for (const [events, readings] of cases) {
    const samples = readings.reduce<Samples>(remember, new Map());
    assertEquals(pulseOf({}, samples).rates, { orders: 0, events, processed: 0 });
  }
  assertEquals(
    remember(remember(new Map(), [heartbeat(0, {})]), []).size,
    0,
    "a copy that is gone is forgotten",
  );
});

Deno.test("the latency is what half of the orders, and 99 of 100, did not exceed", () => {
  const cases: [latencies: number[], p50: number | null, p99: number | null][] = [
    [Array.from({ length: 100 }, (_, i) => 100 - i), 50, 99],
    [[30, 10, 20], 20, 30],
    [[7], 7, 7],
    [[], null, null],
  ];
  for (const [latencies, p50, p99] of cases) assertEquals(pulseOf({ latencies }).latency, { p50, p99 });
});

Deno.test("a silent copy is stale, until another has started in its place", () => {
  const processesOf = (...heartbeats: SeenHeartbeat[]) =>
    pulseOf({ heartbeats }).processes.map(({ name, instance, isStale }) => [name, instance, isStale]);
  const silent = heartbeat(0, {}, { ageMs: 20_000 });
  assertEquals(processesOf(silent), [["outbox-relay", "a", true]]);
  const beside = heartbeat(19_000, {}, { instance: "b", ageMs: 1000 });
  assertEquals(processesOf(beside, silent), [["outbox-relay", "b", false], ["outbox-relay", "a", true]]);
  const next = { ...beside, startedAt: new Date(START + 15_000) };
  assertEquals(processesOf(next, silent), [["outbox-relay", "b", false]]);
  assertEquals(processesOf({ ...next, process: "api" }, silent).length, 2);
});

Deno.test("saysTheSame() looks past the times at which it was read and the processes were seen", () => {
  const later = { at: new Date(START + 11_000), heartbeats: [heartbeat(9900, { published: 2 })] };
  const unpublished = { count: 3, oldestAt: new Date(START + 9500) };
  assertEquals(saysTheSame(pulseOf(), pulseOf({ ...later, unpublished })), true);
  assertEquals(saysTheSame(pulseOf(), pulseOf({ ...later, deadLetters: [] })), false);
});
