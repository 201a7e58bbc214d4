/**
 * What one order costs on its way from the request to its end.
 *
 * @module
 */
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { eventually } from "../support/eventually.ts";
import type { TestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";
import type { Bench, BenchPart, BenchRow } from "./bench.ts";
import { putLoadUnseen } from "./flow_stack.ts";
import { BENCHMARK, type MachineUsage, OTHERS, startMachineMeter } from "./machine_usage.ts";
import { readDatabaseCounts, readMessages } from "./order_cost.ts";

const CONNECTIONS = 64;
/** Who uses processor time for no order. */
const BYSTANDERS: ReadonlySet<string> = new Set([OTHERS, BENCHMARK]);

/** The part `cost`. */
export const costPart: BenchPart = {
  name: "cost",
  about: "what one order costs: commits, rows, log, messages, bytes and processor time",
  async run(bench) {
    const warmUp = bench.size(500, 20);
    const orders = bench.size(6000, 60);
    await using db = await bench.services.database();
    const before = await readDatabaseCounts(db.sql);
    const usage = await flow(bench, db, { warmUp, orders });
    await sessionsEnded(db.sql);
    const after = await readDatabaseCounts(db.sql);
    const { published, publishedBytes, delivered, deliveredBytes } = await readMessages(db.sql);
    const all = warmUp + orders;
    const statements = after.statements === null ? null : after.statements - (before.statements ?? 0);
    const updated = after.updated - before.updated;
    const inPlace = after.updatedInPlace - before.updatedInPlace;
    const besides = "with what the processes do besides, from their start to their end";
    return [
      row("commits", "", (after.commits - before.commits) / all, besides),
      ...(statements === null ? [] : [row("statements", "", statements / all, besides)]),
      row("rows inserted", "", (after.inserted - before.inserted) / all),
      row("rows updated", "", updated / all, `${share(inPlace, updated)} without touching an index (HOT)`),
      row("write-ahead log", "bytes", (after.walBytes - before.walBytes) / all, "with first images of pages"),
      row("messages published", "", published / all),
      row("bytes published", "bytes", publishedBytes / all, "bodies alone"),
      row("messages delivered", "", delivered / all),
      row("bytes delivered", "bytes", deliveredBytes / all, "bodies alone"),
      ...cpuRows(usage, orders),
    ];
  },
};

interface Size {
  readonly warmUp: number;
  readonly orders: number;
}

/** Brings orders to their end and stops the system; answers with the processor time after the warm-up. */
async function flow(
  { services, say }: Bench,
  db: TestSchema,
  { warmUp, orders }: Size,
): Promise<MachineUsage> {
  await using broker = services.broker();
  await using stack = await startStack({}, { services: { db, broker } });
  say("warming up");
  await putLoadUnseen(stack.url, { orders: warmUp, connections: CONNECTIONS });
  await allProcessed(db.sql, warmUp);
  say(`${orders} orders`);
  const meter = await startMachineMeter(stack.pids());
  await putLoadUnseen(stack.url, { orders, connections: CONNECTIONS });
  await allProcessed(db.sql, warmUp + orders);
  return await meter.read();
}

/** Deliveries of an order that goes well. */
const DELIVERIES = 5;

/** Waits in one transaction, because each look would count as a commit of its own. */
async function allProcessed(sql: Sql, orders: number): Promise<void> {
  await transaction(sql, async (tx) => {
    await eventually(`${orders} orders to be through`, async () => {
      const [row] = await tx<{ processed: number; unpublished: boolean }[]>`
        select (select count(*)::int from processed_events) as processed,
               exists (select from outbox_events where published_at is null) as unpublished`;
      return row?.processed === orders * DELIVERIES && !row.unpublished;
    }, 120_000);
  });
}

/** Sessions hand in the last of their counts when they end. */
async function sessionsEnded(sql: Sql): Promise<void> {
  await eventually("the sessions of the system to end", async () => {
    const [row] = await sql<{ count: number }[]>`
      select count(*)::int as count from pg_stat_activity
      where datname = current_database() and backend_type = 'client backend'
        and application_name <> (select current_setting('application_name'))`;
    return row?.count === 0;
  });
}

function cpuRows({ cpuSeconds }: MachineUsage, orders: number): BenchRow[] {
  return [...cpuSeconds]
    .map(([name, seconds]) => [name, seconds * 1000 / orders] as const)
    .filter(([name]) => !BYSTANDERS.has(name))
    .toSorted(([, a], [, b]) => b - a)
    .map(([name, ms]) => row(`processor time of ${name}`, "ms", ms));
}

function row(what: string, unit: string, ours: number, note?: string): BenchRow {
  return {
    what: `one order: ${what}`,
    unit,
    ours,
    beside: null,
    goal: null,
    ...(note === undefined ? {} : { note }),
  };
}

function share(part: number, whole: number): string {
  return `${(100 * part / whole).toFixed(0)} %`;
}
