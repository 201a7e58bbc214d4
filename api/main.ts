/**
 * The API process.
 *
 * @module
 */
import type { Channel } from "amqplib";
import { getConnInfo } from "hono/deno";
import { connectBroker, tieToConnection } from "../shared/broker/connect.ts";
import { declareTopology } from "../shared/broker/declare.ts";
import { createPublisher, type Publisher } from "../shared/broker/publish.ts";
import { readQueueDepths } from "../shared/broker/queue_depths.ts";
import { ConfigError, topologyOf } from "../shared/config.ts";
import { runProcess, WORKER_VARIABLES } from "../shared/process.ts";
import { runAudit } from "../shared/sql/audit.ts";
import { connect } from "../shared/sql/connect.ts";
import { createOutboxWaker } from "../shared/sql/outbox_wakeup.ts";
import { aborted, within } from "../shared/stop.ts";
import { createApp } from "./app.ts";
import { createTimelineReader } from "./order_timeline.ts";
import { createOrderPlacer } from "./place_orders.ts";

/** Requests under way get this long to finish when the process is asked to stop, in milliseconds. */
const DRAIN_MS = 3000;

if (import.meta.main) {
  await runProcess(
    "api",
    [...WORKER_VARIABLES, "HOST", "PORT", "OPS_TOKEN", "RETENTION_DAYS"],
    async ({ config, log, stop }) => {
      const topology = topologyOf(config);
      const roles = config.DATABASE_ROLES;
      const ordersSql = connect(config.DATABASE_URL, {
        name: "api",
        role: roles ? "orderflow_orders" : null,
        max: 4,
      });
      const opsSql = connect(config.DATABASE_URL, {
        name: "api ops",
        role: roles ? "orderflow_ops" : null,
        max: 4,
      });
      const waker = createOutboxWaker(ordersSql);
      let looking: Channel | null = null;
      let publisher: Publisher | null = null;
      const readQueues = async () => {
        // Gone under the question, it is as good as not there.
        return looking ? await readQueueDepths(looking, topology).catch(() => null) : null;
      };
      const broker = await connectBroker({
        url: config.AMQP_URL,
        name: "api",
        log,
        setup: async (model) => {
          const channel = await model.createConfirmChannel();
          tieToConnection(channel, model, log, () => {
            looking = null;
            publisher = null;
          });
          await declareTopology(channel, topology);
          looking = channel;
          publisher = createPublisher(channel);
        },
      });
      const { ordersPaymentEvents, ordersLifecycleEvents } = topology.queues;
      const app = createApp({
        placeOrder: createOrderPlacer(ordersSql, waker, log),
        opsSql,
        readTimelines: createTimelineReader(opsSql, [ordersPaymentEvents.name, ordersLifecycleEvents.name]),
        audit: (graceSeconds) =>
          runAudit(opsSql, topology, { graceSeconds, retentionDays: config.RETENTION_DAYS }),
        isBrokerUp: broker.isUp,
        readQueues,
        publisher: () => publisher,
        access: { token: config.OPS_TOKEN, remoteAddress: (c) => getConnInfo(c).remote.address ?? null },
        log,
      });

      const server = listen(config.HOST, config.PORT, app.fetch, (port) => {
        log.info("Listening", { url: `http://${config.HOST}:${port}` });
      });
      await aborted(stop);
      await within(DRAIN_MS, server.shutdown());
      await waker.close();
      await broker.close();
      await Promise.all([ordersSql.end({ timeout: 1 }), opsSql.end({ timeout: 1 })]);
    },
  );
}

function listen(
  hostname: string,
  port: number,
  handler: Deno.ServeHandler<Deno.NetAddr>,
  onPort: (port: number) => void,
): Deno.HttpServer {
  try {
    return Deno.serve({ hostname, port, onListen: (address) => onPort(address.port) }, handler);
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new ConfigError(
      `Port ${port} on ${hostname} is taken. Stop what uses it, or set PORT to another one.`,
    );
  }
}
