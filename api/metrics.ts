/**
 * `/metrics`, in the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * @module
 */
import { createMiddleware } from "hono/factory";
import { matchedRoutes } from "hono/route";
import { METHOD_NAME_ALL, METHODS } from "hono/router";
import { Counter, Gauge, Histogram } from "@prometheus-io/client";
import type { QueueDepth } from "../shared/broker/connection.ts";
import { createRegistry, type Registry } from "../shared/process/metrics.ts";
import type { Middleware } from "./correlation.ts";
import type { RequestContext } from "./http.ts";
import { createTableMetrics, type TableMetricsDeps } from "./table_metrics.ts";

/** What the figures are read from, each time they are asked for. */
export interface MetricsDeps extends TableMetricsDeps {
  /** How many orders this process has created; 0 by default. */
  readonly countCreated?: () => number;
  /** The broker's own figures; null while it cannot be reached. */
  readonly readQueues: () => Promise<readonly QueueDepth[] | null>;
}

/** The figures of this process and of the tables and queues behind it. */
export interface Metrics {
  readonly timeRequests: Middleware;
  render(): Promise<string>;
  readonly contentType: string;
}

const BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/**
 * Makes the figures. Nothing is counted in the background: the gauges are read when they are asked for. While database
 * or broker are away, theirs have no value, and the others are told all the same: that is when they are needed.
 */
export function createMetrics(deps: MetricsDeps): Metrics {
  const registry = createRegistry("api");
  const { countCreated = () => 0 } = deps;
  new Counter({
    name: "orderflow_orders_created_total",
    help: "Orders that this process has created.",
    registers: [registry],
    collect() {
      this.reset();
      this.inc(countCreated());
    },
  });
  const timeRequests = createRequestTimer(registry);
  const readTables = createTableMetrics(registry, deps);
  const readBroker = createBrokerMetrics(registry, deps);
  return {
    timeRequests,
    async render() {
      await Promise.all([readTables(), readBroker()]);
      return await registry.metrics();
    },
    contentType: registry.contentType,
  };
}

function createRequestTimer(registry: Registry): Middleware {
  const requests = new Histogram({
    name: "orderflow_http_request_duration_seconds",
    help: "Time from a request to its answer.",
    labelNames: ["method", "route", "status"],
    buckets: BUCKETS_S,
    registers: [registry],
  });
  return createMiddleware(async (c, next) => {
    const startedAt = performance.now();
    await next();
    const labels = { method: methodOf(c), route: routeOf(c), status: c.res.status };
    requests.observe(labels, (performance.now() - startedAt) / 1000);
  });
}

const KNOWN_METHODS = new Set(["HEAD", ...METHODS.map((method) => method.toUpperCase())]);

/** The method, as far as it is a known one: a client may make up any number of others, and each would be a series. */
function methodOf(c: RequestContext): string {
  return KNOWN_METHODS.has(c.req.method) ? c.req.method : "other";
}

/** The route that answers, which is not a middleware's; for a path that there is none for, the one of all paths. */
function routeOf(c: RequestContext): string {
  return matchedRoutes(c).findLast(({ method }) => method !== METHOD_NAME_ALL)?.path ?? "/*";
}

function createBrokerMetrics(registry: Registry, deps: Pick<MetricsDeps, "readQueues">): () => Promise<void> {
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name: `orderflow_${name}`, help, labelNames, registers: [registry] });
  const up = gauge("broker_up", "Whether the broker can be reached: 1 or 0.");
  const waiting = gauge("queue_messages", "Messages that wait in a queue.", ["queue"]);
  const subscribed = gauge("queue_consumers", "Consumers that are subscribed to a queue.", ["queue"]);
  return async () => {
    const queues = await deps.readQueues();
    up.set(queues ? 1 : 0);
    waiting.reset();
    subscribed.reset();
    for (const { queue, messages, consumers } of queues ?? []) {
      waiting.set({ queue }, messages);
      subscribed.set({ queue }, consumers);
    }
  };
}
