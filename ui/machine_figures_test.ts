import { assertEquals } from "@std/assert";
import { QUEUE_KEYS, QUEUES } from "../shared/topology.ts";
import type { LivePulse } from "../shared/ops/live.ts";
import { API, CONSUMERS, RELAY } from "../workers/dev/processes.ts";
import { attention, machineFigures, type NodeFigures } from "./machine_figures.ts";
import type { NodeId } from "./machine_layout.ts";
import { processNameOf, queueOf } from "./machine_parts.ts";
import { testProcess, testPulse } from "./testdata/test_pulse.ts";

const KEY = "paymentsRefundRequested";
const QUEUE = QUEUES[KEY].name;

function at(recent: readonly LivePulse[], id: NodeId): NodeFigures | undefined {
  return machineFigures(recent).find((node) => node.id === id);
}

/** Pulses one second apart in which a queue has these depths. */
function depths(...messages: number[]): LivePulse[] {
  return messages.map((depth, second) => testPulse(second, { queues: queues({ messages: depth }) }));
}

function queues(more: { messages?: number; consumers?: number }): NonNullable<LivePulse["queues"]> {
  const all = testPulse(0).queues ?? [];
  return all.map((queue) => queue.queue === QUEUE ? { ...queue, ...more } : queue);
}

Deno.test("every process of the system has a node that knows it by its name", () => {
  const names = machineFigures([testPulse(0)]).map(({ name }) => name);
  for (const { name } of [RELAY, ...CONSUMERS]) assertEquals(names.includes(name), true, name);
  assertEquals(API.name, "api");
  for (const { name, queue } of CONSUMERS) assertEquals(processNameOf(queue), name);
});

Deno.test("while all runs nothing needs attention; before the first pulse nothing is said", () => {
  assertEquals(attention(machineFigures([testPulse(0)])), []);
  assertEquals(machineFigures([]), []);
});

Deno.test("a queue without a consumer is bad, and says so", () => {
  const node = at([testPulse(0, { queues: queues({ messages: 1240, consumers: 0 }) })], `queue:${KEY}`);
  assertEquals([node?.level, node?.status, node?.figures[0]?.value], ["bad", "no consumer", "1,240"]);
});

Deno.test("a queue that rises over the window is growing; one that goes up and down is not", () => {
  const growing = at(depths(100, 300, 500, 700, 900, 1240), `queue:${KEY}`);
  assertEquals([growing?.level, growing?.status], ["warn", "growing: 1,240"]);
  for (const steady of [[100, 10, 120, 0, 90, 130], [0, 2, 4, 6], [500, 502, 504, 506], [900, 600, 300]]) {
    assertEquals(at(depths(...steady), `queue:${KEY}`)?.level, "good", steady.join());
  }
});

Deno.test("a broker that cannot be reached is said once, and its queues' figures are unknown", () => {
  const nodes = machineFigures([testPulse(0, { queues: null })]);
  assertEquals(attention(nodes), ["The broker cannot be reached"]);
  const queue = nodes.find(({ id }) => id === `queue:${KEY}`);
  assertEquals([queue?.status, queue?.figures[0]?.value], ["broker unreachable", "?"]);
});

Deno.test("a worker whose heartbeats have stopped, and one that never had any, are told apart", () => {
  const name = processNameOf(KEY);
  const others = testPulse(0).processes.filter((process) => process.name !== name);
  const silent = testPulse(32, { processes: [...others, testProcess(name, { isStale: true })] });
  assertEquals(at([silent], `consumer:${KEY}`)?.status, "silent for 32 s");
  const gone = at([testPulse(0, { processes: others })], `consumer:${KEY}`);
  assertEquals([gone?.level, gone?.status], ["bad", "not running"]);
});

Deno.test("a worker that runs and has no subscription is pointed out", () => {
  const node = at([testPulse(0, { queues: queues({ consumers: 0 }) })], `consumer:${KEY}`);
  assertEquals([node?.level, node?.status], ["warn", "up, not subscribed"]);
});

Deno.test("a consumer's figures are those of all its fresh copies, its retries and dead letters by its queue", () => {
  const name = processNameOf(KEY);
  const copies = (processed: number) => [
    testProcess(name, { instance: "a", counts: { processed, duplicates: 1 } }),
    testProcess(name, { instance: "b", counts: { processed: 10 } }),
    testProcess(name, { instance: "c", counts: { processed: 500 }, isStale: true }),
  ];
  const node = at([
    testPulse(0, { processes: copies(100) }),
    testPulse(10, { processes: copies(150), retries: { [QUEUE]: 2 }, deadLetters: { [QUEUE]: 3 } }),
  ], `consumer:${KEY}`);
  assertEquals(node?.status, "2 up");
  assertEquals(node?.figures.map(({ label, value }) => `${label} ${value}`), [
    "processed/s 5.0",
    "processed 160",
    "duplicates 1",
    "retries waiting 2",
    "dead letters 3",
  ]);
});

Deno.test("an outbox that falls behind is to be watched, then bad", () => {
  const outbox = (oldestSeconds: number) =>
    at([testPulse(0, { outbox: { pending: 7, oldestSeconds } })], "outbox");
  assertEquals([0.4, 12, 90].map((seconds) => outbox(seconds)?.level), ["good", "warn", "bad"]);
});

Deno.test("queueOf() finds a renamed queue by its place, as long as all are there", () => {
  const renamed = QUEUE_KEYS.map((key) => ({ queue: `mine-${key}`, messages: 1, consumers: 1 }));
  assertEquals(queueOf(testPulse(0, { queues: renamed }), KEY)?.queue, `mine-${KEY}`);
  assertEquals(queueOf(testPulse(0, { queues: renamed.slice(1) }), KEY), undefined);
});
