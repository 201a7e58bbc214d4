// What the relay's process tells of itself: counts for its heartbeat and, where they are asked for, figures for Prometheus.

import { Counter, Histogram } from "@prometheus-io/client";
import type { Publisher } from "../../shared/broker/publish.ts";
import { createCounts } from "../../shared/process/heartbeat.ts";
import type { Registry } from "../../shared/process/metrics.ts";
import type { WakeUp } from "../../shared/sql/outbox.ts";
import type { RelayedBatch } from "./relay.ts";

const BATCH_BUCKETS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000];
const DURATION_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const LATENCY_BUCKETS_S = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/**
 * Makes the observer. Without a registry it only counts; in one, all series are there from the start, at 0. `timed` times
 * a publisher's batches until the broker has answered for all of one; `onBatch` is told of a batch after its commit.
 */
export function observeRelay(registry: Registry | null) {
  const counts = createCounts(["published", "refused", "retries"]);
  const figures = registry && createFigures(registry);
  return {
    counts,
    timed: (publisher: Publisher) => figures ? timed(publisher, figures) : publisher,
    onBatch({ claimed, published, refused, unanswered }: RelayedBatch, tookMs: number): void {
      counts.add({ published, refused: refused.length });
      figures?.sizes.observe(claimed);
      figures?.durations.observe(tookMs / 1000);
      figures?.events.inc({ outcome: "published" }, published);
      figures?.events.inc({ outcome: "refused" }, refused.length);
      figures?.events.inc({ outcome: "unanswered" }, unanswered);
    },
    onWakeUp: (kind: WakeUp) => figures?.wakeUps.inc({ kind }),
    onRetriesSent(retries: number): void {
      counts.add({ retries });
      figures?.retries.inc(retries);
    },
    onResent: (events: number) => figures?.resent.inc(events),
  };
}

type Figures = ReturnType<typeof createFigures>;

function createFigures(registry: Registry) {
  const registers = [registry];
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name: `orderflow_relay_${name}`, help, buckets, registers });
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name: `orderflow_relay_${name}`, help, labelNames, registers });
  const figures = {
    sizes: histogram("batch_events", "Events that were claimed together.", BATCH_BUCKETS),
    durations: histogram(
      "batch_duration_seconds",
      "From the claim of a batch to the commit that marks it.",
      DURATION_BUCKETS_S,
    ),
    confirms: histogram(
      "confirm_duration_seconds",
      "From the sending of a batch to the broker's last confirm.",
      DURATION_BUCKETS_S,
    ),
    latencies: histogram(
      "event_latency_seconds",
      "From the time when an event happened to the broker's confirm.",
      LATENCY_BUCKETS_S,
    ),
    events: counter("events_total", "Claimed events, by what the broker answered.", ["outcome"]),
    wakeUps: counter("wake_ups_total", "Times that the relay was woken, by what for.", ["kind"]),
    retries: counter("retries_sent_total", "Delayed retries that were sent to their consumers."),
    resent: counter("resent_events_total", "Published events that never arrived and were sent again."),
  };
  for (const outcome of ["published", "refused", "unanswered"]) figures.events.inc({ outcome }, 0);
  const kinds: readonly WakeUp[] = ["events", "tick", "retries"];
  for (const kind of kinds) figures.wakeUps.inc({ kind }, 0);
  return figures;
}

function timed(publisher: Publisher, { confirms, latencies }: Figures): Publisher {
  return {
    async publish(messages, route, timeoutMs) {
      const startedMs = performance.now();
      const outcome = await publisher.publish(messages, route, timeoutMs);
      if (outcome.unknown.length === 0) confirms.observe((performance.now() - startedMs) / 1000);
      const now = Date.now();
      const confirmed = new Set(outcome.confirmed);
      for (const { id, occurredAt } of messages) {
        if (occurredAt && confirmed.has(id)) {
          latencies.observe(Math.max(now - occurredAt.getTime(), 0) / 1000);
        }
      }
      return outcome;
    },
  };
}
