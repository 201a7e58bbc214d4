// What one order costs: what the database has counted, and where the processor time of the machine went; and how often an
// order at rest asks the database.

import { setTimeout as delay } from "node:timers/promises";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { startCutProxy } from "../support/cut_proxy.ts";
import { eventually } from "../support/eventually.ts";
import { settled } from "../support/ledger.ts";
import { placeOrders } from "../support/place_orders.ts";
import type { TestSchema } from "../support/test_schema.ts";
import { startStack } from "../support/test_stack.ts";
import type { Bench, BenchPart } from "./bench.ts";
import { putLoad } from "./services.ts";

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
    const row = (what: string, unit: string, ours: number, note = "") => {
      return { what: `one order: ${what}`, unit, ours, note };
    };
    const perOrder = (count: keyof typeof after) => (after[count] - before[count]) / (warmUp + orders);
    const besides = "with what the processes do besides, from their start to their end";
    const inPlace = (100 * perOrder("updatedInPlace") / perOrder("updated")).toFixed(0);
    return [
      row("commits", "", perOrder("commits"), besides),
      row("rows inserted", "", perOrder("inserted")),
      row("rows updated", "", perOrder("updated"), `${inPlace} % without touching an index (HOT)`),
      row("write-ahead log", "bytes", perOrder("walBytes"), "with first images of pages"),
      ...[...cpuSeconds].filter(([name]) => name !== "others" && name !== "benchmark")
        .toSorted(([, a], [, b]) => b - a)
        .map(([name, seconds]) => row(`processor time of ${name}`, "ms", seconds * 1000 / orders)),
    ];
  },
};

/**
 * Brings orders to their end and stops the system; answers with the processor time in seconds that was used after the
 * warm-up, see {@linkcode usedBetween}.
 */
async function flow({ services, say }: Bench, db: TestSchema, warmUp: number, orders: number) {
  await using broker = services.broker();
  await using stack = await startStack({}, { services: { db, broker } });
  const bring = async (orders: number) => {
    await putLoad(stack.url, { orders, connections: CONNECTIONS });
    // In one transaction, because each look would count as a commit of its own.
    await transaction(db.sql, (sql) => settled({ db: { sql }, broker }));
  };
  say("warming up");
  await bring(warmUp);
  say(`${orders} orders`);
  const before = await readMachine();
  await bring(orders);
  return usedBetween(before, await readMachine(), stack.pids(), Deno.pid);
}

/** Sessions hand in the last of their counts when they end. */
async function sessionsEnded(sql: Sql): Promise<void> {
  await eventually("the sessions of the system to end", async () => {
    const others = await sql`
      select from pg_stat_activity where datname = current_database() and backend_type = 'client backend'
        and application_name <> (select current_setting('application_name'))`;
    return others.length === 0;
  });
}

/** What a database has counted so far, and the server's whole write-ahead log. A session hands in its own when it ends. */
async function readDatabase(sql: Sql) {
  type Counts = Record<"commits" | "inserted" | "updated" | "updatedInPlace" | "walBytes", number>;
  const [row] = await sql<Counts[]>`
    select xact_commit::float8 as commits, tup_inserted::float8 as inserted, tup_updated::float8 as updated,
           (select coalesce(sum(n_tup_hot_upd), 0)::float8 from pg_stat_user_tables) as "updatedInPlace",
           pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as "walBytes"
    from pg_stat_database where datname = current_database()`;
  if (!row) throw new Error("Cannot read what the database has counted: it answered with no row");
  return row;
}

/**
 * `/proc/<pid>/stat` of all processes, nothing where there is no /proc. Through a program, because Deno itself may read
 * /proc only with every permission there is.
 */
async function readMachine(): Promise<string> {
  if (Deno.build.os !== "linux") return "";
  const args = ["-c", "cat /proc/[0-9]*/stat 2>/dev/null"]; // some end between the listing and the reading
  const { stdout } = await new Deno.Command("sh", { args, stdout: "piped", stderr: "null" }).output();
  return new TextDecoder().decode(stdout);
}

/** Of each process its id, its program's name, which may contain anything, its parent, and its time in user and system. */
const STATS = /^(\d+) \((.*)\) \S (\d+) (?:\S+ ){9}(\d+) (\d+) /gm;
/** Linux counts processor time in hundredths of a second, whatever the kernel's own clock (USER_HZ, `man 5 proc`). */
const TICKS_PER_SECOND = 100;
const SERVICES = new Map([["postgres", "postgres"], ["beam.smp", "broker"]]);

/**
 * Processor time used between two looks at the machine. The processes of `ours` go by their names; the others by
 * `postgres`, `broker`, `benchmark` (`self`, the process that looks) and `others`. Those that have ended meanwhile are left
 * out. Pure.
 */
export function usedBetween(before: string, after: string, ours: ReadonlyMap<string, number>, self: number) {
  const parse = (stats: string) =>
    [...stats.matchAll(STATS)].map(([, pid, program = "", parent, user, system]) => {
      const cpuSeconds = (Number(user) + Number(system)) / TICKS_PER_SECOND;
      return { pid: Number(pid), program, parent: Number(parent), cpuSeconds };
    });
  const names = new Map([...ours].map(([name, pid]) => [pid, name]));
  const used = new Map<string, number>([...ours.keys()].map((name) => [name, 0]));
  const earlier = new Map(parse(before).map(({ pid, cpuSeconds }) => [pid, cpuSeconds]));
  for (const { pid, program, parent, cpuSeconds } of parse(after)) {
    // Besides the processes of ours, the embedded broker is the only lasting child of a benchmark.
    const isBroker = parent === self && program === "deno";
    const other = pid === self ? "benchmark" : isBroker ? "broker" : SERVICES.get(program) ?? "others";
    const name = names.get(pid) ?? other;
    used.set(name, (used.get(name) ?? 0) + cpuSeconds - (earlier.get(pid) ?? 0));
  }
  return used;
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
      await delay(REST_MS);
      const [row] = await db.sql<{ commits: number }[]>`
        select pg_snapshot_xmax(pg_current_snapshot())::text::float8 as commits`; // only what writes or notifies has a number
      return [wire.roundTrips(), row?.commits ?? 0];
    };
    const orders = size(40, 3);
    say(`${orders} orders one at a time, after a warm-up`);
    await placeOrders(stack.url, WARM_UP);
    await settled(stack);
    const [roundTrips, commits]: [number[], number[]] = [[], []];
    for (let n = 0; n < orders; n++) {
      const [tripsBefore = 0, commitsBefore = 0] = await count();
      await placeOrders(stack.url, { orders: 1, connections: 1 });
      await settled(stack);
      const [trips = 0, all = 0] = await count();
      roundTrips.push(trips - tripsBefore);
      commits.push(all - commitsBefore);
    }
    const row = (what: string, values: readonly number[]) => {
      return { what: `one order at rest: ${what}`, unit: "", ours: mostFrequent(values) };
    };
    return [{ ...row("database round trips", roundTrips), goal: { atMost: 16 } }, row("commits", commits)];
  },
};

function mostFrequent(values: readonly number[]): number {
  const groups = [...Map.groupBy(values, (value) => value)];
  const [most] = groups.toSorted(([a, as], [b, bs]) => bs.length - as.length || a - b);
  return most?.[0] ?? 0;
}
