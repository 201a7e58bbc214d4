/**
 * The system under chaos: all processes, behind wires that can be cut, on services that can be taken down.
 *
 * @module
 */
import { type CuttableStack, startCuttableStack } from "../support/test_stack.ts";
import { type ChaosBroker, type ChaosDatabase, startChaosBroker, startChaosDatabase } from "./services.ts";

/** A running system. Disposing of it stops all, and deletes its database and queues. */
export interface ChaosSystem extends AsyncDisposable {
  /** The processes and the wires. */
  readonly stack: CuttableStack;
  /** The database. */
  readonly database: ChaosDatabase;
  /** The broker. */
  readonly broker: ChaosBroker;
}

/**
 * What the processes are started with, so that a short run sees as much recovery as a long one: lost events are looked
 * for all the time, and count as lost when they are older than any fault is long. The rest is as in production.
 */
export const CHAOS_SETTINGS: Readonly<Record<string, string>> = {
  OUTBOX_RECONCILE_INTERVAL_MS: "200",
  OUTBOX_RECONCILE_AFTER_MS: "2000",
};

/** Starts it, and waits until the API is ready. `logs` is a folder for what the processes write. */
export async function startChaosSystem(logs: string | undefined): Promise<ChaosSystem> {
  await using resources = new AsyncDisposableStack();
  const database = resources.use(await startChaosDatabase());
  const broker = resources.use(await startChaosBroker(logs));
  const services = { db: database.db, broker };
  const stack = resources.use(await startCuttableStack({ ...CHAOS_SETTINGS }, { services, logs }));
  const owned = resources.move();
  return { stack, database, broker, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
