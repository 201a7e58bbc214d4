/**
 * The HTTP application on a test's database, without a broker, and served over a socket where a test needs one.
 *
 * @module
 */
import { createApp } from "../../api/app.ts";
import type { AppDeps } from "../../api/deps.ts";
import { createLiveFeed } from "../../api/ops/live_feed.ts";
import { createTimelineReader } from "../../shared/ops/timeline.ts";
import { createWakeUps } from "../../shared/sql/outbox.ts";
import { createOrderPlacer } from "../../api/place_orders.ts";
import { bindingsOf } from "../../shared/broker/connection.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { runAudit } from "../../shared/ops/audit.ts";
import { testLog } from "./test_log.ts";
import type { TestSchema } from "./test_schema.ts";

/** An application, and what it was made of. */
export type TestApp = { readonly app: ReturnType<typeof createApp>; readonly deps: AppDeps };

/** Makes the application as the API's process does, but for what `more` replaces. */
export function testApp(db: TestSchema, more: Partial<AppDeps> = {}): TestApp {
  const topology = topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));
  const { ordersPaymentEvents, ordersLifecycleEvents } = topology.queues;
  const ordersSql = db.as("orderflow_orders");
  const opsSql = db.as("orderflow_ops");
  const { readQueues = () => Promise.resolve(null) } = more;
  const deps: AppDeps = {
    placeOrder: createOrderPlacer(ordersSql, createWakeUps(), testLog),
    ordersSql,
    opsSql,
    readTimelines: createTimelineReader(opsSql, [ordersPaymentEvents.name, ordersLifecycleEvents.name]),
    audit: (graceSeconds) => runAudit(opsSql, topology, { graceSeconds }),
    bindings: bindingsOf(topology),
    retentionDays: 14,
    isSchemaReady: () => true,
    isBrokerUp: () => false,
    publisher: () => null,
    readQueues,
    live: createLiveFeed({ sql: opsSql, readQueues, log: testLog }),
    bundle: "no-such-folder",
    access: { token: undefined, remoteAddress: () => "127.0.0.1" },
    log: testLog,
    ...more,
  };
  return { app: createApp(deps), deps };
}

/** An application that listens. Disposing of it ends its streams and its server. */
export type ServedApp = AsyncDisposable & { readonly url: string };

/** Serves `app` on a free port of 127.0.0.1. */
export function serve({ app, deps }: TestApp): ServedApp {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, app.fetch);
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    async [Symbol.asyncDispose]() {
      await Promise.all([deps.live.close(), server.shutdown()]);
    },
  };
}
