/**
 * The relay's figures for Prometheus.
 *
 * @module
 */
import { Counter, Histogram } from "prom-client";
import type { OutgoingMessage, Publisher, PublishOutcome } from "../../shared/broker/publish.ts";
import type { Registry } from "../../shared/process/metrics.ts";
import type { WakeUp } from "../../shared/sql/outbox.ts";
import type { RelayedBatch } from "./relay.ts";

/** What the relay tells of, for figures. */
export interface RelayMetrics {
  /** The publisher, with its batches timed until the broker has answered for all of one. */
  timed(publisher: Publisher): Publisher;
  /** A batch, after its commit, and how long it took from its claim, in milliseconds. */
  onBatch(batch: RelayedBatch, tookMs: number): void;
  /** A wake-up. */
  onWakeUp(wakeUp: WakeUp): void;
  /** Delayed retries that were sent. */
  onRetriesSent(retries: number): void;
  /** Events that reconciliation has sent once more, because they never arrived. */
  onResent(events: number): void;
}

const WAKE_UPS: readonly WakeUp[] = ["events", "tick", "retries"];

const BATCH_BUCKETS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000];
const DURATION_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const LATENCY_BUCKETS_S = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Makes the relay's figures in `registry`. All series are there from the start, at 0. */
export function createRelayMetrics(registry: Registry): RelayMetrics {
  const registers = [registry];
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name: `orderflow_relay_${name}`, help, buckets, registers });
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name: `orderflow_relay_${name}`, help, labelNames, registers });
  const sizes = histogram("batch_events", "Events that were claimed together.", BATCH_BUCKETS);
  const durations = histogram(
    "batch_duration_seconds",
    "From the claim of a batch to the commit that marks it.",
    DURATION_BUCKETS_S,
  );
  const confirms = histogram(
    "confirm_duration_seconds",
    "From the sending of a batch to the broker's last confirm.",
    DURATION_BUCKETS_S,
  );
  const latencies = histogram(
    "event_latency_seconds",
    "From the time when an event happened to the broker's confirm.",
    LATENCY_BUCKETS_S,
  );
  const events = counter("events_total", "Claimed events, by what the broker answered.", ["outcome"]);
  const wakeUps = counter("wake_ups_total", "Times that the relay was woken, by what for.", ["kind"]);
  const retries = counter("retries_sent_total", "Delayed retries that were sent to their consumers.");
  const resent = counter("resent_events_total", "Published events that never arrived and were sent again.");
  for (const outcome of ["published", "refused", "unanswered"]) events.inc({ outcome }, 0);
  for (const kind of WAKE_UPS) wakeUps.inc({ kind }, 0);

  function observePublished(messages: readonly OutgoingMessage[], outcome: PublishOutcome): void {
    const now = Date.now();
    const confirmed = new Set(outcome.confirmed);
    for (const { id, occurredAt } of messages) {
      if (occurredAt && confirmed.has(id)) latencies.observe(Math.max(now - occurredAt.getTime(), 0) / 1000);
    }
  }

  return {
    timed: (publisher) => ({
      async publish(messages, route, timeoutMs) {
        const startedMs = performance.now();
        const outcome = await publisher.publish(messages, route, timeoutMs);
        if (outcome.unknown.length === 0) confirms.observe((performance.now() - startedMs) / 1000);
        observePublished(messages, outcome);
        return outcome;
      },
    }),
    onBatch({ claimed, published, refused, unanswered }, tookMs) {
      sizes.observe(claimed);
      durations.observe(tookMs / 1000);
      events.inc({ outcome: "published" }, published);
      events.inc({ outcome: "refused" }, refused.length);
      events.inc({ outcome: "unanswered" }, unanswered);
    },
    onWakeUp: (kind) => wakeUps.inc({ kind }),
    onRetriesSent: (sent) => retries.inc(sent),
    onResent: (sent) => resent.inc(sent),
  };
}
