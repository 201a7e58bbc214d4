/**
 * The figures for Prometheus that are read from the tables of all modules.
 *
 * @module
 */
import { Gauge } from "@prometheus-io/client";
import { kindOfError } from "../shared/process/errors.ts";
import type { Registry } from "../shared/process/metrics.ts";
import type { Sql } from "../shared/sql/connect.ts";
import { countOpenDeadLetters } from "../shared/ops/dead_letters.ts";
import { countWaitingRetries } from "../shared/sql/set_aside.ts";
import { countRecentOrders, countUnpublished } from "../shared/ops/lists.ts";
import { withTimeout } from "../shared/process/stop.ts";

/** What the tables are read with. */
export interface TableMetricsDeps {
  readonly opsSql: Sql;
  /** Whether the database has been reached since the process started, and its schema is up to date. */
  readonly isSchemaReady: () => boolean;
}

/** Orders whose statuses are counted: read in a few milliseconds, whatever the table has grown to. */
const RECENT_ORDERS = 10_000;
/** The database gets this long to tell its figures, in milliseconds: half of what Prometheus waits for an answer. */
const READ_TIMEOUT_MS = 5000;

/**
 * Makes the figures in `registry`, and answers with what brings them up to date. While the database is away they have no
 * value: none is better than yesterday's.
 */
export function createTableMetrics(registry: Registry, deps: TableMetricsDeps): () => Promise<void> {
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name: `orderflow_${name}`, help, labelNames, registers: [registry] });
  const up = gauge("database_up", "Whether the database can be read: 1 or 0.");
  const recent = gauge("orders_recent", `The newest ${RECENT_ORDERS} orders, by status.`, ["status"]);
  const unpublished = gauge("outbox_unpublished_events", "Events that wait for the relay.");
  const oldest = gauge(
    "outbox_oldest_unpublished_seconds",
    "Age of the oldest event that waits for the relay.",
  );
  const letters = gauge("dead_letters_open", "Dead letters that nobody has dealt with.", ["consumer"]);
  const retries = gauge("delayed_retries_waiting", "Events that a consumer is to get once more.", [
    "consumer",
  ]);

  return async () => {
    const read = deps.isSchemaReady() ? await withTimeout(READ_TIMEOUT_MS, readTables(deps.opsSql)) : null;
    up.set(read ? 1 : 0);
    for (const figure of [recent, letters, retries]) figure.reset();
    for (const figure of [unpublished, oldest]) figure.remove(); // they have no labels: a reset would be a 0
    if (!read) return;
    const [statuses, outbox, open, delayed] = read;
    for (const [status, count] of statuses) recent.set({ status }, count);
    unpublished.set(outbox.count);
    oldest.set(outbox.oldestAt ? Math.max(0, Date.now() - outbox.oldestAt.getTime()) / 1000 : 0);
    for (const { consumer, count } of open) letters.set({ consumer }, count);
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
    ]);
  } catch (error) {
    if (kindOfError(error) === "permanent") throw error;
    return null;
  }
}
