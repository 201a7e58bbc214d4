/**
 * How long an order takes from its request to its completion, with nothing else to do and under load.
 *
 * @module
 */
import { settled } from "../support/settled.ts";
import { type Bench, type BenchPart, type BenchRow, type Quantiles, quantilesSchema } from "./bench.ts";
import { measure, tellEnds } from "./measure_main.ts";
import { putLoad, startFlowStack } from "./services.ts";

const CONNECTIONS = 64;
/** Between two orders or chains with nothing beside them: each has ended long before the next one comes. */
const IDLE_EVERY_MS = 100;
/** Between two orders that are measured among the load. */
const BUSY_EVERY_MS = 20;
const BUSY_SECONDS = 10;

/**
 * The part. An order counts from before its request leaves until a session that listens has been told of its last commit:
 * nobody looks at the table meanwhile. The bare chain beside it, which is one process alone with the services, runs at the
 * same pace.
 */
export const latencyPart: BenchPart = {
  name: "latency",
  about: "milliseconds from POST to COMPLETED: idle, beside bare commits and hops; under load, beside idle",
  async run(bench) {
    const before = await bareChains(bench);
    const { idle, busy, note } = await ours(bench);
    const after = await bareChains(bench);
    const bare = { p50: (before.p50 + after.p50) / 2, p99: (before.p99 + after.p99) / 2 };
    const bareNote = `beside it ${before.p50.toFixed(1)} before and ${after.p50.toFixed(1)} after`;
    const row = (what: string, ours: number, beside: number, goal: BenchRow["goal"], note: string) => ({
      what,
      unit: "ms",
      ours,
      beside,
      goal,
      note,
    });
    return [
      row("idle latency p50", idle.p50, bare.p50, { atMost: 2 }, bareNote),
      row("idle latency p99", idle.p99, bare.p99, null, ""),
      row("latency under way at half rate p50", busy.p50, idle.p50, { atMost: 3 }, note),
      row("latency under way at half rate p99", busy.p99, idle.p99, { atMost: 10 }, "as above"),
    ];
  },
};

interface Latencies {
  readonly idle: Quantiles;
  readonly busy: Quantiles;
  /** What the load beside the latter was. */
  readonly note: string;
}

async function ours({ services, size, say }: Bench): Promise<Latencies> {
  await using stack = await startFlowStack(services);
  await tellEnds(stack.db.sql);
  const job = { what: "orders", database: stack.db.url, api: stack.url } as const;
  say("warming up");
  await putLoad(stack, { orders: size(500, 20), connections: CONNECTIONS });
  await settled(stack);
  const count = size(150, 5);
  say(`${count} orders one by one`);
  const idle = await measure({ ...job, count, everyMs: IDLE_EVERY_MS }, quantilesSchema);
  say("orders as fast as they go");
  const { end } = await putLoad(stack, { orders: size(6000, 60), connections: CONNECTIONS });
  await settled(stack);
  const measured = size(BUSY_SECONDS * 1000 / BUSY_EVERY_MS, 10);
  const rate = Math.max(Math.floor(end.perSecond / 2 - 1000 / BUSY_EVERY_MS), 1); // the measured ones are part of it
  say(`${measured} orders at half that rate`);
  const [busy, load] = await Promise.all([
    measure({ ...job, count: measured, everyMs: BUSY_EVERY_MS }, quantilesSchema),
    putLoad(stack, {
      orders: Math.min(rate * BUSY_SECONDS, size(Infinity, 60)),
      connections: CONNECTIONS,
      rate,
    }),
  ]);
  const beside = `beside ${load.perSecond.toFixed(0)} of at most ${end.perSecond.toFixed(0)} orders/s`;
  return {
    idle,
    busy,
    note: `${measured} orders ${beside}, generator ${load.cpuShare.toFixed(2)} of a core`,
  };
}

async function bareChains({ services, size, say }: Bench): Promise<Quantiles> {
  const count = size(150, 5);
  say(`${count} bare chains`);
  await using db = await services.database();
  await using broker = services.broker();
  const queue = broker.topology.queues.paymentsOrderCreated.name;
  const job = { what: "chains", database: db.url, broker: broker.url, queue } as const;
  return await measure({ ...job, count, everyMs: IDLE_EVERY_MS }, quantilesSchema);
}
