/**
 * A consumer's figures for Prometheus.
 *
 * @module
 */
import { Counter, Histogram } from "prom-client";
import type { Registry } from "../process_metrics.ts";
import type { SettledBatch } from "./count_batch.ts";
import type { Verdict } from "./next_step.ts";

/** What can become of a message that is settled. */
const OUTCOMES: readonly Verdict["kind"][] = ["done", "duplicate", "early", "failed", "rejected"];

const BATCH_BUCKETS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000];
const DURATION_BUCKETS_S = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const LATENCY_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/**
 * Makes the figures of `consumer` in `registry`; what it answers with is to be told of each settled batch. A message
 * counts once for each delivery, when that is settled: not each time that it is looked at. Every label has few values,
 * and all series but the dead letters' are there from the start, because Prometheus sees no increase in a series' first
 * value (https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics).
 */
export function createConsumerMetrics(
  registry: Registry,
  consumer: string,
): (batch: SettledBatch) => void {
  const registers = [registry];
  const histogram = (name: string, help: string, buckets: number[]) => {
    const made = new Histogram({
      name: `orderflow_consumer_${name}`,
      help,
      labelNames: ["consumer"],
      buckets,
      registers,
    });
    made.zero({ consumer });
    return made.labels(consumer);
  };
  const counter = (name: string, help: string, ...labels: string[]) =>
    new Counter({
      name: `orderflow_consumer_${name}`,
      help,
      labelNames: ["consumer", ...labels],
      registers,
    });
  const sizes = histogram("batch_messages", "Messages that were taken up together.", BATCH_BUCKETS);
  const durations = histogram(
    "batch_duration_seconds",
    "From the taking up of a batch to its ack.",
    DURATION_BUCKETS_S,
  );
  const latencies = histogram(
    "event_latency_seconds",
    "From the time when an event happened to its ack, of those that were processed.",
    LATENCY_BUCKETS_S,
  );
  const messages = counter("messages_total", "Settled messages, by what became of them.", "outcome");
  const retries = counter("retries_total", "Messages that are to be delivered once more, later.");
  const letters = counter("dead_letters_total", "Messages that were given up on, by the reason.", "reason");
  for (const outcome of OUTCOMES) messages.inc({ consumer, outcome }, 0);
  retries.inc({ consumer }, 0);

  return (batch) => {
    sizes.observe(batch.verdicts.size);
    durations.observe(batch.tookMs / 1000);
    const now = Date.now();
    const counts: Record<string, number> = {};
    for (const delivery of batch.settled) {
      const { parsed } = delivery;
      const outcome = batch.verdicts.get(delivery)?.kind;
      if (outcome === undefined) continue;
      counts[outcome] = (counts[outcome] ?? 0) + 1;
      if (outcome !== "done" || !parsed.ok) continue;
      latencies.observe(Math.max(now - Date.parse(parsed.event.occurredAt), 0) / 1000);
    }
    for (const [outcome, count] of Object.entries(counts)) messages.inc({ consumer, outcome }, count);
    if (batch.retries > 0) retries.inc({ consumer }, batch.retries);
    for (const { reason } of batch.letters) letters.inc({ consumer, reason });
  };
}
