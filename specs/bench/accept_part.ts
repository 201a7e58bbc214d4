/**
 * How fast orders are accepted, beside rows inserted one at a time over as many connections.
 *
 * @module
 */
import { API } from "../../workers/dev/processes.ts";
import { startStack } from "../support/test_stack.ts";
import { type Bench, type BenchPart, type BenchRow, median } from "./bench.ts";
import { putLoadUnseen } from "./flow_stack.ts";
import { naiveReportSchema } from "./naive_inserts_main.ts";
import { flags, runScript } from "./run_script.ts";

/** Connections, and how many times as many orders a second as naive inserts are to be accepted over them. */
const CASES = [{ connections: 16, atLeast: 1 }, { connections: 64, atLeast: 2 }];

/** One measurement. */
export interface Round {
  /** Orders, or rows, per second. */
  readonly perSecond: number;
  /** Half of them took no longer, in milliseconds. */
  readonly p50: number;
  /** Of 100 of them 99 took no longer, in milliseconds. */
  readonly p99: number;
  /** The share of one core that whoever measured used. */
  readonly cpuShare: number;
}

/** What was measured over one number of connections, in turns. */
export interface Rounds {
  /** `POST /orders`. */
  readonly ours: readonly Round[];
  /** The naive inserts. */
  readonly naive: readonly Round[];
}

/** `POST /orders` beside naive inserts. */
export const acceptPart: BenchPart = {
  name: "accept",
  about: "POST /orders, beside one-row insert transactions over as many connections",
  async run(bench) {
    await using db = await bench.services.database();
    await using broker = bench.services.broker();
    await db.sql`create table naive_orders (like orders including all)`;
    // The API alone: this is about the stage by itself. The flow measures what is left of it beside all the others.
    await using stack = await startStack({}, { services: { db, broker }, processes: [API.name] });
    const rows: BenchRow[] = [];
    for (const { connections, atLeast } of CASES) {
      const ours = (orders: number) => accept(stack.url, orders, connections);
      const naive = (orders: number) => insert(db.url, orders, connections);
      const rounds = await alternate(bench, connections, ours, naive);
      rows.push(...rowsOf(connections, atLeast, rounds));
    }
    return rows;
  },
};

type Measure = (orders: number) => Promise<Round>;

/** Measures both in turns, so that whatever else the machine does meets both. */
async function alternate(bench: Bench, connections: number, ours: Measure, naive: Measure): Promise<Rounds> {
  bench.say(`${connections} connections: warming up`);
  const warmUp = bench.size(3000, 100);
  const seconds = bench.size(3, 0.1);
  const naiveOrders = Math.ceil((await naive(warmUp)).perSecond * seconds);
  const ourOrders = Math.ceil((await ours(warmUp)).perSecond * seconds);
  const rounds: { ours: Round[]; naive: Round[] } = { ours: [], naive: [] };
  for (let round = 1; round <= bench.size(3, 1); round++) {
    bench.say(`${connections} connections: round ${round}`);
    rounds.naive.push(await naive(naiveOrders));
    rounds.ours.push(await ours(ourOrders));
  }
  return rounds;
}

async function accept(url: string, orders: number, connections: number): Promise<Round> {
  const { perSecond, post, cpuShare } = await putLoadUnseen(url, { orders, connections });
  return { perSecond, ...post, cpuShare };
}

async function insert(database: string, orders: number, connections: number): Promise<Round> {
  const args = flags({ database, orders, connections });
  return await runScript("specs/bench/naive_inserts_main.ts", args, naiveReportSchema);
}

/** The lines of one number of connections: medians of the rounds. Pure. */
export function rowsOf(connections: number, atLeast: number, { ours, naive }: Rounds): BenchRow[] {
  const row = (
    name: string,
    unit: string,
    of: (round: Round) => number,
    goal: BenchRow["goal"],
  ): BenchRow => ({
    what: `accept, ${connections} connections: ${name}`,
    unit,
    ours: median(ours.map(of)),
    beside: median(naive.map(of)),
    goal,
  });
  const percent = (rounds: readonly Round[]) =>
    `${(median(rounds.map(({ cpuShare }) => cpuShare)) * 100).toFixed(0)} %`;
  const note = `the load generator took ${percent(ours)} of a core, the naive client ${percent(naive)}`;
  return [
    { ...row("orders", "/s", ({ perSecond }) => perSecond, { atLeast }), note },
    row("p50", "ms", ({ p50 }) => p50, null),
    row("p99", "ms", ({ p99 }) => p99, { atMost: 1 }),
  ];
}
