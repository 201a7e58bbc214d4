// The API process. Its one argument is the folder of the page's bundle; `ui/dist` by default.

import type { Channel } from "amqplib";
import { getConnInfo } from "hono/deno";
import { fileURLToPath } from "node:url";
import {
  bindingsOf,
  connectBroker,
  ensureTopology,
  readQueueDepths,
  tieToConnection,
} from "../shared/broker/connection.ts";
import { createPublisher, type Publisher } from "../shared/broker/publish.ts";
import { withSendSpans } from "../shared/broker/observe.ts";
import { ConfigError, topologyOf } from "../shared/process/config.ts";
import { messageOf } from "../shared/process/errors.ts";
import { keepListening } from "../shared/process/listen.ts";
import type { Logger } from "../shared/process/log.ts";
import { createCounts, keepBeating } from "../shared/process/heartbeat.ts";
import { type ProcessContext, type ProcessScript, runProcess } from "../shared/process/run.ts";
import { runAudit } from "../shared/ops/audit.ts";
import { connect, type ConnectOptions, KEYED_SETTINGS } from "../shared/sql/connect.ts";
import type { DatabaseRole } from "../shared/sql/migrate.ts";
import { CLAIM_SETTINGS, createWakeUps } from "../shared/sql/outbox.ts";
import { aborted, withTimeout } from "../shared/process/stop.ts";
import { findTracer, type Tracer } from "../shared/process/tracing.ts";
import type { Topology } from "../shared/topology.ts";
import { createApp } from "./app.ts";
import { createLiveFeed } from "./ops/live.ts";
import { createTimelineReader } from "../shared/ops/timeline.ts";
import { createOrderPlacer } from "./place_orders.ts";

/** Requests under way get this long to finish when the process is asked to stop, in milliseconds. */
const DRAIN_MS = 3000;
/** One statement of the live feed may take this long, in milliseconds: it is asked for again a second later. */
const LIVE_STATEMENT_MS = 2000;

const VARIABLES = ["HOST", "PORT", "OPS_TOKEN", "CONSUMER_MAX_RETRIES", "UI_BUNDLE_DIR"] as const;

export const script: ProcessScript<(typeof VARIABLES)[number]> = {
  name: "api",
  variables: VARIABLES,
  work: serve,
  startsAtOnce: true, // a database that is away is for /readyz to tell, not for a refused connection
};

async function serve(
  { config, log, stop, schema }: ProcessContext<(typeof VARIABLES)[number]>,
): Promise<void> {
  const topology = topologyOf(config);
  const pool = (
    name: string,
    role: DatabaseRole,
    more: Omit<ConnectOptions, "name" | "role">,
  ) => connect(config.DATABASE_URL, { name, role: config.DATABASE_ROLES ? role : null, ...more });
  const ordersSql = pool("api", "orderflow_orders", { max: 4, settings: KEYED_SETTINGS });
  const opsSql = pool("api ops", "orderflow_ops", { max: 4 });
  const liveSql = pool("api live", "orderflow_ops", { // of its own: who watches must not hold up who works
    max: 2,
    statementTimeoutMs: LIVE_STATEMENT_MS,
    settings: CLAIM_SETTINGS,
  });
  const tracer = findTracer();
  const counts = createCounts(["orders"]);
  let isSchemaReady = false;
  const beating = schema.then(() => {
    isSchemaReady = true;
    return keepBeating({ sql: ordersSql, process: "api", counts, log }, stop);
  }, () => {}); // the process ends when it rejects
  const broker = openBroker(config.AMQP_URL, topology, log, tracer);
  const { readQueues } = broker;
  const live = createLiveFeed({ sql: liveSql, readQueues, log });
  const { ordersPaymentEvents, ordersLifecycleEvents } = topology.queues;
  const app = createApp({
    placeOrder: createOrderPlacer(
      ordersSql,
      createWakeUps(),
      log,
      (orders) => counts.add({ orders }),
      tracer,
    ),
    countCreated: () => counts.read().counts.orders ?? 0,
    ordersSql,
    opsSql,
    readTimelines: createTimelineReader(opsSql, [ordersPaymentEvents.name, ordersLifecycleEvents.name]),
    audit: (graceSeconds) =>
      runAudit(opsSql, topology, { graceSeconds, retentionDays: config.RETENTION_DAYS }),
    bindings: bindingsOf(topology),
    retentionDays: config.RETENTION_DAYS,
    maxRetries: config.CONSUMER_MAX_RETRIES,
    isSchemaReady: () => isSchemaReady,
    isBrokerUp: broker.isUp,
    readQueues,
    live,
    bundle: config.UI_BUNDLE_DIR ?? fileURLToPath(new URL("../ui/dist", import.meta.url)),
    publisher: broker.publisher,
    ...(config.FAULTS_ENABLED ? { faults: topology } : {}),
    isTraced: tracer !== null,
    access: { token: config.OPS_TOKEN, remoteAddress: (c) => getConnInfo(c).remote.address ?? null },
    log,
  });

  const { HOST: host, PORT: port } = config;
  const server = keepListening((port) => listen(host, port, app.fetch), port, log, stop);
  log.info("Listening", { url: `http://${host.includes(":") ? `[${host}]` : host}:${server.port}` });
  await aborted(stop);
  const closing = Promise.all([live.close(), server.shutdown()]); // the server waits for the streams
  const [drained] = await Promise.all([withTimeout(DRAIN_MS, closing), beating]);
  await broker.close();
  await Promise.all([ordersSql, opsSql, liveSql].map((sql) => sql.end({ timeout: 1 })));
  if (!drained) {
    log.warning("Requests were under way when the process ended", { drainMs: DRAIN_MS });
    Deno.exit(0); // a client that neither sends nor reads must not keep the process
  }
}

/** The connection to the broker, and what goes over it: null while it is down. */
function openBroker(url: string, topology: Topology, log: Logger, tracer: Tracer | null) {
  let up: { readonly channel: Channel; readonly publisher: Publisher } | null = null;
  const broker = connectBroker({
    url,
    name: "api",
    log,
    setup: async (model) => {
      const channel = await model.createConfirmChannel();
      tieToConnection(channel, model, log, () => up = null);
      await ensureTopology(model, topology);
      const publisher = createPublisher(channel, () => void model.close().catch(() => {}));
      up = { channel, publisher: withSendSpans(publisher, tracer, url) };
    },
  });
  return {
    ...broker,
    publisher: () => up?.publisher ?? null,
    // Gone under the question, it is as good as not there.
    readQueues: async () => up && await readQueueDepths(up.channel, topology).catch(() => null),
  };
}

function listen(
  hostname: string,
  port: number,
  handler: Deno.ServeHandler<Deno.NetAddr>,
): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({ hostname, port, onListen: () => {} }, handler);
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      throw new ConfigError(
        `Port ${port} on ${hostname} is taken. Stop what uses it, or set PORT to another one.`,
      );
    }
    throw new ConfigError(`Cannot listen on HOST ${hostname}, PORT ${port}: ${messageOf(error)}`);
  }
}

if (import.meta.main) await runProcess(script);
