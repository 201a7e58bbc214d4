/**
 * What more copies of a process come to: nothing lost, nothing done twice, and no slower.
 *
 * @module
 */
import { runAudit } from "../../shared/ops/audit.ts";
import type { Sql } from "../../shared/sql/connect.ts";
import { RELAY } from "../../workers/dev/processes.ts";
import { eventually } from "../support/eventually.ts";
import { settled } from "../support/settled.ts";
import type { TestProcess } from "../support/test_process.ts";
import type { Bench, BenchPart, BenchRow } from "./bench.ts";
import { type FlowStack, putLoad, startFlowStack } from "./flow_stack.ts";
import { describeShares, startMachineMeter } from "./machine_usage.ts";

const CONNECTIONS = 64;

/** The consumer that uses most processor time for an order, as the part `cost` shows: it makes rows of its own. */
const SLOWEST_CONSUMER = "payments-order-created";

/** How many copies of what. */
interface Formation {
  readonly process: string;
  readonly copies: number;
}

const ALONE: Formation = { process: RELAY.name, copies: 1 };
const MORE: readonly Formation[] = [
  { process: RELAY.name, copies: 2 },
  { process: SLOWEST_CONSUMER, copies: 2 },
  { process: SLOWEST_CONSUMER, copies: 4 },
];

/** What one formation did in one round. */
interface Round {
  readonly formation: Formation;
  readonly perSecond: number;
  readonly shares: string;
}

/** The part `copies`. */
export const copiesPart: BenchPart = {
  name: "copies",
  about: "orders per second with more copies of the relay and of the slowest consumer, beside one of each",
  async run(bench) {
    await using stack = await startFlowStack(bench.services);
    const ops = stack.db.as("orderflow_ops");
    await putLoad(stack, { orders: bench.size(500, 20), connections: CONNECTIONS });
    const rounds: Round[] = [];
    // Forth and back, so that neither the machine's drift nor the fuller database favours any; a tiny run is forth alone.
    const forth = [ALONE, ...MORE];
    for (const formation of [...forth, ...forth.toReversed()].slice(0, bench.size(2, 1) * forth.length)) {
      rounds.push(await runFormation(bench, stack, formation));
      await auditAll(stack, ops);
    }
    const one = meanRate(rounds, ALONE);
    return MORE.map((formation): BenchRow => ({
      what: `flow with ${formation.copies} copies of ${formation.process}`,
      unit: "orders/s",
      ours: meanRate(rounds, formation),
      beside: one,
      goal: { atLeast: 1 },
      note: [
        `${rates(rounds, formation)} beside ${rates(rounds, ALONE)}`,
        "after each the audit found nothing",
        `cores used: ${rounds.findLast((round) => round.formation === formation)?.shares ?? ""}`,
      ].join("; "),
    }));
  },
};

async function runFormation(bench: Bench, stack: FlowStack, formation: Formation): Promise<Round> {
  const { process, copies } = formation;
  const orders = bench.size(4000, 60);
  bench.say(`${orders} orders, ${copies} of ${process}`);
  const more = Array.from({ length: copies - 1 }, () => stack.startCopy(process));
  try {
    await copiesRunning(stack, process, copies);
    // So many that every copy has had its share and is warm.
    await putLoad(stack, { orders: bench.size(2000, 10), connections: CONNECTIONS });
    const meter = await startMachineMeter(new Map([...stack.pids(), ...pidsOf(process, more)]));
    const { end } = await putLoad(stack, { orders, connections: CONNECTIONS });
    const shares = describeShares(await meter.read());
    return { formation, perSecond: end.perSecond, shares };
  } finally {
    await Promise.all(more.map((copy) => copy.end("SIGTERM")));
    await copiesRunning(stack, process, 1);
  }
}

function pidsOf(process: string, more: readonly TestProcess[]): [string, number][] {
  return more.map(({ pid }, i) => [`${process} (copy ${i + 2})`, pid]);
}

/** By their own account: each has a row while it runs. */
async function copiesRunning({ db }: FlowStack, process: string, copies: number): Promise<void> {
  await eventually(`${copies} copies of ${process}`, async () => {
    const [row] = await db.sql<{ count: number }[]>`
      select count(*)::int as count from heartbeats where process = ${process}`;
    return row?.count === copies;
  });
}

/**
 * Checks every promise over all that was ordered so far.
 *
 * Errors: when something is lost, done twice or wrong, with what.
 */
async function auditAll(stack: FlowStack, ops: Sql): Promise<void> {
  await settled(stack);
  const { ok, checks, waitingForOperator } = await runAudit(ops, stack.broker.topology, { graceSeconds: 0 });
  if (ok && waitingForOperator.count === 0) return;
  const found = checks.filter(({ count }) => count > 0).map(({ check, count }) => `${check}: ${count}`);
  throw new Error(
    `The copies broke a promise: ${
      [...found, `waiting for an operator: ${waitingForOperator.count}`].join("; ")
    }`,
  );
}

function meanRate(rounds: readonly Round[], formation: Formation): number {
  const mine = rounds.filter((round) => round.formation === formation);
  return mine.reduce((sum, { perSecond }) => sum + perSecond, 0) / mine.length;
}

function rates(rounds: readonly Round[], formation: Formation): string {
  return rounds.filter((round) => round.formation === formation)
    .map(({ perSecond }) => perSecond.toFixed(0)).join(" and ");
}
