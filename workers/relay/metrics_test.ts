import { assertEquals } from "@std/assert";
import {
  type OutgoingMessage,
  type Publisher,
  type PublishOutcome,
  toQueue,
} from "../../shared/broker/publish.ts";
import { createRegistry } from "../../shared/process/metrics.ts";
import { readExposition } from "../../specs/support/monitoring.ts";
import { observeRelay } from "./metrics.ts";

const message = (id: string, agoMs: number): OutgoingMessage => ({
  id,
  type: null,
  correlationId: null,
  traceparent: null,
  occurredAt: new Date(Date.now() - agoMs),
  body: "{}",
});

const answering = (outcome: Partial<PublishOutcome>): Publisher => ({
  publish: () => Promise.resolve({ confirmed: [], refused: [], unknown: [], offence: null, ...outcome }),
});

Deno.test("observeRelay() times what the broker has answered, and the age of what it has taken", async () => {
  const registry = createRegistry("test");
  const observer = observeRelay(registry);
  const messages = [message("a", 6000), message("b", 20)];
  const outcomes = [
    { confirmed: ["a"], refused: [{ id: "b", error: "NO_ROUTE" }] },
    { confirmed: ["a"], unknown: ["b"] }, // the channel went: there is no last confirm
  ];
  for (const outcome of outcomes) {
    const answer = await observer.timed(answering(outcome)).publish(messages, toQueue("q"), 1000);
    assertEquals(answer.confirmed, ["a"]);
  }
  observer.onBatch(
    {
      claimed: 4,
      lastId: null,
      published: 1,
      refused: [{ id: "b", error: "", traceparent: null }],
      unanswered: 2,
      offence: null,
    },
    250,
  );
  observer.onWakeUp("tick");
  observer.onRetriesSent(3);
  observer.onResent(5);
  const series = [...readExposition(await registry.metrics()).values()].flatMap((exported) =>
    exported.series
  );
  const value = (name: string, ...labels: string[]) =>
    series.find((one) =>
      one.name === `orderflow_relay_${name}` && Object.values(one.labels).join() === labels.join()
    )
      ?.value;
  assertEquals(value("confirm_duration_seconds_count"), 1);
  assertEquals([value("event_latency_seconds_bucket", "5"), value("event_latency_seconds_bucket", "10")], [
    0,
    2,
  ]);
  assertEquals(["published", "refused", "unanswered"].map((outcome) => value("events_total", outcome)), [
    1,
    1,
    2,
  ]);
  assertEquals([value("batch_events_sum"), value("batch_duration_seconds_sum")], [4, 0.25]);
  assertEquals(["events", "tick", "retries"].map((kind) => value("wake_ups_total", kind)), [0, 1, 0]);
  assertEquals([value("retries_sent_total"), value("resent_events_total")], [3, 5]);
  assertEquals(observer.counts.read().counts, { published: 1, refused: 1, retries: 3 });
});
