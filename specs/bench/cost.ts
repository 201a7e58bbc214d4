/**
 * What one order costs: what the database has counted, and where the processor time of the machine went; and how often an
 * order at rest asks the database.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { startCutProxy } from "../support/cut_proxy.ts";
import { eventually } from "../support/eventually.ts";
import { settled } from "../support/ledger.ts";
import { placeOrders } from "../support/place_orders.ts";
import type { TestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";
import type { Bench, BenchPart, BenchRow } from "./bench.ts";
import { putLoadUnseen, startMachineMeter } from "./services.ts";

const CONNECTIONS = 64;

export const costPart: BenchPart = {
  name: "cost",
  about: "what one order costs: commits, rows, write-ahead log and processor time",
  async run(bench) {
    const warmUp = bench.size(500, 20);
    const orders = bench.size(6000, 60);
    await using db = await bench.services.database();
    const before = await readDatabase(db.sql);
    const cpuSeconds = await flow(bench, db, warmUp, orders);
    await sessionsEnded(db.sql);
    const after = await readDatabase(db.sql);
    const row = (what: string, unit: string, ours: number, note = ""): BenchRow => {
      return { what: `one order: ${what}`, unit, ours, note };
    };
    const all = warmUp + orders;
    const perOrder = (of: (counts: typeof after) => number) => (of(after) - of(before)) / all;
    const besides = "with what the processes do besides, from their start to their end";
    const updated = perOrder(({ updated }) => updated);
    const inPlace = (100 * perOrder(({ updatedInPlace }) => updatedInPlace) / updated).toFixed(0);
    return [
      row("commits", "", perOrder(({ commits }) => commits), besides),
      row("rows inserted", "", perOrder(({ inserted }) => inserted)),
      row("rows updated", "", updated, `${inPlace} % without touching an index (HOT)`),
      row("write-ahead log", "bytes", perOrder(({ walBytes }) => walBytes), "with first images of pages"),
      ...[...cpuSeconds].filter(([name]) => name !== "others" && name !== "benchmark")
        .toSorted(([, a], [, b]) => b - a)
        .map(([name, seconds]) => row(`processor time of ${name}`, "ms", seconds * 1000 / orders)),
    ];
  },
};

/** Brings orders to their end and stops the system; answers with what the machine used after the warm-up. */
async function flow({ services, say }: Bench, db: TestSchema, warmUp: number, orders: number) {
  await using broker = services.broker();
  await using stack = await startStack({}, { services: { db, broker } });
  // In one transaction, because each look would count as a commit of its own.
  const ended = () => transaction(db.sql, (sql) => settled({ db: { sql }, broker }));
  say("warming up");
  await putLoadUnseen(stack.url, { orders: warmUp, connections: CONNECTIONS });
  await ended();
  say(`${orders} orders`);
  const readMeter = await startMachineMeter(stack.pids());
  await putLoadUnseen(stack.url, { orders, connections: CONNECTIONS });
  await ended();
  return await readMeter();
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

/** What a database has counted so far, and the server's whole write-ahead log. A session hands in its own when it ends. */
async function readDatabase(sql: Sql) {
  const [row] = await sql<
    Record<"commits" | "inserted" | "updated" | "updatedInPlace" | "walBytes", number>[]
  >`
    select xact_commit::float8 as commits, tup_inserted::float8 as inserted, tup_updated::float8 as updated,
           (select coalesce(sum(n_tup_hot_upd), 0)::float8 from pg_stat_user_tables) as "updatedInPlace",
           pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as "walBytes"
    from pg_stat_database where datname = current_database()`;
  if (!row) throw new Error("Cannot read what the database has counted: it answered with no row");
  return row;
}

/** So many that the statements are prepared on every connection that a process has. */
const WARM_UP = { orders: 300, connections: 16 };
/** After an order has settled, in milliseconds: what it has set off besides, such as a last look of the relay, is over. */
const REST_MS = 100;

/** Orders come one at a time. What most of them do counts: at times a poll or a heartbeat falls between. */
export const restPart: BenchPart = {
  name: "rest",
  about: "how often one order at rest asks the database, counted by a proxy, and how often it commits",
  async run({ services, size, say }) {
    await using db = await services.database();
    await using broker = services.broker();
    await using wire = startCutProxy(db.url, 5432);
    const urls = { database: wire.url, broker: broker.url };
    await using stack = await startStack({}, { services: { db, broker }, urls });
    const count = async () => {
      const [row] = await db.sql<{ commits: number }[]>`
        select pg_snapshot_xmax(pg_current_snapshot())::text::float8 as commits`; // only what writes or notifies has a number
      return { roundTrips: wire.roundTrips(), commits: row?.commits ?? 0 };
    };
    const orders = size(40, 3);
    say(`${orders} orders one at a time, after a warm-up`);
    await placeOrders(stack.url, WARM_UP);
    await settled(stack);
    const counted: Awaited<ReturnType<typeof count>>[] = [];
    for (let n = 0; n < orders; n++) {
      await delay(REST_MS);
      const before = await count();
      await placeOrders(stack.url, { orders: 1, connections: 1 });
      await settled(stack);
      await delay(REST_MS);
      const after = await count();
      counted.push({
        roundTrips: after.roundTrips - before.roundTrips,
        commits: after.commits - before.commits,
      });
    }
    const row = (what: string, ours: number) => ({ what: `one order at rest: ${what}`, unit: "", ours });
    return [
      {
        ...row("database round trips", mostFrequent(counted.map((it) => it.roundTrips))),
        goal: { atMost: 16 },
      },
      row("commits", mostFrequent(counted.map((it) => it.commits))),
    ];
  },
};

function mostFrequent(values: readonly number[]): number {
  const groups = [...Map.groupBy(values, (value) => value)];
  const [most] = groups.toSorted(([a, as], [b, bs]) => bs.length - as.length || a - b);
  return most?.[0] ?? 0;
}
