/**
 * How fast orders are accepted, and how fast the whole system brings them from their request to their end.
 *
 * @module
 */
import type { z } from "zod";
import { API } from "../../workers/dev/processes.ts";
import { startStack } from "../support/test_stack.ts";
import { type Bench, type BenchPart, type BenchRow, median } from "./bench.ts";
import { describeShares, startMachineMeter } from "./cost_part.ts";
import { insertsSchema, measure, spanSchema } from "./measure_main.ts";
import { type EndedLoad, putLoad, putLoadUnseen, startFlowStack } from "./services.ts";

/** Connections, and how many times as many orders a second as naive inserts are to be accepted over them. */
const CASES = [{ connections: 16, atLeast: 1 }, { connections: 64, atLeast: 2 }];

type Round = z.infer<typeof insertsSchema>;

/** What was measured over one number of connections, in turns. */
export interface Rounds {
  /** `POST /orders`. */
  readonly ours: readonly Round[];
  /** The naive inserts. */
  readonly naive: readonly Round[];
}

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
      const ours = async (orders: number) => {
        const { perSecond, post, cpuShare } = await putLoadUnseen(stack.url, { orders, connections });
        return { perSecond, ...post, cpuShare };
      };
      const naive = (orders: number) =>
        measure({ what: "inserts", database: db.url, orders, connections }, insertsSchema);
      const rounds = await alternate(bench, connections, ours, naive);
      rows.push(...acceptRows(connections, atLeast, rounds));
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

/** The lines of one number of connections: medians of the rounds. Pure. */
export function acceptRows(connections: number, atLeast: number, { ours, naive }: Rounds): BenchRow[] {
  const row = (name: string, unit: string, of: (round: Round) => number, goal: BenchRow["goal"]) => ({
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

const FLOW_CONNECTIONS = 64;

export const flowPart: BenchPart = {
  name: "flow",
  about: "orders per second from POST to the end, beside the same messages through the broker alone",
  async run(bench) {
    const orders = bench.size(30_000, 100);
    // Before and after, because a machine drifts; the mean is what it would have done meanwhile.
    const before = await bareFlow(bench, orders);
    const { load, shares } = await flow(bench, orders);
    const after = await bareFlow(bench, orders);
    const { isBrokerEmbedded } = bench.services;
    return [{
      what: "flow: POST to final state",
      unit: "orders/s",
      ours: load.end.perSecond,
      beside: (before + after) / 2,
      goal: isBrokerEmbedded ? null : { atLeast: 0.6 },
      note: [
        ...(isBrokerEmbedded ? ["goal is on RabbitMQ: the embedded broker writes nothing to disk"] : []),
        `beside it ${before.toFixed(0)} before and ${after.toFixed(0)} after`,
        `load generator ${load.cpuShare.toFixed(2)} of a core while it sent`,
        `cores used: ${shares}`,
      ].join("; "),
    }];
  },
};

async function flow(bench: Bench, orders: number): Promise<{ load: EndedLoad; shares: string }> {
  await using stack = await startFlowStack(bench.services);
  bench.say("warming up");
  await putLoad(stack, { orders: bench.size(500, 20), connections: FLOW_CONNECTIONS });
  bench.say(`${orders} orders`);
  const meter = await startMachineMeter(stack.pids());
  const load = await putLoad(stack, { orders, connections: FLOW_CONNECTIONS });
  return { load, shares: describeShares(await meter.read()) };
}

/**
 * Orders per second whose messages go through the broker with nothing done for them. One process publishes and one
 * consumes: on two cores that is the fastest that the client can be, faster than as many processes as ours are.
 */
async function bareFlow({ services, say }: Bench, orders: number): Promise<number> {
  say(`the messages of ${orders} orders through the broker alone`);
  await using broker = services.broker();
  const half = (what: "flow out" | "flow in") =>
    measure({ what, broker: broker.url, names: broker.env, orders }, spanSchema);
  const [published, consumed] = await Promise.all([half("flow out"), half("flow in")]);
  const endedMs = Math.max(published.endedMs, consumed.endedMs);
  return orders / ((endedMs - published.startedMs) / 1000);
}
