import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  brokerAttributes,
  countBatches,
  createConsumerMetrics,
  destinationOf,
  outcomeOf,
  type SettledBatch,
} from "./observe.ts";
import { deliveryOf, newLetter, orderCreated } from "../../specs/support/test_events.ts";
import { type Exported, readExposition } from "../../specs/support/monitoring.ts";
import { createRegistry, type Registry } from "../process/metrics.ts";
import type { NextStep, Outcome } from "./settle.ts";

const step = { kind: "ack" } as const;

function message(outcome: Outcome, next: NextStep = step, agoMs = 0): SettledBatch["messages"][number] {
  const { event } = orderCreated();
  const occurredAt = new Date(Date.now() - agoMs).toISOString();
  const aggregateId = event.data.orderId;
  const delivery = deliveryOf({ ok: true, event: { ...event, occurredAt }, aggregateId });
  return { delivery, outcome, step: next };
}

const lookAgain: NextStep = { kind: "look-again", delayMs: 2 };
const bad: Outcome = { kind: "rejected", reason: "handler failed", detail: "x" };
const early: Outcome = { kind: "early", awaits: "PAID" };
const batchOf = (messages: SettledBatch["messages"]): SettledBatch => ({
  messages,
  retries: 1,
  letters: [newLetter("c", { reason: "handler failed" })],
  tookMs: 30,
});

async function valuesOf(registry: Registry, name: string): Promise<Record<string, number>> {
  const exported: Exported[] = [...readExposition(await registry.metrics()).values()];
  return Object.fromEntries(
    exported.flatMap(({ series }) => series).filter((series) => series.name === name && series.value > 0)
      .map(({ labels, value }) => [Object.values(labels).join(" "), value]),
  );
}

Deno.test("what is settled is counted by its last outcome, for the heartbeat and as metrics, and what is still in hand not at all", async () => {
  const counting = countBatches();
  const registry = createRegistry("test");
  const observers = [counting, createConsumerMetrics(registry, "c")];
  const series = await registry.metrics(); // all of them, from the start
  for (const at0 of ['messages_total{consumer="c",outcome="duplicate"} 0', 'retries_total{consumer="c"} 0']) {
    assertStringIncludes(series, `orderflow_consumer_${at0}`);
  }
  const messages = [
    message({ kind: "done" }, step, 61_000),
    message({ kind: "duplicate" }),
    message(early),
    message(early, lookAgain),
    message(bad),
  ];
  for (const observer of observers) {
    observer.settled(batchOf(messages));
    observer.settled(batchOf([message(early, lookAgain)])); // only looked at
  }
  const { counts } = counting.counts.read();
  assertEquals(counts, { batches: 1, processed: 1, duplicates: 1, retries: 1, deadLetters: 1 });
  const figures = {
    messages_total: { "c done": 1, "c duplicate": 1, "c early": 1, "c rejected": 1 },
    retries_total: { c: 1 },
    dead_letters_total: { "c handler failed": 1 },
    batch_messages_sum: { c: 5 },
    batch_duration_seconds_sum: { c: 0.03 },
    // Of what is done alone, and in seconds: a minute is too little for it, five are not.
    event_latency_seconds_bucket: { "300 c": 1, "+Inf c": 1 },
  };
  for (const [name, values] of Object.entries(figures)) {
    assertEquals(await valuesOf(registry, `orderflow_consumer_${name}`), values, name);
  }
});

const URL = "amqp://guest:guest@localhost";

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

Deno.test("outcomeOf() has a word for every way in which a message is settled", () => {
  const retry = { kind: "retry", delayMs: 1, retries: 1, error: "" } as const;
  const letter = { kind: "dead-letter", reason: "too early", detail: "" } as const;
  const cases: [Outcome, Exclude<NextStep, { kind: "look-again" }>, string][] = [
    [{ kind: "done" }, { kind: "ack" }, "done"],
    [{ kind: "duplicate" }, { kind: "ack" }, "duplicate"],
    [{ kind: "failed", error: "" }, retry, "retry"],
    [{ kind: "early", awaits: "PAID" }, retry, "early"],
    [{ kind: "early", awaits: "PAID" }, letter, "dead-letter"],
    [{ kind: "failed", error: "" }, letter, "dead-letter"],
    [{ kind: "rejected", reason: "not JSON", detail: "" }, letter, "dead-letter"],
  ];
  for (const [outcome, step, word] of cases) assertEquals(outcomeOf(outcome, step), word);
});
