/**
 * What the processes tell Prometheus is true, and the dashboard, the alerts and the documents ask for nothing else.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { EXIT_CONFIG } from "../shared/process/run.ts";
import { RESERVED_COURSES } from "../shared/scenarios.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { insertRetries } from "../shared/sql/set_aside.ts";
import { API, CONSUMERS, PROCESSES, RELAY } from "../workers/dev/processes.ts";
import { eventually } from "./support/eventually.ts";
import { settled } from "./support/ledger.ts";
import { figuresSay, problemsOf, scrape, sumBy, tablesSay, usedMetrics } from "./support/metrics.ts";
import { alertRules, dashboardQueries } from "./support/monitoring.ts";
import { placeOrders } from "./support/place_orders.ts";
import { orderCreated } from "./support/test_events.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

/** Metrics that are not on the dashboard, on purpose. */
const UNUSED: readonly string[] = [];

Deno.test("the figures of running processes", async (t) => {
  const reconcileSoon = { OUTBOX_RECONCILE_INTERVAL_MS: "100", OUTBOX_RECONCILE_AFTER_MS: "2000" };
  await using stack = await startStack({ FAULTS_ENABLED: "true", ...reconcileSoon }, {
    apart: [],
    metrics: true,
  });
  const { success, paymentFailure, enrollmentFailure } = RESERVED_COURSES;
  const courses = [success, paymentFailure, enrollmentFailure];
  await placeOrders(stack.url, { orders: 30, connections: 3, courseOf: (n) => courses[n % 3] ?? success });

  await t.step("say what happened: orders, a duplicate, a retry and a dead letter", async () => {
    await post(stack, "PUT", "/ops/faults", { faults: [{ point: "provider.failing", times: 1 }] });
    await placeOrders(stack.url, { orders: 1, connections: 1 });
    await post(stack, "POST", "/ops/scenarios/malformed-message");
    await settled(stack);
    await post(stack, "POST", `/ops/outbox/${await anOrderCreated(stack.db.sql)}/republish`);
    // A process counts right after its commit, so the tables may be a moment ahead.
    await eventually("the figures to be what the tables say", async () => {
      assertEquals(figuresSay(await scrape(stack)), await tablesSay(stack.db.sql));
      return true;
    });
    const { duplicates, failed, deadLetters } = await tablesSay(stack.db.sql);
    for (const found of [duplicates, failed, deadLetters]) assert(Object.keys(found).length > 0);
    assertEquals(stack.crashes, []);
  });

  await t.step("say how the queues and the services stand", async () => {
    const metrics = await scrape(stack);
    const queues = Object.values(stack.broker.topology.queues).map(({ name }) => [name, 1]);
    assertEquals(
      sumBy(metrics, "orderflow_queue_consumers", ({ queue }) => queue),
      Object.fromEntries(queues),
    );
    const up = ["orderflow_database_up", "orderflow_broker_up"].map((name) =>
      sumBy(metrics, name, () => "up")
    );
    assertEquals(up, [{ up: 1 }, { up: 1 }]);
  });

  await t.step("say what the broker has lost, and what was sent again", async () => {
    await post(stack, "POST", "/ops/scenarios/lost-message");
    await eventually("the lost event to be sent again", async () => {
      const { all = 0 } = sumBy(await scrape(stack), "orderflow_relay_resent_events_total", () => "all");
      return all >= 1;
    });
  });

  await keepOneRetryWaiting(stack);
  const metrics = await scrape(stack);

  await t.step("are all that the dashboard and the alerts ask for", async () => {
    for (const { where, expression, mentioned } of [...await dashboardQueries(), ...await alertRules()]) {
      assertEquals(problemsOf(expression, mentioned, metrics), [], `${where}: ${expression}`);
    }
  });

  await t.step("are all on the dashboard, but for those that are left out on purpose", async () => {
    const used = usedMetrics((await dashboardQueries()).map(({ expression }) => expression), metrics);
    assertEquals([...metrics.keys()].filter((name) => !used.has(name)).toSorted(), UNUSED.toSorted());
  });

  await t.step("are those of monitoring's table", async () => {
    const document = await Deno.readTextFile(new URL("monitoring/README.md", import.meta.url));
    const table = [...document.matchAll(/^\| (`\w+` .*\| (?:counter|gauge|histogram) .*) \|$/gm)];
    const rows = table.map(([, row = ""]) => row.split("|").map((cell) => cell.trim()).join(" | "));
    const exported = [...metrics].map(([name, { type, labels, from, help }]) =>
      [`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(", "), whoIs(from), help].join(" | ")
    );
    assertEquals(rows.toSorted(), exported.toSorted());
  });

  await t.step("are a worker's alone: a copy on its port stops and says so", async () => {
    assertEquals((await stack.startCopy("outbox-relay").ended).code, EXIT_CONFIG);
  });

  await t.step("hold up nobody: a worker stops while a client is connected", async () => {
    const { hostname, port } = new URL(stack.metricsUrls.get("outbox-relay") ?? "");
    using _client = await Deno.connect({ hostname, port: Number(port) });
    assertEquals(await stack.stop("outbox-relay"), 0);
  });
});

async function post(stack: TestStack, method: string, path: string, body?: unknown): Promise<void> {
  const response = await fetch(`${stack.url}${path}`, {
    method,
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  assert(response.ok, `${path}: ${response.status} ${text}`);
}

async function anOrderCreated(sql: Sql): Promise<string> {
  const [row] = await sql<
    { id: string }[]
  >`select id from outbox_events where type = 'order.created' limit 1`;
  return row?.id ?? "";
}

/** So that the gauge of waiting retries has a series. */
async function keepOneRetryWaiting({ db, broker }: TestStack): Promise<void> {
  const { event, traceparent } = orderCreated();
  const { eventId, type, correlationId, data: { orderId: aggregateId } } = event;
  await insertRetries(db.sql, [{
    consumer: broker.topology.queues.paymentsOrderCreated.name,
    eventId,
    eventType: type,
    aggregateId,
    correlationId,
    traceparent,
    body: new TextEncoder().encode(JSON.stringify(event)),
    error: "for this test",
    retries: 1,
    ageMs: 0,
    delayMs: 3_600_000,
  }]);
}

/** Which processes they are, in a word. */
function whoIs(processes: readonly string[]): string {
  if (processes.length === PROCESSES.length) return "all";
  if (processes.length === CONSUMERS.length) return "consumers";
  if (processes.every((name) => name.startsWith("orders-"))) return "orders' consumers";
  return processes.map((name) => name === RELAY.name ? "relay" : name === API.name ? "API" : name).join(", ");
}
