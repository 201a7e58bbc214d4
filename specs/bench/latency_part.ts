/**
 * How long an order takes from its request to its completion, with nothing else to do and under load.
 *
 * @module
 */
import { settled } from "../support/settled.ts";
import type { Bench, BenchPart, BenchRow } from "./bench.ts";
import { type EndedLoad, type FlowLoad, putLoad, startFlowStack } from "./flow_stack.ts";
import { type Quantiles, quantilesSchema } from "./load_report.ts";
import { flags, runScript } from "./run_script.ts";

const CONNECTIONS = 64;
/** Slow enough that each order has ended long before the next one comes. */
const IDLE_RATE = 10;

/** The part `latency`. */
export const latencyPart: BenchPart = {
  name: "latency",
  about:
    "milliseconds from POST to COMPLETED: idle, beside the bare chain of commits and hops; under load, beside idle",
  async run(bench) {
    const before = await bareChain(bench);
    const { idle, busy, fastest } = await ours(bench);
    const after = await bareChain(bench);
    const bare = { p50: (before.p50 + after.p50) / 2, p99: (before.p99 + after.p99) / 2 };
    const row = (what: string, ours: number, beside: number, goal: BenchRow["goal"], note: string) => ({
      what,
      unit: "ms",
      ours,
      beside,
      goal,
      note,
    });
    const watched = ({ end }: EndedLoad) => `as another session sees it, of ${end.watched} orders`;
    const bareNote = `beside it ${before.p50.toFixed(1)} before and ${after.p50.toFixed(1)} after`;
    const { p50, p99 } = busy.end.latency;
    const load = `${busy.perSecond.toFixed(0)} of ${fastest.toFixed(0)} orders/s, generator ${
      busy.cpuShare.toFixed(2)
    } of a core; ${watched(busy)}`;
    return [
      row("idle latency p50", idle.end.latency.p50, bare.p50, { atMost: 2 }, `${watched(idle)}; ${bareNote}`),
      row("idle latency p99", idle.end.latency.p99, bare.p99, null, ""),
      row("latency under way at half rate p50", p50, idle.end.latency.p50, { atMost: 3 }, load),
      row("latency under way at half rate p99", p99, idle.end.latency.p99, { atMost: 10 }, "as above"),
    ];
  },
};

interface Latencies {
  readonly idle: EndedLoad;
  readonly busy: EndedLoad;
  /** Orders per second to their end, as fast as they go. */
  readonly fastest: number;
}

async function ours({ services, size, say }: Bench): Promise<Latencies> {
  await using stack = await startFlowStack(services);
  const put = (what: string, load: FlowLoad) => {
    say(`${load.orders} orders ${what}`);
    return putLoad(stack, load);
  };
  await put("to warm up", { orders: size(500, 20), connections: CONNECTIONS });
  await settled(stack);
  const idle = await put("one by one", { orders: size(150, 5), connections: 1, rate: IDLE_RATE });
  const closed = await put("as fast as they go", { orders: size(6000, 60), connections: CONNECTIONS });
  const fastest = closed.end.perSecond;
  await settled(stack);
  const rate = Math.max(Math.floor(fastest / 2), 1);
  const orders = Math.min(rate * 10, size(Infinity, 60));
  const busy = await put("at half that rate", { orders, connections: CONNECTIONS, rate });
  return { idle, busy, fastest };
}

async function bareChain({ services, size, say }: Bench): Promise<Quantiles> {
  const chains = size(200, 5);
  say(`${chains} bare chains`);
  await using db = await services.database();
  await using broker = services.broker();
  const queue = broker.topology.queues.paymentsOrderCreated.name;
  const args = flags({ broker: broker.url, database: db.url, queue, chains });
  return await runScript("specs/bench/bare_chain_main.ts", args, quantilesSchema);
}
