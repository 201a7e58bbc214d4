/**
 * Waiting until a system has done all that there is to do.
 *
 * @module
 */
import { eventually } from "./eventually.ts";
import { countUnfinished, countUnprocessed, countUnpublished } from "./ledger.ts";
import type { TestStack } from "./test_stack.ts";

/** Waits until every order is final, every event published, and each processed by all of its consumers. */
export async function settled({ db, broker }: Pick<TestStack, "db" | "broker">): Promise<void> {
  const { sql } = db;
  const consumers = new Map(
    Object.values(broker.topology.queues).map(({ name, bindings }) => [name, bindings]),
  );
  await eventually("every order to end", async () => await countUnfinished(sql) === 0, 60_000);
  await eventually(
    "every event to be processed",
    async () => await countUnprocessed(sql, consumers) === 0,
    30_000,
  );
  // Last, because what was processed last has told of it, and nobody consumes that.
  await eventually("every event to be published", async () => await countUnpublished(sql) === 0, 30_000);
}
