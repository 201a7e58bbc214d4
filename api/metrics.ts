/**
 * `/metrics`, in the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * @module
 */
import { createMiddleware } from "hono/factory";
import { routePath } from "hono/route";
import { Gauge, Histogram, Registry } from "prom-client";
import type { QueueDepth } from "../shared/broker/queue_depths.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { countOpenDeadLetters } from "../shared/sql/dead_letters.ts";
import { countWaitingRetries } from "../shared/sql/delayed_retries.ts";
import { countUnpublished } from "../shared/sql/outbox_events.ts";
import type { Middleware } from "./correlation.ts";

/** What the figures are read from, each time they are asked for. */
export interface MetricsDeps {
  /** Reads the outbox and the dead letters. */
  readonly opsSql: Sql;
  /** The broker's own figures; null while it cannot be reached. */
  readonly readQueues: () => Promise<readonly QueueDepth[] | null>;
}

/** The figures of this process and of the tables and queues behind it. */
export interface Metrics {
  /** Times every request by method, route and status. */
  readonly timeRequests: Middleware;
  /** All figures as text. */
  render(): Promise<string>;
  /** The media type of that text. */
  readonly contentType: string;
}

const BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** Makes the figures. Nothing is counted in the background: the gauges are read when they are asked for. */
export function createMetrics({ opsSql, readQueues }: MetricsDeps): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Histogram({
    name: "orderflow_http_request_duration_seconds",
    help: "Time from a request to its answer.",
    labelNames: ["method", "route", "status"],
    buckets: BUCKETS_S,
    registers,
  });
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name: `orderflow_${name}`, help, labelNames, registers });
  const unpublished = gauge("outbox_unpublished_events", "Events that wait for the relay.");
  const oldest = gauge(
    "outbox_oldest_unpublished_seconds",
    "Age of the oldest event that waits for the relay.",
  );
  const letters = gauge("dead_letters_open", "Dead letters that nobody has dealt with.", ["consumer"]);
  const retries = gauge("delayed_retries_waiting", "Events that a consumer is to get once more.", [
    "consumer",
  ]);
  const brokerUp = gauge("broker_up", "Whether the broker can be reached: 1 or 0.");
  const waiting = gauge("queue_messages", "Messages that wait in a queue.", ["queue"]);
  const consumers = gauge("queue_consumers", "Consumers that are subscribed to a queue.", ["queue"]);

  async function readTables(): Promise<void> {
    const [outbox, open, delayed] = await Promise.all([
      countUnpublished(opsSql),
      countOpenDeadLetters(opsSql),
      countWaitingRetries(opsSql),
    ]);
    unpublished.set(outbox.count);
    oldest.set(outbox.oldestAt ? Math.max(0, Date.now() - outbox.oldestAt.getTime()) / 1000 : 0);
    letters.reset();
    for (const { consumer, count } of open) letters.set({ consumer }, count);
    retries.reset();
    for (const { consumer, count } of delayed) retries.set({ consumer }, count);
  }

  async function readBroker(): Promise<void> {
    const queues = await readQueues();
    brokerUp.set(queues ? 1 : 0);
    waiting.reset(); // no figure is better than yesterday's
    consumers.reset();
    for (const { queue, messages, consumers: subscribed } of queues ?? []) {
      waiting.set({ queue }, messages);
      consumers.set({ queue }, subscribed);
    }
  }

  return {
    timeRequests: createMiddleware(async (c, next) => {
      const startedAt = performance.now();
      await next();
      const labels = { method: c.req.method, route: routePath(c, -1), status: c.res.status };
      requests.observe(labels, (performance.now() - startedAt) / 1000);
    }),
    async render() {
      await Promise.all([readTables(), readBroker()]);
      return await registry.metrics();
    },
    contentType: registry.contentType,
  };
}
