/**
 * What the six consumer scripts have in common: one process, one queue, one role.
 *
 * @module
 */
import { startConsumer } from "../shared/broker/consume.ts";
import type { HandleBatch } from "../shared/broker/judge_batch.ts";
import { type QueueKey, QUEUES } from "../shared/broker/topology.ts";
import { type Config, topologyOf, type VariableName } from "../shared/config.ts";
import { runProcess, WORKER_VARIABLES } from "../shared/process.ts";
import { connect, type DatabaseRole, type Sql } from "../shared/sql/connect.ts";
import { insertDeadLetters } from "../shared/sql/dead_letters.ts";
import { createOutboxWaker, type OutboxWaker } from "../shared/sql/outbox_wakeup.ts";
import { clearSuspect, countSuspect } from "../shared/sql/suspect_deliveries.ts";
import { aborted } from "../shared/stop.ts";

const CONSUMER_VARIABLES = [...WORKER_VARIABLES, "CONSUMER_BATCH_SIZE", "CONSUMER_MAX_RETRIES"] as const;

/** What a consumer's handler is made with. */
export interface HandlerDeps<N extends VariableName = never> {
  /** A pool under the consumer's role. */
  readonly sql: Sql;
  /** The consumer's name, for the inbox. */
  readonly consumer: string;
  /** To be woken after a commit that appended events. */
  readonly waker: OutboxWaker;
  /** The parsed values of the handler's own variables. */
  readonly config: Config<N>;
}

/** The types of event that a queue is bound to. */
export type BindingOf<Q extends QueueKey> = (typeof QUEUES)[Q]["bindings"][number];

/** One consumer process. */
export interface ConsumerProcess<Q extends QueueKey, N extends VariableName = never> {
  /** The key of the queue that it consumes. */
  readonly queue: Q;
  /** The database role that it takes on, unless DATABASE_ROLES is off. */
  readonly role: DatabaseRole;
  /** Variables that its handler needs beyond those of every consumer. */
  readonly variables?: readonly N[];
  /** Makes what processes its batches; called once, before the first of them. */
  readonly createHandler: (deps: HandlerDeps<N>) => HandleBatch<BindingOf<Q>>;
}

/** Runs a consumer process until it is asked to stop. */
export async function runConsumerProcess<Q extends QueueKey, N extends VariableName = never>(
  spec: ConsumerProcess<Q, N>,
): Promise<void> {
  const name = spec.queue.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const variables = [...CONSUMER_VARIABLES, ...(spec.variables ?? [])];
  await runProcess(name, variables, async ({ config, log, stop }) => {
    const topology = topologyOf(config);
    const queue = topology.queues[spec.queue].name;
    const role = config.DATABASE_ROLES ? spec.role : null;
    const sql = connect(config.DATABASE_URL, { name: queue, role, max: 2 });
    const waker = createOutboxWaker(sql);
    const types: readonly BindingOf<Q>[] = QUEUES[spec.queue].bindings;
    const consumer = await startConsumer({
      url: config.AMQP_URL,
      topology,
      queue,
      batchSize: config.CONSUMER_BATCH_SIZE,
      maxRetries: config.CONSUMER_MAX_RETRIES,
      types,
      handle: spec.createHandler({ sql, consumer: queue, waker, config }),
      suspects: {
        count: (body) => countSuspect(sql, queue, body),
        clear: (body) => clearSuspect(sql, queue, body),
      },
      keepDeadLetters: (letters) => insertDeadLetters(sql, letters, new Date()),
      log,
    });
    await Promise.race([aborted(stop), consumer.running]);
    await consumer.stop();
    await waker.close();
    await sql.end({ timeout: 2 });
  });
}
