/**
 * What a transaction that somebody holds open elsewhere in the database costs: while it lasts, no dead row can go.
 *
 * @module
 */
import postgres from "postgres";
import type { Sql } from "../../shared/sql/connect.ts";
import type { Bench, BenchPart } from "./bench.ts";
import { type FlowStack, putLoad, startFlowStack } from "./flow_stack.ts";
import { describeShares, startMachineMeter } from "./machine_usage.ts";

const CONNECTIONS = 64;

/** A stretch of load: some orders, and how long it took from the first request to the last final state. */
export interface Stretch {
  /** When it began, in seconds since the load did. */
  readonly startedAt: number;
  /** How many orders. */
  readonly orders: number;
  /** How long it took, in seconds. */
  readonly seconds: number;
}

/** The part `open-transaction`. */
export const openTransactionPart: BenchPart = {
  name: "open-transaction",
  about: "orders per second while somebody holds a transaction open, beside the same load without",
  async run({ services, size, say }: Bench) {
    await using stack = await startFlowStack(services);
    const orders = size(3000, 30);
    const load = (seconds: number) => keepLoading(stack, { orders, seconds });
    // On the same database before and after, so that it is on average as full as while the transaction is open.
    const withoutSeconds = size(15, 0.5);
    await putLoad(stack, { orders: size(500, 20), connections: CONNECTIONS });
    say(`load for ${withoutSeconds} s`);
    const before = await load(withoutSeconds);
    const withSeconds = size(120, 1);
    say(`load for ${withSeconds} s with a transaction open`);
    const held = await loadWhileHeld(stack, () => load(withSeconds));
    say(`load for ${withoutSeconds} s once it has ended`);
    await stack.db.sql`vacuum analyze`; // what autovacuum would do in its time
    const after = await load(withoutSeconds);
    const [first, second] = [throughput(before), throughput(after)];
    const late = throughput(lateStretches(held.stretches, withSeconds / 4));
    return [{
      what: "flow with a transaction held open",
      unit: "orders/s",
      ours: throughput(held.stretches),
      beside: (first + second) / 2,
      goal: { atLeast: 0.7 },
      note: [
        `open for ${held.seconds.toFixed(0)} s, ${late.toFixed(0)} orders/s in the last quarter`,
        `without: ${first.toFixed(0)} before and ${second.toFixed(0)} after`,
        `dead rows at its end: ${held.deadRows}`,
        `cores used meanwhile: ${held.shares}`,
      ].join("; "),
    }];
  },
};

/** Orders per second over stretches; the time between them, when the generator starts, does not count. */
export function throughput(stretches: readonly Stretch[]): number {
  const orders = stretches.reduce((sum, { orders }) => sum + orders, 0);
  const seconds = stretches.reduce((sum, { seconds }) => sum + seconds, 0);
  return orders / seconds;
}

/** The stretches that ended in the last `seconds` of all; at least the last one. */
export function lateStretches(stretches: readonly Stretch[], seconds: number): readonly Stretch[] {
  const last = stretches.at(-1);
  if (!last) return [];
  const from = last.startedAt + last.seconds - seconds;
  return stretches.filter((stretch) => stretch === last || stretch.startedAt >= from);
}

/** Puts load on the system until `seconds` are over, and the stretch in hand with them. */
async function keepLoading(
  stack: FlowStack,
  { orders, seconds }: { readonly orders: number; readonly seconds: number },
): Promise<Stretch[]> {
  const beganMs = performance.now();
  const passed = () => (performance.now() - beganMs) / 1000;
  const stretches: Stretch[] = [];
  while (passed() < seconds) {
    const startedAt = passed();
    const { end } = await putLoad(stack, { orders, connections: CONNECTIONS });
    stretches.push({ startedAt, orders, seconds: end.seconds });
  }
  return stretches;
}

interface HeldLoad {
  readonly stretches: readonly Stretch[];
  /** How long the transaction was open, by the database's clock. */
  readonly seconds: number;
  /** Rows that are dead and cannot go, by table, the most first. */
  readonly deadRows: string;
  readonly shares: string;
}

/** Runs a load while a session of its own holds a snapshot. */
async function loadWhileHeld(stack: FlowStack, load: () => Promise<Stretch[]>): Promise<HeldLoad> {
  const pool = postgres(stack.db.url, { max: 1, connection: { idle_in_transaction_session_timeout: 0 } });
  try {
    const session = await pool.reserve();
    await session`begin isolation level repeatable read`;
    await session`select from orders limit 1`; // takes the snapshot, which nothing may be vacuumed beyond
    const meter = await startMachineMeter(stack.pids());
    const stretches = await load();
    const shares = describeShares(await meter.read());
    const deadRows = await countDeadRows(stack.db.sql);
    // Fails when the session has lost its transaction.
    const [open] = await session<{ seconds: number }[]>`
      select extract(epoch from clock_timestamp() - now())::float8 as seconds from orders limit 1`;
    await session`rollback`;
    session.release();
    return { stretches, seconds: open?.seconds ?? 0, deadRows, shares };
  } finally {
    await pool.end({ timeout: 2 });
  }
}

async function countDeadRows(sql: Sql): Promise<string> {
  const rows = await sql<{ table: string; dead: number }[]>`
    select relname as table, n_dead_tup::int as dead from pg_stat_user_tables
    where n_dead_tup > 0 order by n_dead_tup desc limit 3`;
  return rows.map(({ table, dead }) => `${table} ${dead}`).join(", ") || "none";
}
