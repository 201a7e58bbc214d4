/**
 * What the consumer scripts have in common: one process, one queue, one role.
 *
 * @module
 */
import { startConsumer } from "../shared/broker/consume.ts";
import { BATCH_COUNTS, createConsumerMetrics, createProcessSpans } from "../shared/broker/observe.ts";
import type { HandleBatch } from "../shared/broker/settle.ts";
import { type QueueKey, QUEUES } from "../shared/topology.ts";
import { type Config, topologyOf, type VariableName } from "../shared/process/config.ts";
import { createCounts, keepBeating } from "../shared/process/heartbeat.ts";
import { METRICS_VARIABLES, type Registry, startMetrics } from "../shared/process/metrics.ts";
import { runProcess, WORKER_VARIABLES } from "../shared/process/run.ts";
import {
  type Atomically,
  connect,
  type DatabaseRole,
  KEYED_SETTINGS,
  type Sql,
} from "../shared/sql/connect.ts";
import { clearSuspect, countSuspect, insertDeadLetters, storeRetries } from "../shared/sql/set_aside.ts";
import { announceRetries, createOutboxWaker, type OutboxWaker } from "../shared/sql/outbox.ts";
import { aborted } from "../shared/process/stop.ts";
import { findTracer, type Tracer } from "../shared/process/tracing.ts";
import { type Faults, watchFaults } from "./faults/armed.ts";
import { consumerSeams } from "./faults/seams.ts";

const CONSUMER_VARIABLES = [
  ...WORKER_VARIABLES,
  ...METRICS_VARIABLES,
  "CONSUMER_BATCH_SIZE",
  "CONSUMER_MAX_RETRIES",
  "CONSUMER_EARLY_PATIENCE_MS",
] as const;

/** What a consumer's handler is made with. */
export interface HandlerDeps<N extends VariableName = never> {
  /** A pool of one connection under the consumer's role. */
  readonly sql: Sql;
  /** Runs a statement under it as a transaction of its own. */
  readonly atomically: Atomically;
  /** The consumer's name, for the inbox. */
  readonly consumer: string;
  /** To be woken when a statement that appends events is under way on `sql`. */
  readonly waker: OutboxWaker;
  /** Aborted when the process is asked to stop. */
  readonly stop: AbortSignal;
  /** What is armed, for seams that the handler has beyond those of every consumer; null where faults are off. */
  readonly faults: Faults | null;
  /** Where figures of the handler's own go; null where nobody asks for any. */
  readonly registry: Registry | null;
  /** For spans inside of those that every consumer has; null where nothing is traced. */
  readonly tracer: Tracer | null;
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
    const metrics = startMetrics(name, config, log);
    const registry = metrics?.registry ?? null;
    const topology = topologyOf(config);
    const queue = topology.queues[spec.queue].name;
    const role = config.DATABASE_ROLES ? spec.role : null;
    const options = { name: queue, role, max: 1, settings: KEYED_SETTINGS };
    const sql = connect(config.DATABASE_URL, options); // one connection: what is sent is done in this order
    const sideSql = connect(config.DATABASE_URL, options); // what need not wait for a batch, nor a batch for it
    const waker = createOutboxWaker(sql);
    const faults = config.FAULTS_ENABLED ? await watchFaults(sideSql, { log, stop }) : null;
    const seams = consumerSeams(sql, queue, faults);
    const tracer = findTracer();
    const counts = createCounts(BATCH_COUNTS);
    const beating = keepBeating({ sql: sideSql, process: name, counts, log }, stop);
    const types: readonly BindingOf<Q>[] = QUEUES[spec.queue].bindings;
    const consumer = await startConsumer({
      url: config.AMQP_URL,
      topology,
      queue,
      batchSize: config.CONSUMER_BATCH_SIZE,
      patience: { maxRetries: config.CONSUMER_MAX_RETRIES, earlyMs: config.CONSUMER_EARLY_PATIENCE_MS },
      types,
      handle: seams.handling(
        spec.createHandler({ ...seams, consumer: queue, waker, stop, faults, registry, tracer, config }),
      ),
      suspects: {
        count: (body) => countSuspect(sql, queue, body),
        clear: (body) => clearSuspect(sql, queue, body),
      },
      keepDeadLetters: (letters) => insertDeadLetters(sql, letters, new Date()),
      keepRetries: async (retries) => {
        await storeRetries(sql, retries, new Date());
        await announceRetries(sql);
      },
      spans: createProcessSpans(tracer, config.AMQP_URL, queue),
      onBatch: counts.add,
      onSettled: registry ? createConsumerMetrics(registry, queue) : undefined,
      log,
    });
    await Promise.race([aborted(stop), consumer.running]);
    await Promise.all([consumer.stop(), beating]);
    await metrics?.stop();
    await waker.close();
    await Promise.all([sql.end({ timeout: 2 }), sideSql.end({ timeout: 2 })]);
  });
}
