import { assertEquals } from "@std/assert";
import { QUEUES } from "../shared/topology.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import { dotsFor } from "./machine_motion.ts";
import { grown, movements } from "./pulse_growth.ts";
import { withPulse } from "./recent_pulses.ts";
import { testProcess, testPulse } from "./testdata/test_pulse.ts";

const relay = (published: number, more = {}) =>
  testProcess("outbox-relay", { counts: { published }, ...more });

Deno.test("grown() sums over copies, counts a new copy in full, and never goes below zero", () => {
  const before = testPulse(0, { processes: [relay(10), relay(7, { instance: "old" })] });
  const startedAt = testPulse(1).at;
  const after = testPulse(2, { processes: [relay(15), relay(4, { instance: "new", startedAt })] });
  assertEquals(grown(before, after, "outbox-relay", "published"), 9);
  assertEquals(grown(after, before, "outbox-relay", "published"), 0);
  assertEquals(grown(before, after, "outbox-relay", "nothing"), 0);
});

Deno.test("grown() does not count a copy that is older than what it is compared with, and was not seen then", () => {
  const after = testPulse(2, { processes: [relay(5000, { instance: "seen late" })] });
  assertEquals(grown(testPulse(0, { processes: [] }), after, "outbox-relay", "published"), 0);
});

Deno.test("movements() tells what went where, and leaves out where nothing did", () => {
  const queue = QUEUES.paymentsOrderCreated.name;
  const withDepth = (messages: number): LivePulse["queues"] => [{ queue, messages, consumers: 1 }];
  const worker = (processed: number, duplicates: number) =>
    testProcess("payments-order-created", { counts: { processed, duplicates } });
  const api = (orders: number) => testProcess("api", { counts: { orders } });
  const before = testPulse(0, { processes: [relay(10), worker(5, 0), api(1)], queues: withDepth(2) });
  const after = testPulse(1, {
    processes: [relay(14), worker(7, 1), api(2)],
    queues: withDepth(3),
    outbox: { pending: 1, oldestSeconds: 0 },
  });
  assertEquals(Object.fromEntries(movements(before, after)), {
    "api-outbox": 1,
    "outbox-relay": 4,
    "relay-exchange": 4,
    "tables-outbox": 4, // 4 published and 1 waiting make 5 appended, 1 of them by the API
    "exchange-queue:paymentsOrderCreated": 4, // 3 taken, and 1 more waits
    "queue-consumer:paymentsOrderCreated": 3,
    "consumer-tables:paymentsOrderCreated": 2,
  });
  assertEquals(movements(after, after).size, 0);
});

Deno.test("dotsFor() shows few messages one by one, and many as a few dots", () => {
  assertEquals([0, 1, 2, 3, 8, 5000].map(dotsFor), [0, 1, 2, 3, 4, 4]);
});

Deno.test("withPulse() keeps the window, takes a pulse once, and begins anew after a silence", () => {
  let recent: readonly LivePulse[] = [];
  for (const second of [0, 4, 4, 8, 12]) recent = withPulse(recent, testPulse(second), 10_000);
  assertEquals(recent.map(({ at }) => at), [4, 8, 12].map((second) => testPulse(second).at));
  assertEquals(withPulse(recent, testPulse(60), 10_000).length, 1);
  assertEquals(withPulse(recent, testPulse(1), 10_000).length, 1, "a clock that went back");
});
