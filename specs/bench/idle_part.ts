/**
 * What the whole stack uses while there is nothing to do.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Sql } from "../../shared/sql/connect.ts";
import { BROKER } from "../../workers/dev/processes.ts";
import type { BenchPart, BenchRow } from "./bench.ts";
import { putLoad, startFlowStack } from "./flow_stack.ts";
import { readMachine } from "./machine_usage.ts";
import { startCpuMeter } from "./process_usage.ts";

/** Idle processor time. */
export const idlePart: BenchPart = {
  name: "idle",
  about: "processor time of the whole stack while nothing happens",
  async run(bench) {
    await using stack = await startFlowStack(bench.services);
    bench.say("one order, so that every process has worked");
    await putLoad(stack, { orders: 1, connections: 1 });
    await delay(bench.size(2000, 100)); // what follows an order, such as a slower poll, is over
    const { brokerPid } = bench.services;
    const ours = new Map([
      ...stack.pids(),
      ...(brokerPid === null ? [] : [[BROKER.name, brokerPid] as const]),
    ]);
    const seconds = bench.size(15, 1);
    bench.say(`watching ${ours.size} processes for ${seconds} s`);
    const meter = await startCpuMeter(ours);
    const sessions = await startCpuMeter(await sessionPids(stack.db.sql));
    await delay(seconds * 1000); // the time that is measured
    return [idleRow(await meter.shares(), await sessions.shares(), brokerPid !== null)];
  },
};

/** The server processes of the database's sessions; none where they run where this process cannot see them. */
async function sessionPids(sql: Sql): Promise<Map<string, number>> {
  const rows = await sql<{ pid: number }[]>`
    select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`;
  const machine = await readMachine();
  // In a container or on another machine the same number means somebody else.
  const seen = rows.filter(({ pid }) => machine.get(pid)?.program === "postgres");
  return new Map(seen.map(({ pid }) => [`session ${pid}`, pid]));
}

/** Shares of one core, by name. */
export type Shares = ReadonlyMap<string, number>;

/** The line of the table, from shares of a core by process and by database session. Pure. */
export function idleRow(processes: Shares, sessions: Shares, withBroker: boolean): BenchRow {
  const percent = (shares: Iterable<number>) => [...shares].reduce((sum, share) => sum + share, 0) * 100;
  const most = [...processes].toSorted(([, a], [, b]) => b - a).slice(0, 3)
    .map(([name, share]) => `${name} ${(share * 100).toFixed(2)} %`);
  const database = sessions.size === 0
    ? "Postgres is not counted"
    : `Postgres is not counted: its sessions took ${percent(sessions.values()).toFixed(2)} %`;
  const broker = withBroker ? "with the embedded broker" : "without RabbitMQ";
  return {
    what: "idle: the whole stack",
    unit: "% of a core",
    ours: percent(processes.values()),
    beside: null,
    goal: { atMost: 3 },
    note: `most: ${most.join(", ")}; ${broker}; ${database}`,
  };
}
