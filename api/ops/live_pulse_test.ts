import { assertEquals } from "@std/assert";
import { livePulseSchema } from "../../shared/ops/live.ts";
import type { SeenHeartbeat } from "../../shared/process/heartbeat.ts";
import {
  buildPulse,
  liveProcesses,
  percentile,
  rateOf,
  type Reading,
  remember,
  type Samples,
  saysTheSame,
} from "./live_pulse.ts";

const START = Date.UTC(2026, 0, 1);

/** A heartbeat that came `atMs` after the start and is `ageMs` old. */
function heartbeat(
  atMs: number,
  counts: Record<string, number>,
  more: Partial<SeenHeartbeat> = {},
): SeenHeartbeat {
  return {
    instance: "a",
    process: "outbox-relay",
    pid: 1,
    host: "127.0.0.1",
    version: "1.2.3",
    startedAt: new Date(START),
    seenAt: new Date(START + atMs),
    lastBatchAt: null,
    clockAheadMs: null,
    counts,
    ageMs: 0,
    ...more,
  };
}

function after(...readings: SeenHeartbeat[][]): Samples {
  return readings.reduce<Samples>((samples, heartbeats) => remember(samples, heartbeats), new Map());
}

Deno.test("rateOf() is what all copies have counted per second between their first and last heartbeat", () => {
  const samples = after(
    [heartbeat(0, { published: 100 }), heartbeat(1000, { published: 7 }, { instance: "b" })],
    [heartbeat(2000, { published: 300 }), heartbeat(1000, { published: 7 }, { instance: "b" })],
    [heartbeat(4000, { published: 500 }), heartbeat(3000, { published: 27 }, { instance: "b" })],
  );
  assertEquals(rateOf(samples, "published"), 100 + 10);
  assertEquals(rateOf(samples, "orders"), 0);
});

Deno.test("rateOf() knows nothing of a copy with one heartbeat, and nothing of what is long ago", () => {
  assertEquals(rateOf(after([heartbeat(0, { published: 100 })]), "published"), 0);
  const idle = after(
    [heartbeat(0, { published: 0 })],
    [heartbeat(2000, { published: 100 })],
    [heartbeat(7000, { published: 100 })],
    [heartbeat(12_000, { published: 100 })],
  );
  assertEquals(rateOf(idle, "published"), 0);
  const killed = after([heartbeat(0, { published: 0 })], [heartbeat(2000, { published: 100 })], [
    heartbeat(2000, { published: 100 }, { ageMs: 9000 }),
  ]);
  assertEquals(rateOf(killed, "published"), 0);
});

Deno.test("remember() forgets a copy that is gone", () => {
  assertEquals(after([heartbeat(0, {})], []).size, 0);
});

Deno.test("percentile() is the value that so many do not exceed", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i);
  assertEquals([percentile(hundred, 0.5), percentile(hundred, 0.99), percentile(hundred, 1)], [50, 99, 100]);
  assertEquals([percentile([7], 0.5), percentile([7], 0.99), percentile([], 0.5)], [7, 7, null]);
});

Deno.test("liveProcesses() calls a silent copy stale, until another has started in its place", () => {
  const silent = heartbeat(0, {}, { ageMs: 20_000 });
  const [shown] = liveProcesses([silent]);
  assertEquals([shown?.name, shown?.isStale], ["outbox-relay", true]);
  const beside = heartbeat(19_000, {}, { instance: "b", ageMs: 1000 });
  assertEquals(liveProcesses([beside, silent]).map(({ isStale }) => isStale), [false, true]);
  const next = { ...beside, startedAt: new Date(START + 15_000) };
  assertEquals(liveProcesses([next, silent]).map(({ instance }) => instance), ["b"]);
  const other = { ...next, process: "api" };
  assertEquals(liveProcesses([other, silent]).length, 2);
});

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

Deno.test("buildPulse() says how everything stands, in the shape that the page reads", () => {
  const pulse = buildPulse(reading, new Map());
  assertEquals(livePulseSchema.parse(JSON.parse(JSON.stringify(pulse))), pulse);
  assertEquals(pulse.outbox, { pending: 3, oldestSeconds: 1.5 });
  assertEquals([pulse.deadLetters, pulse.retries, pulse.latency], [{ q: 4 }, {}, { p50: 20, p99: 30 }]);
  assertEquals(pulse.holds, [
    {
      part: "q",
      since: "2026-01-01T00:00:00.000Z",
      until: "2026-01-01T00:10:00.000Z",
      steps: 2,
      because: "look",
    },
  ]);
  const away = buildPulse({ ...reading, queues: null, unpublished: { count: 0, oldestAt: null } }, new Map());
  assertEquals([away.queues, away.outbox.oldestSeconds], [null, 0]);
});

Deno.test("saysTheSame() looks past the times at which it was read and the processes were seen", () => {
  const pulse = buildPulse(reading, new Map());
  const later = { ...reading, at: new Date(START + 11_000), heartbeats: [heartbeat(9900, { published: 2 })] };
  const waiting = { ...later.unpublished, oldestAt: new Date(START + 9500) };
  assertEquals(saysTheSame(pulse, buildPulse({ ...later, unpublished: waiting }, new Map())), true);
  assertEquals(saysTheSame(pulse, buildPulse({ ...later, deadLetters: [] }, new Map())), false);
});
