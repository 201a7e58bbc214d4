/**
 * Faults around a consumer's handler and its transactions.
 *
 * @module
 */
import type { ReceivedEvent } from "../../shared/broker/delivery.ts";
import type { HandleBatch } from "../../shared/broker/judge_batch.ts";
import type { EventType } from "../../shared/events/catalog.ts";
import {
  type Atomically,
  atomicallyOn,
  type Sql,
  type Transaction,
  transaction,
} from "../../shared/sql/connect.ts";
import type { Faults } from "./armed_faults.ts";

/** A consumer's seams. Without faults both are what they wrap. */
export interface ConsumerSeams {
  /** The pool for the handler: its transactions may time out, and may end the process before they commit. */
  readonly sql: Sql;
  /** Runs a statement as a transaction of its own, with faults as in any other. */
  readonly atomically: Atomically;
  /** The handler: it may end the process after its transaction has committed. */
  handling<T extends EventType>(handle: HandleBatch<T>): HandleBatch<T>;
}

/** As `transaction` of `shared/sql/connect.ts` calls it. */
type Begin = (mode: string, work: (tx: Transaction) => Promise<unknown>) => Promise<unknown>;

/**
 * Makes the seams of the consumer named `consumer`. One batch is handled at a time, so a transaction is about the
 * events of the batch in hand.
 */
export function consumerSeams(sql: Sql, consumer: string, faults: Faults | null): ConsumerSeams {
  if (!faults) return { sql, atomically: atomicallyOn(sql), handling: (handle) => handle };
  let inHand: readonly ReceivedEvent[] = [];
  const targetOf = (events: readonly ReceivedEvent[]) => ({
    consumers: [consumer],
    correlationIds: events.map(({ event }) => event.correlationId),
  });

  const begin: Begin = (mode, work) =>
    // deno-lint-ignore layers/no-bare-begin -- transaction() calls this one, and guards what it calls
    sql.begin(mode, async (tx) => {
      if (await faults.strike("database.timeout", targetOf(inHand))) await timeOut(tx);
      const result = await work(tx);
      await faults.crash("consumer.crash-before-commit", targetOf(inHand));
      return result;
    });

  const faulty = new Proxy(sql, {
    get: (target, property) => property === "begin" ? begin : Reflect.get(target, property),
  });
  return {
    sql: faulty,
    atomically: (work) => transaction(faulty, work),
    handling: (handle) => async (events) => {
      inHand = events;
      try {
        const verdicts = await handle(events);
        const committed = events.filter((_, i) => verdicts[i]?.kind === "done");
        await faults.crash("consumer.crash-after-commit", targetOf(committed));
        return verdicts;
      } finally {
        inHand = [];
      }
    },
  };
}

/** Has the database cancel a statement: the very error of a real time-out, with a transaction that is broken by it. */
async function timeOut(tx: Transaction): Promise<void> {
  await tx`set local statement_timeout = '1ms'`;
  await tx`select pg_sleep(1)`;
}
