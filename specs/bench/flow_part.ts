/**
 * How many orders per second the whole system brings from their request to their end.
 *
 * @module
 */
import type { Bench, BenchPart } from "./bench.ts";
import { bareFlowSchema } from "./bare_flow_main.ts";
import { type EndedLoad, putLoad, startFlowStack } from "./flow_stack.ts";
import { describeShares, startMachineMeter } from "./machine_usage.ts";
import { flags, runScript } from "./run_script.ts";

const CONNECTIONS = 64;

/** The part `flow`. */
export const flowPart: BenchPart = {
  name: "flow",
  about: "orders per second from POST to the end, beside the same messages through the broker alone",
  async run(bench) {
    const orders = bench.size(30_000, 100);
    // Before and after, because a machine drifts; the mean is what it would have done meanwhile.
    const before = await bareFlow(bench, orders);
    const { load, shares } = await flow(bench, orders);
    const after = await bareFlow(bench, orders);
    return [{
      what: "flow: POST to final state",
      unit: "orders/s",
      ours: load.end.perSecond,
      beside: (before + after) / 2,
      goal: bench.services.isBrokerEmbedded ? null : { atLeast: 0.6 },
      note: [
        ...(bench.services.isBrokerEmbedded
          ? ["goal is on RabbitMQ: the embedded broker writes nothing to disk"]
          : []),
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
  await putLoad(stack, { orders: bench.size(500, 20), connections: CONNECTIONS });
  bench.say(`${orders} orders`);
  const meter = await startMachineMeter(stack.pids());
  const load = await putLoad(stack, { orders, connections: CONNECTIONS });
  return { load, shares: describeShares(await meter.read()) };
}

/**
 * Orders per second whose messages go through the broker with nothing done for them. One process publishes and one
 * consumes: on two cores that is the fastest that the client can be, faster than as many processes as ours are.
 */
async function bareFlow({ services, say }: Bench, orders: number): Promise<number> {
  say(`the messages of ${orders} orders through the broker alone`);
  await using broker = services.broker();
  const half = (role: "publish" | "consume") =>
    runScript(
      "specs/bench/bare_flow_main.ts",
      flags({ role, broker: broker.url, names: JSON.stringify(broker.env), orders }),
      bareFlowSchema,
    );
  const [published, consumed] = await Promise.all([half("publish"), half("consume")]);
  const endedMs = Math.max(published.endedMs, consumed.endedMs);
  return orders / ((endedMs - published.startedMs) / 1000);
}
