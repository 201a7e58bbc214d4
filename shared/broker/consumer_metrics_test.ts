import { assertEquals } from "@std/assert";
import { orderCreated } from "../../specs/support/test_events.ts";
import { type Exported, readExposition } from "../../specs/support/promql.ts";
import { createRegistry, type Registry } from "../process_metrics.ts";
import { createConsumerMetrics } from "./consumer_metrics.ts";
import type { SettledBatch } from "./count_batch.ts";
import type { Verdict } from "./next_step.ts";

const delivery = (agoMs = 0): SettledBatch["settled"][number] => {
  const { event } = orderCreated();
  return {
    parsed: { ok: true, event: { ...event, occurredAt: new Date(Date.now() - agoMs).toISOString() } },
  };
};

async function valuesOf(registry: Registry, name: string): Promise<Record<string, number>> {
  const exported: Exported[] = [...readExposition(await registry.metrics()).values()];
  return Object.fromEntries(
    exported.flatMap(({ series }) => series).filter((series) => series.name === name && series.value > 0)
      .map(({ labels, value }) => [Object.values(labels).join(" "), value]),
  );
}

Deno.test("createConsumerMetrics() counts what is settled by its last verdict, and what is still in hand not at all", async () => {
  const registry = createRegistry("test");
  const onSettled = createConsumerMetrics(registry, "c");
  const [done, repeat, early, inHand, bad] = [
    delivery(61_000),
    delivery(),
    delivery(),
    delivery(),
    delivery(),
  ];
  const verdicts = new Map<SettledBatch["settled"][number], Verdict>([
    [done, { kind: "done" }],
    [repeat, { kind: "duplicate" }],
    [early, { kind: "early", awaits: "PAID" }],
    [inHand, { kind: "early", awaits: "PAID" }],
    [bad, { kind: "rejected", reason: "handler failed", detail: "x" }],
  ]);
  const settled = [done, repeat, early, bad];
  onSettled({ verdicts, settled, retries: 1, letters: [{ reason: "handler failed" }], tookMs: 30 });
  assertEquals(await valuesOf(registry, "orderflow_consumer_messages_total"), {
    "c done": 1,
    "c duplicate": 1,
    "c early": 1,
    "c rejected": 1,
  });
  assertEquals(await valuesOf(registry, "orderflow_consumer_retries_total"), { c: 1 });
  assertEquals(await valuesOf(registry, "orderflow_consumer_dead_letters_total"), { "c handler failed": 1 });
  assertEquals(await valuesOf(registry, "orderflow_consumer_batch_messages_sum"), { c: 5 });
  assertEquals(await valuesOf(registry, "orderflow_consumer_batch_duration_seconds_sum"), { c: 0.03 });
  // Of what is done alone, and in seconds: a minute is too little for it, five are not.
  assertEquals(await valuesOf(registry, "orderflow_consumer_event_latency_seconds_bucket"), {
    "300 c": 1,
    "+Inf c": 1,
  });
});

Deno.test("createConsumerMetrics() has its series from the start, at 0", async () => {
  const registry = createRegistry("test");
  createConsumerMetrics(registry, "c");
  const text = await registry.metrics();
  for (
    const line of ['messages_total{consumer="c",outcome="duplicate"} 0', 'retries_total{consumer="c"} 0']
  ) {
    assertEquals(text.includes(`orderflow_consumer_${line}`), true, line);
  }
  assertEquals(text.includes('orderflow_consumer_batch_messages_count{consumer="c"} 0'), true);
});
