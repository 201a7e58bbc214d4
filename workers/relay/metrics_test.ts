import { assertEquals } from "@std/assert";
import { type Publisher, type PublishOutcome, toQueue } from "../../shared/broker/publish.ts";
import { createRegistry } from "../../shared/process/metrics.ts";
import { readExposition } from "../../specs/support/monitoring.ts";
import { observeRelay } from "./metrics.ts";

const message = { type: null, correlationId: null, traceparent: null, body: "{}" };

const answering = (outcome: Partial<PublishOutcome>): Publisher => ({
  publish: () => Promise.resolve({ confirmed: [], refused: [], unknown: [], offence: null, ...outcome }),
});

Deno.test("observeRelay() times what the broker has answered, and the age of what it has taken", async () => {
  const registry = createRegistry("test");
  const observer = observeRelay(registry);
  const messages = [["a", 6000], ["b", 20]].map(([id, agoMs]) => {
    return { ...message, id: String(id), occurredAt: new Date(Date.now() - Number(agoMs)) };
  });
  const outcomes = [
    { confirmed: ["a"], refused: [{ id: "b", error: "NO_ROUTE" }] },
    { confirmed: ["a"], unknown: ["b"] }, // the channel went: there is no last confirm
  ];
  for (const outcome of outcomes) {
    const answer = await observer.timed(answering(outcome)).publish(messages, toQueue("q"), 1000);
    assertEquals(answer.confirmed, ["a"]);
  }
  const refused = [{ id: "b", error: "", traceparent: null }];
  observer.onBatch({ claimed: 4, lastId: null, published: 1, refused, unanswered: 2, offence: null }, 250);
  observer.onWakeUp("tick");
  observer.onRetriesSent(3);
  observer.onResent(5);
  const exposition = [...readExposition(await registry.metrics()).values()];
  const series = new Map(
    exposition.flatMap((exported) =>
      exported.series.map(({ name, labels, value }) =>
        [[name, ...Object.values(labels)].join(" "), value] as const
      )
    ),
  );
  const figures = {
    "confirm_duration_seconds_count": 1,
    "event_latency_seconds_bucket 5": 0,
    "event_latency_seconds_bucket 10": 2,
    "events_total published": 1,
    "events_total refused": 1,
    "events_total unanswered": 2,
    "batch_events_sum": 4,
    "batch_duration_seconds_sum": 0.25,
    "wake_ups_total events": 0,
    "wake_ups_total tick": 1,
    "retries_sent_total": 3,
    "resent_events_total": 5,
  };
  const found = Object.keys(figures).map((name) => [name, series.get(`orderflow_relay_${name}`)]);
  assertEquals(Object.fromEntries(found), figures);
  assertEquals(observer.counts.read().counts, { published: 1, refused: 1, retries: 3 });
});
