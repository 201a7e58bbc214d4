/**
 * What the processes tell Prometheus is true, and the dashboard, the alerts and the documents ask for nothing else.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { parse } from "yaml";
import { z } from "zod";
import { holdPart } from "../shared/ops/holds.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { insertRetries } from "../shared/sql/set_aside.ts";
import { API, CONSUMERS, PROCESSES, RELAY } from "../workers/dev/processes.ts";
import { eventually } from "./support/eventually.ts";
import { callApi } from "./support/http.ts";
import { readLedger, settled } from "./support/ledger.ts";
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
    await callApi("PUT", `${stack.url}/ops/faults`, { faults: [{ point: "provider.failing", times: 1 }] });
    await placeOrders(stack.url, { orders: 1, connections: 1 });
    await callApi("POST", `${stack.url}/ops/scenarios/malformed-message`);
    await settled(stack);
    const [event] = await stack.db.sql`select id from outbox_events where type = 'order.created' limit 1`;
    await callApi("POST", `${stack.url}/ops/outbox/${event?.id}/republish`);
    await eventually("the repeat", async () => {
      const { count } = await stack.db.sql`
        select from processed_events where event_id = ${event?.id} and duplicates > 0`;
      return count > 0;
    });
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
    for (const name of ["orderflow_database_up", "orderflow_broker_up"]) {
      assertEquals(total(metrics, name), 1);
    }
  });

  await t.step("say what the broker has lost, and what was sent again", async () => {
    await callApi("POST", `${stack.url}/ops/scenarios/lost-message`);
    await eventually("the lost event to be sent again", async () => {
      return total(await scrape(stack), "orderflow_relay_resent_events_total") >= 1;
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
  const urls = [[API.name, stack.url] as const, ...stack.metricsUrls];
  return merged(
    await Promise.all(urls.map(async ([process, url]) => {
      const response = await fetch(`${url}/metrics`);
      const text = await response.text();
      if (!response.ok) throw new Error(`${url}/metrics answered ${response.status}: ${text}`);
      return [process, text] as const;
    })),
  );
}

function merged(expositions: readonly (readonly [process: string, text: string])[]): Metrics {
  const metrics = new Map<string, Metric>();
  for (const [process, text] of expositions) {
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

/** The values of a series, added up by what `keyOf` makes of their labels. Zeroes are left out: a table has no row for them. */
function sumBy(
  metrics: Metrics,
  name: string,
  keyOf: (labels: Labels) => string | null | undefined,
): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const series of [...metrics.values()].flatMap(({ series }) => series)) {
    const key = series.name === name ? keyOf(series.labels) : null;
    if (typeof key === "string" && series.value !== 0) sums[key] = (sums[key] ?? 0) + series.value;
  }
  return sums;
}

function total(metrics: Metrics, name: string, keep: (labels: Labels) => boolean = () => true): number {
  return sumBy(metrics, name, (labels) => keep(labels) ? "all" : null).all ?? 0;
}

/** What happened, as the processes' figures have it. */
function figuresSay(metrics: Metrics) {
  const messages = (outcome: string) =>
    sumBy(metrics, "orderflow_consumer_messages_total", (l) => l.outcome === outcome ? l.consumer : null);
  const created = total(metrics, "orderflow_orders_created_total");
  const came = sumBy(metrics, "orderflow_order_transitions_total", ({ to }) => to);
  const left = sumBy(metrics, "orderflow_order_transitions_total", ({ from }) => from);
  const balance = Object.entries({ ...came, PENDING: created })
    .map(([status, count]) => [status, count - (left[status] ?? 0)] as const);
  return {
    created,
    orders: Object.fromEntries(balance.filter(([, count]) => count !== 0)),
    recent: sumBy(metrics, "orderflow_orders_recent", ({ status }) => status),
    processed: messages("done"),
    processedWithLatency: sumBy(metrics, "orderflow_consumer_event_latency_seconds_count", (l) => l.consumer),
    duplicates: messages("duplicate"),
    failed: messages("failed"),
    retriesWaiting: total(metrics, "orderflow_consumer_retries_total") -
      total(metrics, "orderflow_relay_retries_sent_total"),
    deadLetters: sumBy(metrics, "orderflow_consumer_dead_letters_total", (l) => `${l.consumer} ${l.reason}`),
    published: total(metrics, "orderflow_relay_events_total", ({ outcome }) => outcome === "published"),
    publishedWithLatency: total(metrics, "orderflow_relay_event_latency_seconds_count"),
    unpublished: total(metrics, "orderflow_outbox_unpublished_events"),
  };
}

/** The same as the tables have it. */
async function tablesSay(sql: Sql): Promise<ReturnType<typeof figuresSay>> {
  type Rows = { key: string; count: number }[];
  const by = async (rows: PromiseLike<Rows>) =>
    Object.fromEntries((await rows).filter(({ count }) => count > 0).map(({ key, count }) => [key, count]));
  const { orders } = await readLedger(sql);
  const processed = await by(sql<Rows>`
    select consumer as key, count(*)::int from processed_events group by 1`);
  const [counts] = await sql<Record<"published" | "unpublished" | "waiting", number>[]>`
    select count(published_at)::int as published, (count(*) - count(published_at))::int as unpublished,
           (select count(*)::int from delayed_retries where due_at is not null) as waiting
    from outbox_events`;
  const { published = 0, unpublished = 0, waiting = 0 } = counts ?? {};
  return {
    created: Object.values(orders).reduce((sum, count) => sum + count, 0),
    orders,
    recent: orders,
    processed,
    processedWithLatency: processed,
    duplicates: await by(sql<Rows>`
      select consumer as key, sum(duplicates)::int as count from processed_events group by 1`),
    failed: await by(sql<Rows>`
      select consumer as key, sum(retries)::int as count from delayed_retries group by 1`),
    retriesWaiting: waiting,
    deadLetters: await by(sql<Rows>`
      select consumer || ' ' || reason as key, count(*)::int from dead_letters group by 1`),
    published,
    publishedWithLatency: published,
    unpublished,
  };
}

/** An expression in the files, and the labels that the text around it mentions. */
interface Query {
  readonly where: string;
  readonly expression: string;
  readonly mentioned: readonly string[];
}

function dashboardQueries(): Query[] {
  const target = z.object({ expr: z.string(), legendFormat: z.string() });
  const panel = z.object({ title: z.string(), targets: z.array(target).default([]) });
  const { panels } = z.object({ panels: z.array(panel) }).parse(JSON.parse(read("grafana-dashboard.json")));
  return panels.flatMap(({ title, targets }) =>
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
