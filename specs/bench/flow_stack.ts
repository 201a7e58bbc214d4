/**
 * The whole system on a database and a topology of its own, and load on it.
 *
 * @module
 */
import type { TestBroker } from "../support/test_broker.ts";
import { startStack, type TestStack } from "../support/test_stack.ts";
import { type LoadReport, loadReportSchema } from "./load_report.ts";
import { flags, runScript } from "./run_script.ts";
import type { BenchServices } from "./services.ts";

/** A running system that nobody has used yet. Disposing of it deletes its database and its queues. */
export interface FlowStack extends TestStack {
  /** The names of its exchange and queues, for whoever asks the broker. */
  readonly broker: TestBroker;
}

/** Starts all processes, with the settings that they have unless told. */
export async function startFlowStack(services: BenchServices): Promise<FlowStack> {
  await using resources = new AsyncDisposableStack();
  const db = resources.use(await services.database());
  const broker = resources.use(services.broker());
  const stack = resources.use(await startStack({}, { services: { db, broker } }));
  const owned = resources.move();
  return { ...stack, broker, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** How much load. */
export interface FlowLoad {
  /** How many orders. */
  readonly orders: number;
  /** Over how many connections, with one request under way on each. */
  readonly connections: number;
  /** Orders per second; as many as go unless told. */
  readonly rate?: number;
}

/** What came of load whose orders have all ended. */
export type EndedLoad = LoadReport & { readonly end: NonNullable<LoadReport["end"]> };

/**
 * Creates orders with the load generator, a process of its own, and waits until all of them have ended.
 *
 * Errors: when an order is not created, does not end, or ends otherwise than completed.
 */
export async function putLoad(stack: Pick<FlowStack, "url" | "db">, load: FlowLoad): Promise<EndedLoad> {
  const args = [...flags({ url: stack.url, database: stack.db.url, ...load }), "--json"];
  const { end, ...report } = await runScript("specs/load_main.ts", args, loadReportSchema);
  if (end?.statuses["COMPLETED"] !== load.orders) {
    throw new Error(
      `${load.orders} orders were to be completed, but they ended as ${
        JSON.stringify(end?.statuses ?? null)
      }`,
    );
  }
  return { ...report, end };
}

/**
 * Creates orders at the API of `url` as {@linkcode putLoad} does, without looking what becomes of them.
 *
 * Errors: when an order is not created.
 */
export async function putLoadUnseen(url: string, load: FlowLoad): Promise<LoadReport> {
  const args = [...flags({ url, ...load }), "--no-wait", "--json"];
  return await runScript("specs/load_main.ts", args, loadReportSchema);
}
