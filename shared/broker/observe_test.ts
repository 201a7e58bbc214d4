import { assertEquals } from "@std/assert";
import {
  brokerAttributes,
  countBatch,
  createConsumerMetrics,
  createProcessSpans,
  destinationOf,
  messageAttributes,
  outcomeOf,
  type SettledBatch,
  withSendSpans,
} from "./observe.ts";
import { orderCreated } from "../../specs/support/test_events.ts";
import { type Exported, readExposition } from "../../specs/support/promql.ts";
import { createRegistry, type Registry } from "../process/metrics.ts";
import type { NextStep, Verdict } from "./settle.ts";
import type { Publisher } from "./publish.ts";

Deno.test("countBatch() counts what was processed, absorbed, and is to come again or was given up", () => {
  const done = { kind: "done" } as const;
  const verdicts = [done, done, { kind: "duplicate" }, { kind: "failed", error: "x" }, {
    kind: "rejected",
    reason: "r",
    detail: "d",
  }, { kind: "early", awaits: "a" }] as const;
  assertEquals(countBatch(verdicts, 1, 1), {
    batches: 1,
    processed: 2,
    duplicates: 1,
    retries: 1,
    deadLetters: 1,
  });
});

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

const URL = "amqp://guest:guest@localhost";

Deno.test("without a tracer there are no spans, and nothing stands between a publisher and its caller", () => {
  const publisher: Publisher = { publish: () => Promise.reject(new Error("not asked")) };
  assertEquals(withSendSpans(publisher, null, URL) === publisher, true);
  assertEquals(createProcessSpans(null, URL, "q"), null);
});

Deno.test("destinationOf() names exchange, key and queue, without what is empty or said twice", () => {
  const names = [
    { exchange: "e", key: "k" },
    { exchange: "e", key: "k", queue: "q" },
    { exchange: "", key: "q", queue: "q" },
    { exchange: "e", key: "q", queue: "q" },
    { exchange: "", key: "q" },
    { exchange: "e", key: "" },
    { exchange: "", key: "" },
  ].map(destinationOf);
  assertEquals(names, ["e:k", "e:k:q", "q", "e:q", "q", "e", "amq.default"]);
});

Deno.test("brokerAttributes() tell host and port, never the password", () => {
  const ports = [URL, "amqps://mq.example", "amqp://mq.example:5673/vhost", `${URL},${URL}`].map((url) => {
    const { "server.address": host, "server.port": port } = brokerAttributes(url);
    return `${host} ${port}`;
  });
  assertEquals(ports, ["localhost 5672", "mq.example 5671", "mq.example 5673", "undefined undefined"]);
});

Deno.test("messageAttributes() leave out what a message has not", () => {
  const bare = { exchange: "", key: "", id: null, correlationId: null };
  assertEquals(messageAttributes("send", bare), {
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
    "messaging.destination.name": "amq.default",
  });
});

Deno.test("outcomeOf() has a word for every way in which a message is settled", () => {
  const retry = { kind: "retry", delayMs: 1, retries: 1, error: "" } as const;
  const letter = { kind: "dead-letter", reason: "too early", detail: "" } as const;
  const cases: [Verdict, Exclude<NextStep, { kind: "look-again" }>, string][] = [
    [{ kind: "done" }, { kind: "ack" }, "done"],
    [{ kind: "duplicate" }, { kind: "ack" }, "duplicate"],
    [{ kind: "failed", error: "" }, retry, "retry"],
    [{ kind: "early", awaits: "PAID" }, retry, "early"],
    [{ kind: "early", awaits: "PAID" }, letter, "dead-letter"],
    [{ kind: "failed", error: "" }, letter, "dead-letter"],
    [{ kind: "rejected", reason: "not JSON", detail: "" }, letter, "dead-letter"],
  ];
  for (const [verdict, step, word] of cases) assertEquals(outcomeOf(verdict, step), word);
});
