/**
 * `/metrics`, in the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * @module
 */
import { createMiddleware } from "hono/factory";
import { routePath } from "hono/route";
import { Counter, Gauge, Histogram } from "prom-client";
import type { QueueDepth } from "../shared/broker/queue_depths.ts";
import { kindOfError } from "../shared/errors.ts";
import { createRegistry } from "../shared/process_metrics.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { countOpenDeadLetters } from "../shared/sql/dead_letters.ts";
import { countWaitingRetries } from "../shared/sql/delayed_retries.ts";
import { countRecentOrders } from "../shared/sql/orders.ts";
import { countUnpublished } from "../shared/sql/outbox_events.ts";
import { orNullAfter } from "../shared/stop.ts";
import type { Middleware } from "./correlation.ts";

/** What the figures are read from, each time they are asked for. */
export interface MetricsDeps {
  /** Reads the orders, the outbox and the dead letters. */
  readonly opsSql: Sql;
  /** Whether the database has been reached since the process started, and its schema is up to date. */
  readonly isSchemaReady: () => boolean;
  /** How many orders this process has created; 0 unless told. */
  readonly countCreated?: () => number;
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

/** Orders whose statuses are counted: read in a few milliseconds, whatever the table has grown to. */
const RECENT_ORDERS = 10_000;
/** The database gets this long to tell its figures, in milliseconds: half of what Prometheus waits for an answer. */
const READ_TIMEOUT_MS = 5000;

/**
 * Makes the figures. Nothing is counted in the background: the gauges are read when they are asked for. While the
 * database is away its gauges have no value, and the others are told all the same: that is when they are needed.
 */
export function createMetrics(deps: MetricsDeps): Metrics {
  const { opsSql, isSchemaReady, readQueues, countCreated = () => 0 } = deps;
  const registry = createRegistry("api");
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
  new Counter({
    name: "orderflow_orders_created_total",
    help: "Orders that this process has created.",
    registers,
    collect() {
      this.reset();
      this.inc(countCreated());
    },
  });
  const recent = gauge("orders_recent", `The newest ${RECENT_ORDERS} orders, by status.`, ["status"]);
  const databaseUp = gauge("database_up", "Whether the database can be read: 1 or 0.");
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
    const read = isSchemaReady() ? await orNullAfter(READ_TIMEOUT_MS, readAll(opsSql)) : null;
    databaseUp.set(read ? 1 : 0);
    for (const figure of [recent, letters, retries]) figure.reset(); // no figure is better than yesterday's
    for (const figure of [unpublished, oldest]) figure.remove(); // they have no labels: a reset would be a 0
    if (!read) return;
    const [statuses, outbox, open, delayed] = read;
    for (const [status, count] of statuses) recent.set({ status }, count);
    unpublished.set(outbox.count);
    oldest.set(outbox.oldestAt ? Math.max(0, Date.now() - outbox.oldestAt.getTime()) / 1000 : 0);
    for (const { consumer, count } of open) letters.set({ consumer }, count);
    for (const { consumer, count } of delayed) retries.set({ consumer }, count);
  }

  async function readBroker(): Promise<void> {
    const queues = await readQueues();
    brokerUp.set(queues ? 1 : 0);
    waiting.reset();
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

/** What the tables say; null while the database is away. */
async function readAll(sql: Sql) {
  try {
    return await Promise.all([
      countRecentOrders(sql, RECENT_ORDERS),
      countUnpublished(sql),
      countOpenDeadLetters(sql),
      countWaitingRetries(sql),
    ]);
  } catch (error) {
    if (kindOfError(error) === "permanent") throw error;
    return null;
  }
}
