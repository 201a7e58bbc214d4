/**
 * What the processes of a running system export, all of them together, and whether an expression asks for just that.
 *
 * @module
 */
import type { Sql } from "../../shared/sql/connect.ts";
import { readLedger } from "./ledger.ts";
import { type Exported, readExposition, readPromql, type Series, seriesNames } from "./monitoring.ts";
import type { TestStack } from "./test_stack.ts";

/** A metric, and which processes export it. */
export interface Metric extends Exported {
  /** The names of the processes. */
  readonly from: readonly string[];
  /** The names of the labels of all its series, but `le`. */
  readonly labels: readonly string[];
}

/** Asks every process of `stack` for its figures; answers with all metrics by name, each with the series of all. */
export async function scrape(
  stack: Pick<TestStack, "url" | "metricsUrls">,
): Promise<ReadonlyMap<string, Metric>> {
  const metrics = new Map<string, Metric>();
  for (const [process, url] of [["api", stack.url] as const, ...stack.metricsUrls]) {
    const response = await fetch(`${url}/metrics`);
    const text = await response.text();
    if (!response.ok) throw new Error(`${url}/metrics answered ${response.status}: ${text}`);
    for (const [name, exported] of readExposition(text)) {
      const known = metrics.get(name);
      const series = [...known?.series ?? [], ...exported.series];
      metrics.set(name, {
        ...exported,
        series,
        from: [...known?.from ?? [], process],
        labels: labelsOf(series),
      });
    }
  }
  return metrics;
}

function labelsOf(series: readonly Series[]): string[] {
  return [...new Set(series.flatMap(({ labels }) => Object.keys(labels)))].filter((label) => label !== "le");
}

/**
 * The values of the series `name`, added up by what `keyOf` makes of their labels: `sumBy(metrics, "x_total", (labels) =>
 * labels.consumer)`. Zeroes are left out, as a table has no row for them.
 */
export function sumBy(
  metrics: ReadonlyMap<string, Metric>,
  name: string,
  keyOf: (labels: Series["labels"]) => string | null | undefined,
): Record<string, number> {
  const sums: Record<string, number> = {};
  const all = [...metrics.values()].flatMap(({ series }) => series).filter((series) => series.name === name);
  for (const { labels, value } of all) {
    const key = keyOf(labels);
    if (typeof key === "string" && value !== 0) sums[key] = (sums[key] ?? 0) + value;
  }
  return sums;
}

/** Labels that Prometheus adds to everything that it scrapes. */
const SCRAPED = ["job", "instance"];

/**
 * What is wrong with an expression, in words: metrics and labels that nobody exports, values of labels that do not occur,
 * `rate()` of what is no counter, and labels that the text mentions and the result does not have.
 */
export function problemsOf(
  expression: string,
  mentioned: readonly string[],
  metrics: ReadonlyMap<string, Metric>,
): string[] {
  const { selected, grouped, rated } = readPromql(expression);
  const problems: string[] = [];
  for (const { metric, matchers } of selected) {
    const found = metric === "up" ? UP : familyOf(metric, metrics);
    if (!found) {
      problems.push(`nobody exports ${metric}`);
      continue;
    }
    const labels = [...found.labels, ...SCRAPED, ...metric.endsWith("_bucket") ? ["le"] : []];
    const asked = [...matchers.map(({ label }) => label), ...grouped];
    problems.push(...asked.filter((l) => !labels.includes(l)).map((l) => `${metric} has no label ${l}`));
    for (const { label, operator, value } of matchers) {
      const occurs = found.series.some((series) => series.labels[label] === value);
      if (operator === "=" && !occurs) problems.push(`${metric} never has ${label}="${value}"`);
    }
    if (found.type === "gauge" && rated.includes(metric)) problems.push(`${metric} is no counter`);
  }
  const aggregated = /\b(sum|max|min|count)\b/.test(expression);
  const kept = aggregated
    ? grouped
    : [...SCRAPED, ...selected.flatMap(({ matchers: m }) => m.map((x) => x.label))];
  problems.push(...mentioned.filter((l) => !kept.includes(l)).map((l) => `the result has no label ${l}`));
  return problems;
}

/** What Prometheus itself says of each target (https://prometheus.io/docs/concepts/jobs_instances/). */
const UP: Metric = { type: "gauge", help: "", series: [], from: [], labels: [] };

function familyOf(series: string, metrics: ReadonlyMap<string, Metric>): Metric | undefined {
  return [...metrics].find(([name, { type }]) => seriesNames(name, type).has(series))?.[1];
}

/** The names of the metrics that the expressions select. */
export function usedMetrics(
  expressions: readonly string[],
  metrics: ReadonlyMap<string, Metric>,
): ReadonlySet<string> {
  const selected = new Set(expressions.flatMap((e) => readPromql(e).selected.map(({ metric }) => metric)));
  return new Set(
    [...metrics].filter(([name, { type }]) => [...seriesNames(name, type)].some((s) => selected.has(s)))
      .map(([name]) => name),
  );
}

/** What happened. No record has a zero. */
export interface Facts {
  /** Orders created. */
  readonly created: number;
  /** Orders by status. */
  readonly orders: Record<string, number>;
  /** The newest orders by status. */
  readonly recent: Record<string, number>;
  /** Messages processed, by consumer. */
  readonly processed: Record<string, number>;
  /** Those of them whose latency is known. */
  readonly processedWithLatency: Record<string, number>;
  /** Repeats that were absorbed, by consumer. */
  readonly duplicates: Record<string, number>;
  /** Attempts that failed for now, by consumer. */
  readonly failed: Record<string, number>;
  /** Delayed retries that are yet to be sent. */
  readonly retriesWaiting: number;
  /** Dead letters, by consumer and reason. */
  readonly deadLetters: Record<string, number>;
  /** Events published, once for each time. */
  readonly published: number;
  /** Those of them whose latency is known. */
  readonly publishedWithLatency: number;
  /** Events that wait for the relay. */
  readonly unpublished: number;
}

/** The facts as the processes' figures have them. */
export function figuresSay(metrics: ReadonlyMap<string, Metric>): Facts {
  const total = (name: string, keep: (labels: Readonly<Record<string, string>>) => boolean = () => true) =>
    sumBy(metrics, name, (labels) => keep(labels) ? "all" : null).all ?? 0;
  const messages = (outcome: string) =>
    sumBy(
      metrics,
      "orderflow_consumer_messages_total",
      (labels) => labels.outcome === outcome ? labels.consumer : null,
    );
  const created = total("orderflow_orders_created_total");
  const came = sumBy(metrics, "orderflow_order_transitions_total", ({ to }) => to);
  const left = sumBy(metrics, "orderflow_order_transitions_total", ({ from }) => from);
  const balance = Object.keys({ PENDING: created, ...came }).map((status) =>
    [status, (status === "PENDING" ? created : came[status] ?? 0) - (left[status] ?? 0)] as const
  );
  return {
    created,
    orders: Object.fromEntries(balance.filter(([, count]) => count !== 0)),
    recent: sumBy(metrics, "orderflow_orders_recent", ({ status }) => status),
    processed: messages("done"),
    processedWithLatency: sumBy(metrics, "orderflow_consumer_event_latency_seconds_count", (l) => l.consumer),
    duplicates: messages("duplicate"),
    failed: messages("failed"),
    retriesWaiting: total("orderflow_consumer_retries_total") - total("orderflow_relay_retries_sent_total"),
    deadLetters: sumBy(metrics, "orderflow_consumer_dead_letters_total", (l) => `${l.consumer} ${l.reason}`),
    published: total("orderflow_relay_events_total", ({ outcome }) => outcome === "published"),
    publishedWithLatency: total("orderflow_relay_event_latency_seconds_count"),
    unpublished: total("orderflow_outbox_unpublished_events"),
  };
}

/** The facts as the tables have them, where one event was published twice. */
export async function tablesSay(sql: Sql): Promise<Facts> {
  const by = async (rows: PromiseLike<{ key: string; count: number }[]>) =>
    Object.fromEntries((await rows).filter(({ count }) => count > 0).map(({ key, count }) => [key, count]));
  type Rows = { key: string; count: number }[];
  const { orders } = await readLedger(sql);
  const processed = await by(sql<Rows>`
    select consumer as key, count(*)::int from processed_events group by 1`);
  const [events] = await sql<{ published: number; unpublished: number }[]>`
    select count(published_at)::int as published, (count(*) - count(published_at))::int as unpublished
    from outbox_events`;
  const [retries] = await sql<{ waiting: number }[]>`
    select count(*)::int as waiting from delayed_retries where due_at is not null`;
  const published = (events?.published ?? 0) + 1;
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
    retriesWaiting: retries?.waiting ?? 0,
    deadLetters: await by(sql<Rows>`
      select consumer || ' ' || reason as key, count(*)::int from dead_letters group by 1`),
    published,
    publishedWithLatency: published,
    unpublished: events?.unpublished ?? 0,
  };
}
