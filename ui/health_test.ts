import { assertEquals } from "@std/assert";
import { beforeCommit } from "../shared/ops/holds.ts";
import { QUEUES } from "../shared/topology.ts";
import { healthOf } from "./health.tsx";
import { QUEUE_LIST, testPulse } from "./testdata/page.ts";

const calm = testPulse(0);
const refunds = QUEUES.paymentsRefundRequested.name;

const held = (part: string, because: string | null) => {
  return { part, because, since: calm.at, until: "2026-01-02T03:14:05.000Z", steps: 0 };
};

Deno.test("healthOf() says in one sentence what is wrong, the worst first", () => {
  const without = (name: string) => calm.processes.filter((process) => process.name !== name);
  const silent = calm.processes.map((process) => ({
    ...process,
    isStale: process.name === "outbox-relay",
    seenAt: new Date(Date.parse(calm.at) - 18_000).toISOString(),
  }));
  const deaf = calm.queues?.map((queue) => ({ ...queue, consumers: queue.queue === refunds ? 0 : 1 })) ??
    null;
  const cases: [string, Partial<typeof calm>][] = [
    ["good Every part runs, every promise holds", {}],
    ["bad The relay is silent since 18.0 s: nothing is published", { processes: silent }],
    ["bad The consumer payments-refund-requested is not running", {
      processes: without("payments-refund-requested"),
    }],
    ["bad Nobody consumes payments.refund-requested, where 0 messages wait", { queues: deaf }],
    ["bad The broker cannot be reached: events wait in the outbox", { queues: null }],
    ["warn 3 events waited up to 12.0 s in the outbox", { outbox: { pending: 3, oldestSeconds: 12 } }],
    ["warn The relay is held until 03:14 UTC (to look)", { holds: [held("relay", "to look")] }],
    ["warn payments.refund-requested, before its commit is held until 03:14 UTC", {
      holds: [held(beforeCommit(refunds), null)],
    }],
    ["warn 2 dead letters of payments.refund-requested to be decided on", { deadLetters: { [refunds]: 2 } }],
    ["bad The broker cannot be reached: events wait in the outbox (and 1 more)", {
      queues: null,
      outbox: { pending: 3, oldestSeconds: 12 },
    }],
  ];
  for (const [expected, more] of cases) {
    const { level, sentence } = healthOf({ ...calm, ...more }, QUEUE_LIST, "live", 0);
    assertEquals(`${level} ${sentence}`, expected);
  }
});

Deno.test("healthOf() never calls well what is offline, silent, or in breach of a promise", () => {
  const { sentence } = healthOf(calm, QUEUE_LIST, "offline", 0);
  assertEquals(sentence, "Disconnected: all this is as of 03:04:05 UTC");
  assertEquals(healthOf(calm, QUEUE_LIST, "stale", 0).level, "bad");
  assertEquals(healthOf(calm, QUEUE_LIST, "live", 2).sentence, "A promise is broken: 2 violations");
  assertEquals(healthOf(calm, QUEUE_LIST, "live", null).sentence, "Every part runs");
});
