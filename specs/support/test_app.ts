// The HTTP application on a test's database, without a broker, and served over a socket where a test needs one.

import { join } from "node:path";
import { createApp } from "../../api/app.ts";
import type { AppDeps } from "../../api/deps.ts";
import { createLiveFeed } from "../../api/ops/live.ts";
import { createTimelineReader } from "../../shared/ops/timeline.ts";
import { createWakeUps } from "../../shared/sql/outbox.ts";
import { createOrderPlacer } from "../../api/place_orders.ts";
import { bindingsOf } from "../../shared/broker/connection.ts";
import { runAudit } from "../../shared/ops/audit.ts";
import { ask, call } from "./http.ts";
import { usualTopology } from "./test_broker.ts";
import { testLog } from "./test_log.ts";
import type { TestSchema } from "./test_schema.ts";

/** An application, what it was made of, and what asks it. */
export type TestApp = ReturnType<typeof testApp>;

type Body = [body?: unknown, headers?: Record<string, string>];

/** Makes the application as the API's process does, but for what `more` replaces. */
export function testApp(db: TestSchema, more: Partial<AppDeps> = {}) {
  const topology = usualTopology();
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
  const app = createApp(deps);
  return {
    app,
    deps,
    ask: (line: string, ...body: Body) => ask(app, line, ...body),
    call: (line: string, ...body: Body) => call(app, line, ...body),
  };
}

/** A bundle of the page, in a folder that is deleted with it. Beside it is a file that is none of it. */
export async function testBundle(): Promise<{ readonly folder: string } & AsyncDisposable> {
  const root = await Deno.makeTempDir({ prefix: "orderflow_bundle_" });
  const folder = join(root, "dist");
  await Deno.mkdir(join(folder, "docs"), { recursive: true });
  const names = { script: "island-XOCXUP7F.js", styles: "plain.css" }; // with a hash and without one
  const files = [...Object.values(names), "docs/index.html", "docs/reference.js"];
  for (const name of files) await Deno.writeTextFile(join(folder, name), "x");
  await Deno.writeTextFile(join(folder, "assets.json"), JSON.stringify(names));
  await Deno.writeTextFile(join(root, "secret.js"), "secret");
  return { folder, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

/** An application that listens. Disposing of it ends its streams and its server. */
export type ServedApp = AsyncDisposable & { readonly url: string };

/** Serves `app` on a free port of 127.0.0.1. */
export function serve({ app, deps }: Pick<TestApp, "app" | "deps">): ServedApp {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, app.fetch);
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    async [Symbol.asyncDispose]() {
      await Promise.all([deps.live.close(), server.shutdown()]);
    },
  };
}
