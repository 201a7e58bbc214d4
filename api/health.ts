// What whoever runs the process asks: whether it is up, whether it can serve, and its figures in the text format of
// Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/).

import { matchedRoutes } from "hono/route";
import { METHOD_NAME_ALL, METHODS } from "hono/router";
import { Counter, Gauge, Histogram } from "@prometheus-io/client";
import { z } from "zod";
import { countOpenDeadLetters } from "../shared/ops/dead_letters.ts";
import { listHolds } from "../shared/ops/holds.ts";
import { countRecentOrders, countUnpublished } from "../shared/ops/lists.ts";
import { kindOfError } from "../shared/process/errors.ts";
import { createRegistry, type Registry } from "../shared/process/metrics.ts";
import { withTimeout } from "../shared/process/stop.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { countWaitingRetries } from "../shared/sql/set_aside.ts";
import type { AppDeps } from "./deps.ts";
import type { App, Middleware } from "./http.ts";
import { json, route, routes, text } from "./openapi/route.ts";

/** How long the database may take to answer before it counts as not reachable, in milliseconds. */
const PROBE_TIMEOUT_MS = 2000;

const BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
/** Orders whose statuses are counted: read in a few milliseconds, whatever the table has grown to. */
const RECENT_ORDERS = 10_000;
/** The database gets this long to tell its figures, in milliseconds: half of what Prometheus waits for an answer. */
const READ_TIMEOUT_MS = 5000;

type HealthDeps = Pick<AppDeps, "ordersSql" | "isSchemaReady" | "isBrokerUp">;

const part = z.enum(["up", "down"]);
const readinessSchema = z.object({ status: z.enum(["ready", "not ready"]), database: part, broker: part });

/**
 * `/healthz`: the process is up. `/readyz`: database and broker can be worked with; 503 says which cannot. Orders are still
 * accepted while only the broker is away: the outbox keeps their events.
 */
export function healthRoutes(deps: HealthDeps): App {
  return routes(
    "Health",
    route("GET /healthz", "readHealth", "Whether the process is up", {
      answers: [json(200, "It is.", z.object({ status: z.literal("up") }))],
      handle: () => ({ status: "up" }),
    }),
    route("GET /readyz", "readReadiness", "Whether database and broker can be reached", {
      description: "Orders are accepted while only the broker is away.",
      answers: [
        json(200, "Both can.", readinessSchema),
        json(503, "The one that is `down` cannot.", readinessSchema),
      ],
      handle: async ({ c }) => {
        const { database, broker } = await readReadiness(deps);
        const ready = database === "up" && broker === "up";
        return c.json({ status: ready ? "ready" : "not ready", database, broker }, ready ? 200 : 503);
      },
    }),
  );
}

/**
 * Whether the database takes writes and the broker can be reached; the database has two seconds to answer, over the pool
 * that orders are written over: what holds up the page or ops leaves the API able to serve.
 */
export async function readReadiness(
  { ordersSql, isSchemaReady, isBrokerUp }: HealthDeps,
): Promise<{ database: "up" | "down"; broker: "up" | "down" }> {
  const isWritable = () =>
    ordersSql<{ is: boolean }[]>`
    select not pg_is_in_recovery() and current_setting('transaction_read_only') = 'off' as is`
      .then(([writable]) => writable?.is === true, () => false);
  const database = isSchemaReady() && await withTimeout(PROBE_TIMEOUT_MS, isWritable()) ? "up" : "down";
  return { database, broker: isBrokerUp() ? "up" : "down" };
}

type MetricsDeps = Pick<AppDeps, "opsSql" | "isSchemaReady" | "countCreated" | "readQueues">;

/**
 * Makes the figures. Nothing is counted in the background: the gauges are read when they are asked for. While database
 * or broker are away, theirs have no value, for none is better than yesterday's, and the others are told all the same:
 * that is when they are needed.
 */
export function createMetrics(
  deps: MetricsDeps,
): { readonly timeRequests: Middleware; readonly routes: App } {
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
  const gauge: MakeGauge = (name, help, ...labelNames) =>
    new Gauge({ name: `orderflow_${name}`, help, labelNames, registers: [registry] });
  const readTables = createTableMetrics(gauge, deps);
  const readBroker = createBrokerMetrics(gauge, deps);
  const metrics = route("GET /metrics", "readMetrics", "Figures for Prometheus", {
    answers: [text(200, "Requests, outbox, queues, dead letters.", "text/plain")],
    handle: async ({ c }) => {
      await Promise.all([readTables(), readBroker()]);
      return c.text(await registry.metrics(), 200, { "content-type": registry.contentType });
    },
  });
  return { timeRequests, routes: routes("Health", metrics) };
}

const KNOWN_METHODS = new Set(["HEAD", ...METHODS.map((method) => method.toUpperCase())]);

/** Times each request by the route that answers, which is no middleware's; by that of all paths where there is none. */
function createRequestTimer(registry: Registry): Middleware {
  const requests = new Histogram({
    name: "orderflow_http_request_duration_seconds",
    help: "Time from a request to its answer.",
    labelNames: ["method", "route", "status"],
    buckets: BUCKETS_S,
    registers: [registry],
  });
  return async (c, next) => {
    const startedAt = performance.now();
    await next();
    // A client may make up any number of other methods, and each would be a series.
    const method = KNOWN_METHODS.has(c.req.method) ? c.req.method : "other";
    const route = matchedRoutes(c).findLast(({ method }) => method !== METHOD_NAME_ALL)?.path ?? "/*";
    requests.observe({ method, route, status: c.res.status }, (performance.now() - startedAt) / 1000);
  };
}

type MakeGauge = (name: string, help: string, ...labelNames: string[]) => Gauge<string>;

function createTableMetrics(gauge: MakeGauge, { opsSql, isSchemaReady }: MetricsDeps): () => Promise<void> {
  const up = gauge("database_up", "Whether the database can be read: 1 or 0.");
  const recent = gauge("orders_recent", `The newest ${RECENT_ORDERS} orders, by status.`, "status");
  const unpublished = gauge("outbox_unpublished_events", "Events that wait for the relay.");
  const oldest = gauge(
    "outbox_oldest_unpublished_seconds",
    "Age of the oldest event that waits for the relay.",
  );
  const letters = gauge("dead_letters_open", "Dead letters that nobody has dealt with.", "consumer");
  const retries = gauge("delayed_retries_waiting", "Events that a consumer is to get once more.", "consumer");
  const held = gauge("held", "Parts that an operator holds: 1 for each.", "part");
  return async () => {
    const read = isSchemaReady() ? await withTimeout(READ_TIMEOUT_MS, readTables(opsSql)) : null;
    up.set(read ? 1 : 0);
    for (const figure of [recent, letters, retries, held]) figure.reset();
    for (const figure of [unpublished, oldest]) figure.remove(); // they have no labels: a reset would be a 0
    if (!read) return;
    const [statuses, outbox, open, delayed, holds] = read;
    for (const [status, count] of statuses) recent.set({ status }, count);
    unpublished.set(outbox.count);
    oldest.set(outbox.oldestAt ? Math.max(0, Date.now() - outbox.oldestAt.getTime()) / 1000 : 0);
    for (const { consumer, count } of open) letters.set({ consumer }, count);
    for (const { part } of holds) held.set({ part }, 1);
    for (const { consumer, count } of delayed) retries.set({ consumer }, count);
  };
}

/** What the tables say; null while the database is away. */
async function readTables(sql: Sql) {
  try {
    return await Promise.all([
      countRecentOrders(sql, RECENT_ORDERS),
      countUnpublished(sql),
      countOpenDeadLetters(sql),
      countWaitingRetries(sql),
      listHolds(sql),
    ]);
  } catch (error) {
    if (kindOfError(error) === "permanent") throw error;
    return null;
  }
}

function createBrokerMetrics(gauge: MakeGauge, { readQueues }: MetricsDeps): () => Promise<void> {
  const up = gauge("broker_up", "Whether the broker can be reached: 1 or 0.");
  const waiting = gauge("queue_messages", "Messages that wait in a queue.", "queue");
  const subscribed = gauge("queue_consumers", "Consumers that are subscribed to a queue.", "queue");
  return async () => {
    const queues = await readQueues();
    up.set(queues ? 1 : 0);
    waiting.reset();
    subscribed.reset();
    for (const { queue, messages, consumers } of queues ?? []) {
      waiting.set({ queue }, messages);
      subscribed.set({ queue }, consumers);
    }
  };
}
