/**
 * How much memory each process takes while a million events wait in the outbox, beside the same load without them.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { startStack } from "../support/test_stack.ts";
import type { Bench, BenchPart } from "./bench.ts";
import { fillOutbox } from "./fill_outbox.ts";
import { putLoadUnseen } from "./flow_stack.ts";
import { readMemory } from "./process_usage.ts";

const WAITING = 1_000_000;
const TINY_WAITING = 2000;
/** The load in both cases: so many orders at so many per second, which is 15 s unless the stack is too busy to keep up. */
const ORDERS = 6000;
const TINY_ORDERS = 200;
const RATE = 400;
const CONNECTIONS = 16;
const SAMPLE_MS = 200;

/** The part. */
export const memoryPart: BenchPart = {
  name: "memory",
  about: "resident memory of each process with 1 million events waiting, beside the same load with none",
  async run(bench) {
    const waiting = bench.size(WAITING, TINY_WAITING);
    const none = await peaks(bench, 0);
    const many = await peaks(bench, waiting);
    const events = waiting.toLocaleString("en");
    const [largest, most] = [...many].reduce((a, b) => b[1] > a[1] ? b : a);
    return [
      ...[...many].map(([name, mib]) => ({
        what: `memory of ${name}, ${events} events waiting`,
        unit: "MiB",
        ours: mib,
        beside: none.get(name) ?? NaN,
        goal: { atMost: 1.5 },
      })),
      {
        what: `memory of the largest process, ${events} events waiting`,
        unit: "MiB",
        ours: most,
        beside: null,
        goal: { atMost: 150 },
        note:
          `${largest}; the most in samples every ${SAMPLE_MS} ms under ${RATE} new orders/s, no collection forced; ` +
          "the oldest events go first, so later stages get little until the backlog is through",
      },
    ];
  },
};

/** The most memory that each process of a fresh stack has under load, in MiB, by its name. */
async function peaks(bench: Bench, waiting: number): Promise<Map<string, number>> {
  await using db = await bench.services.database();
  await using broker = bench.services.broker();
  if (waiting > 0) {
    bench.say(`filling the outbox with ${waiting} events and their orders`);
    await fillOutbox(db.sql, { events: waiting, published: false, until: new Date(), orders: true });
  }
  bench.say(`load with ${waiting} events waiting`);
  await using stack = await startStack({}, { services: { db, broker } });
  const orders = bench.size(ORDERS, TINY_ORDERS);
  const over = new AbortController();
  const [found] = await Promise.all([
    samplePeaks(stack.pids(), over.signal),
    putLoadUnseen(stack.url, { orders, rate: RATE, connections: CONNECTIONS })
      .finally(() => over.abort()),
  ]);
  if (stack.crashes.length > 0) throw new Error(`Processes ended under load: ${stack.crashes.join(", ")}`);
  return found;
}

/** Samples resident memory until `stop` is aborted; answers with the highest of each process. */
async function samplePeaks(
  pids: ReadonlyMap<string, number>,
  stop: AbortSignal,
): Promise<Map<string, number>> {
  const found = new Map([...pids.keys()].map((name) => [name, 0]));
  while (!stop.aborted) {
    for (const [name, mib] of await readMemory(pids)) found.set(name, Math.max(mib, found.get(name) ?? 0));
    await delay(SAMPLE_MS, undefined, { signal: stop }).catch(() => {}); // aborted: the load is over
  }
  return found;
}
