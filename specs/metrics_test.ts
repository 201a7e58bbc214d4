// What the processes tell Prometheus is true, and the dashboard, the alerts and the documents ask for nothing else.

import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { z } from "zod";
import { holdPart } from "../shared/ops/holds.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { insertRetries } from "../shared/sql/set_aside.ts";
import { API, CONSUMERS, PROCESSES, RELAY } from "../workers/dev/processes.ts";
import { eventually } from "./support/eventually.ts";
import { call } from "./support/http.ts";
import { settled } from "./support/ledger.ts";
import { type Exported, labelsIn, readExposition, type Series, seriesNames } from "./support/monitoring.ts";
import { mixedCourse, placeOrders } from "./support/place_orders.ts";
import { newRetry } from "./support/test_events.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack, type TestStack } from "./support/test_stack.ts";

shareTestSchema();

const read = (name: string) => Deno.readTextFileSync(new URL(`monitoring/${name}`, import.meta.url));

Deno.test("the figures of running processes", async (t) => {
  const reconcileSoon = { OUTBOX_RECONCILE_INTERVAL_MS: "100", OUTBOX_RECONCILE_AFTER_MS: "2000" };
  await using stack = await startStack({ FAULTS_ENABLED: "true", ...reconcileSoon }, {
    apart: [],
    metrics: true,
  });
  await placeOrders(stack.url, { orders: 30, connections: 3, courseOf: mixedCourse });

  await t.step("say what happened: orders, a duplicate, a retry and a dead letter", async () => {
    await call(stack.url, "PUT /ops/faults", { faults: [{ point: "provider.failing", times: 1 }] });
    await placeOrders(stack.url, { orders: 1, connections: 1 });
    await call(stack.url, `POST /ops/scenarios/malformed-message`);
    await settled(stack);
    const [event] = await stack.db.sql`select id from outbox_events where type = 'order.created' limit 1`;
    await call(stack.url, `POST /ops/outbox/${event?.id}/republish`);
    await eventually("the repeat", async () => {
      const { count } = await stack.db.sql`
        select from processed_events where event_id = ${event?.id} and duplicates > 0`;
      return count > 0;
    });
    const metrics = await eventually("the figures to be what the tables say", async () => {
      const metrics = await scrape(stack); // a process counts right after its commit: the tables may be a moment ahead
      const facts = Object.entries(factsOf(metrics, stack.db.sql));
      for (const [fact, [figures, rows]] of facts) {
        const counts = Object.fromEntries((await rows).map(({ key, count }) => [key, count]));
        assertEquals(figures, counts, fact);
        assert(Object.keys(counts).length > 0, `nothing is ${fact}`);
      }
      return metrics;
    });
    assertEquals(stack.crashes, []);
    const queues = Object.values(stack.broker.topology.queues).map(({ name }) => [name, 1]);
    const consumers = sumBy(metrics, "orderflow_queue_consumers", ({ queue }) => queue);
    assertEquals(consumers, Object.fromEntries(queues));
    for (const name of ["orderflow_database_up", "orderflow_broker_up"]) {
      assertEquals(sumBy(metrics, name), { all: 1 });
    }
  });

  await t.step("say what the broker has lost, and what was sent again", async () => {
    await call(stack.url, `POST /ops/scenarios/lost-message`);
    await eventually("the lost event to be sent again", async () => {
      return Number(sumBy(await scrape(stack), "orderflow_relay_resent_events_total").all) >= 1;
    });
  });

  // So that the gauge of waiting retries has a series.
  const consumer = stack.broker.topology.queues.paymentsOrderCreated.name;
  await insertRetries(stack.db.sql, [newRetry(consumer, { delayMs: 3_600_000 })]);
  await holdPart(stack.db.sql, { part: "relay.before-mark", forSeconds: 3600, because: null }); // and that of holds
  const metrics = await scrape(stack);

  await t.step("are all that the dashboard and the alerts ask for", () => {
    for (const query of [...dashboardQueries(), ...alertQueries()]) {
      assertEquals(problemsOf(query, metrics), [], `${query.where}: ${query.expression}`);
    }
  });

  await t.step("are all on the dashboard", () => {
    const asked = new Set<string>(dashboardQueries().flatMap(({ expression }) => seriesIn(expression)));
    const unused = [...metrics].filter(([name, { type }]) => seriesNames(name, type).isDisjointFrom(asked));
    assertEquals(unused.map(([name]) => name), []);
  });

  await t.step("are those of monitoring's table", () => {
    const table = [...read("README.md").matchAll(/^\| (`\w+` .*\| (?:counter|gauge|histogram) .*) \|$/gm)];
    const rows = table.map(([, row = ""]) => row.split("|").map((cell) => cell.trim()).join(" | "));
    const exported = [...metrics].map(([name, { type, labels, from, help }]) =>
      [`\`${name}\``, type, labels.map((label) => `\`${label}\``).join(", "), whoIs(from), help].join(" | ")
    );
    assertEquals(rows.toSorted(), exported.toSorted());
  });
});

Deno.test("every alert has a section that says what to do, and no section is left over", () => {
  const sections = [...read("README.md").matchAll(/^### (\w+)\n\n(.+)/gm)].map(([, name]) => name);
  assertEquals(alertRules.map(({ alert }) => alert).toSorted(), sections.toSorted());
  for (const { alert, annotations } of alertRules) {
    assertEquals(annotations.runbook, `specs/monitoring/README.md#${alert.toLowerCase()}`);
  }
});

/** Which processes they are, in a word. */
function whoIs(processes: readonly string[]): string {
  if (processes.length === PROCESSES.length) return "all";
  if (processes.length === CONSUMERS.length) return "consumers";
  if (processes.every((name) => name.startsWith("orders-"))) return "orders' consumers";
  return processes.map((name) => name === RELAY.name ? "relay" : name === API.name ? "API" : name).join(", ");
}

/** A metric, the processes that export it, and the labels of all its series but `le`. */
interface Metric extends Exported {
  readonly from: readonly string[];
  readonly labels: readonly string[];
}
type Metrics = ReadonlyMap<string, Metric>;

/** Asks every process for its figures; answers with all metrics by name, each with the series of all. */
async function scrape(stack: TestStack): Promise<Metrics> {
  const metrics = new Map<string, Metric>();
  for (const [process, url] of [[API.name, stack.url] as const, ...stack.metricsUrls]) {
    const text: string = await call(url, "GET /metrics");
    for (const [name, exported] of readExposition(text)) {
      const known = metrics.get(name);
      const series = [...known?.series ?? [], ...exported.series];
      const labels = new Set(series.flatMap((one) => Object.keys(one.labels)));
      labels.delete("le");
      metrics.set(name, { ...exported, series, from: [...known?.from ?? [], process], labels: [...labels] });
    }
  }
  return metrics;
}

type Labels = Series["labels"];

/**
 * The values of a series, added up by what `keyOf` makes of their labels, or all. Zeroes are left out: a table has no row
 * for them.
 */
function sumBy(
  metrics: Metrics,
  name: string,
  keyOf: (labels: Labels) => string | null | undefined = () => "all",
): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const series of [...metrics.values()].flatMap(({ series }) => series)) {
    const key = series.name === name ? keyOf(series.labels) : null;
    if (typeof key === "string" && series.value !== 0) sums[key] = (sums[key] ?? 0) + series.value;
  }
  return sums;
}

type Counts = PromiseLike<{ key: string; count: number }[]>;

/** What happened, as the processes' figures have it, and as the tables do. */
function factsOf(
  metrics: Metrics,
  sql: Sql,
): Record<string, [figures: Record<string, number>, rows: Counts]> {
  const ofConsumers = (outcome: string) =>
    sumBy(metrics, "orderflow_consumer_messages_total", (l) => l.outcome === outcome ? l.consumer : null);
  const latencies = "event_latency_seconds_count";
  const moves = "orderflow_order_transitions_total";
  const orders = sumBy(metrics, moves, ({ to }) => to);
  orders.PENDING = sumBy(metrics, "orderflow_orders_created_total").all ?? 0;
  for (const [status, left] of Object.entries(sumBy(metrics, moves, ({ from }) => from))) {
    orders[status] = (orders[status] ?? 0) - left;
    if (orders[status] === 0) delete orders[status];
  }
  const statuses: Counts = sql`select status as key, count(*)::int as count from orders group by 1`;
  const processed: Counts =
    sql`select consumer as key, count(*)::int as count from processed_events group by 1`;
  const published: Counts =
    sql`select 'all' as key, count(*)::int as count from outbox_events where published_at is not null`;
  return {
    orders: [orders, statuses],
    processed: [ofConsumers("done"), processed],
    "processed with latency": [
      sumBy(metrics, `orderflow_consumer_${latencies}`, (l) => l.consumer),
      processed,
    ],
    duplicate: [
      ofConsumers("duplicate"),
      sql`select consumer as key, sum(duplicates)::int as count from processed_events where duplicates > 0 group by 1`,
    ],
    failed: [
      ofConsumers("failed"),
      sql`select consumer as key, sum(retries)::int as count from delayed_retries group by 1`,
    ],
    "a dead letter": [
      sumBy(metrics, "orderflow_consumer_dead_letters_total", (l) => `${l.consumer} ${l.reason}`),
      sql`select consumer || ' ' || reason as key, count(*)::int as count from dead_letters group by 1`,
    ],
    published: [
      sumBy(metrics, "orderflow_relay_events_total", (l) => l.outcome === "published" ? "all" : null),
      published,
    ],
    "published with latency": [sumBy(metrics, `orderflow_relay_${latencies}`), published],
    "sent again": [
      sumBy(metrics, "orderflow_relay_retries_sent_total"),
      sql`select 'all' as key, sum(retries)::int as count from delayed_retries where due_at is null`,
    ],
  };
}

/** An expression in the files, and the labels that the text around it mentions. */
interface Query {
  readonly where: string;
  readonly expression: string;
  readonly mentioned: readonly string[];
}

function dashboardQueries(): Query[] {
  type Panel = { title: string; targets?: { expr: string; legendFormat: string }[] };
  const { panels }: { panels: Panel[] } = JSON.parse(read("grafana-dashboard.json"));
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat }) => ({
      where: `panel "${title}"`,
      expression: expr,
      mentioned: [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = ""]) => label),
    }))
  );
}

/** As Prometheus takes them (https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/). */
const ruleSchema = z.strictObject({
  alert: z.string(),
  expr: z.string(),
  for: z.string().regex(/^(\d+(ms|[smhdwy]))+$/).optional(),
  labels: z.strictObject({ severity: z.enum(["critical", "warning"]) }),
  annotations: z.strictObject({ summary: z.string(), description: z.string(), runbook: z.string() }),
});
const alertRules = z.strictObject({
  groups: z.array(z.strictObject({ name: z.string(), rules: z.array(ruleSchema) })),
}).parse(parse(read("alerts.yaml"))).groups.flatMap(({ rules }) => rules);

function alertQueries(): Query[] {
  return alertRules.map(({ alert, expr, annotations }) => ({
    where: `alert ${alert}`,
    expression: expr,
    mentioned: [...Object.values(annotations).join(" ").matchAll(/\$labels\.(\w+)/g)].map(([, l = ""]) => l),
  }));
}

/** Labels that Prometheus adds to everything that it scrapes. */
const SCRAPED = ["job", "instance"];

/** The series that an expression asks for. */
const seriesIn = (expression: string) => expression.match(/\b(?:orderflow|process)_\w+/g) ?? [];

/** What an expression, and the text around it, asks for and nobody exports: series, labels, and values of labels. */
function problemsOf({ expression, mentioned }: Query, metrics: Metrics): string[] {
  const names = seriesIn(expression);
  const isOf = (name: string) => ([metric, { type }]: [string, Metric]) =>
    seriesNames(metric, type).has(name);
  const missing = names.filter((name) => ![...metrics].some(isOf(name)));
  const asked = [...metrics].filter((entry) => names.some((name) => isOf(name)(entry))).map(([, it]) => it);
  const known = new Set([...SCRAPED, "le", ...asked.flatMap(({ labels }) => labels)]);
  const grouped = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = ""]) => list.split(", "));
  const matched = [...expression.matchAll(/(\w+)[=!]~?"/g)].map(([, label = ""]) => label);
  const labels = [...grouped, ...matched, ...mentioned].filter((label) => !known.has(label));
  const values = Object.entries(labelsIn(expression)).filter(([label, value]) =>
    !asked.some(({ series }) => series.some((one) => one.labels[label] === value))
  );
  return [...missing, ...labels, ...values.map((pair) => pair.join("="))];
}
