/**
 * The same facts twice: as the figures have them, and as the tables do.
 *
 * @module
 */
import type { Sql } from "../../shared/sql/connect.ts";
import { readLedger } from "./ledger.ts";
import { type Metric, sumBy } from "./metrics.ts";

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
