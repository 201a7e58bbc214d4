// The frame of every consumer: one process, one queue, one role.

import { startConsumer } from "../shared/broker/consume.ts";
import type { Envelope, Tell } from "../shared/broker/message.ts";
import {
  countBatches,
  createConsumerMetrics,
  createProcessSpans,
  logBatches,
} from "../shared/broker/observe.ts";
import type { HandleBatch, OfType, Outcome } from "../shared/broker/settle.ts";
import { type Config, ConfigError, topologyOf, type VariableName } from "../shared/process/config.ts";
import { retryWhileUnavailable } from "../shared/process/errors.ts";
import { keepBeating } from "../shared/process/heartbeat.ts";
import { METRICS_VARIABLES, type Registry, startMetrics } from "../shared/process/metrics.ts";
import type { ProcessScript } from "../shared/process/run.ts";
import { aborted } from "../shared/process/stop.ts";
import { findTracer, type Tracer } from "../shared/process/tracing.ts";
import { beforeCommit } from "../shared/ops/holds.ts";
import { connect, KEYED_SETTINGS, type Sql } from "../shared/sql/connect.ts";
import type { DatabaseRole } from "../shared/sql/migrate.ts";
import { keepHistory } from "../shared/sql/event_history.ts";
import { type Inbox, once, ownConsumer, type WritingRows } from "../shared/sql/inbox.ts";
import { createWakeUps } from "../shared/sql/outbox.ts";
import { createSetAside } from "../shared/sql/set_aside.ts";
import { type Faults, watchFaults, watchHolds } from "./faults/watch.ts";
import { consumerSeams } from "./faults/seams.ts";

/** What a handler decides about one event: the row that it leads to, what is told once that is stored, and a log note. */
export interface Decision<Row> {
  readonly row: Row;
  readonly tells: Tell;
  readonly note: string;
}

/**
 * Makes the handler of a consumer whose every event leads to one row: `decide` is pure, `writing` makes the statement
 * that writes the rows. An event that has had its effect is a duplicate.
 */
export function recordEach<E extends Envelope, Row extends { readonly id: string }>(
  writing: WritingRows<Row>,
  decide: (event: E) => Decision<Row>,
): (deps: Pick<HandlerDeps, "inbox">) => HandleBatch<E> {
  return ({ inbox }) => async (received) => {
    const effects = received.map((cause) => ({ cause, ...decide(cause.event) }));
    const recorded = await once(inbox, effects, writing, new Date());
    return effects.map(({ cause, note }): Outcome => {
      return recorded.has(cause.event.eventId) ? { kind: "done", note } : { kind: "duplicate" };
    });
  };
}

const CONSUMER_VARIABLES = [
  ...METRICS_VARIABLES,
  "CONSUMER_BATCH_SIZE",
  "CONSUMER_MAX_RETRIES",
  "CONSUMER_MAX_MESSAGE_BYTES",
  "CONSUMER_EARLY_PATIENCE_MS",
] as const;

export interface HandlerDeps<N extends VariableName = never> {
  /** A pool of one connection under the consumer's role, to read from. */
  readonly sql: Sql;
  readonly inbox: Inbox;
  readonly stop: AbortSignal;
  /** For faults at seams that the handler has beyond those of every consumer; null where faults are off. */
  readonly faults: Faults | null;
  /** For figures of the handler's own; null where nobody asks for any. */
  readonly registry: Registry | null;
  /** For spans inside of those that every consumer has; null where nothing is traced. */
  readonly tracer: Tracer | null;
  readonly config: Config<N>;
}

type Topology = ReturnType<typeof topologyOf>;
type Queues = Topology["queues"];
type AnyEvent = Extract<ReturnType<Topology["parse"]>, { readonly ok: true }>["event"];
type Bound<Q extends keyof Queues> = Queues[Q]["bindings"][number];

/** Makes the process of a consumer: connects, takes its name, and processes its queue until it is told to stop. */
export function consumerScript<Q extends keyof Queues, N extends VariableName = never>(
  { queue: key, role, variables = [], handle }: {
    readonly queue: Q;
    /** The database role that it takes on, unless DATABASE_ROLES is off. */
    readonly role: DatabaseRole;
    readonly variables?: readonly N[];
    /** Makes what processes its batches; called once, before the first of them. */
    readonly handle: (deps: HandlerDeps<N>) => HandleBatch<OfType<AnyEvent, Bound<Q>>>;
  },
): ProcessScript<(typeof CONSUMER_VARIABLES)[number] | N> {
  const name = key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return {
    name,
    variables: [...CONSUMER_VARIABLES, ...variables],
    async work({ config, log, stop }) {
      const metrics = startMetrics(name, config, log);
      const registry = metrics?.registry ?? null;
      const topology = topologyOf(config);
      const { name: queue, bindings } = topology.queues[key];
      const session = { name: queue, role: config.DATABASE_ROLES ? role : null, settings: KEYED_SETTINGS };
      const options = { ...session, max: 1 };
      const sql = connect(config.DATABASE_URL, options); // one connection: a consumer does one thing at a time
      const sideSql = connect(config.DATABASE_URL, options); // what need not wait for a batch, nor a batch for it
      if (config.DATABASE_ROLES) {
        await retryWhileUnavailable(() => takeName(sideSql, queue, role), { log, stop });
      }
      const faults = config.FAULTS_ENABLED ? await watchFaults(sideSql, { log, stop }) : null;
      const parts = faults ? [queue, beforeCommit(queue)] : [queue];
      const holds = await watchHolds(sideSql, parts, { log, stop });
      const seams = consumerSeams(sql, queue, faults, holds);
      const tracer = findTracer();
      const counting = countBatches();
      const inbox = { consumer: queue, atomically: seams.atomically, wakeUps: createWakeUps() };
      const beating = keepBeating({ sql: sideSql, process: name, counts: counting.counts, log }, stop);
      const consumer = startConsumer<AnyEvent, Bound<Q>>({
        url: config.AMQP_URL,
        topology,
        queue,
        batchSize: config.CONSUMER_BATCH_SIZE,
        retryPolicy: { maxRetries: config.CONSUMER_MAX_RETRIES, earlyMs: config.CONSUMER_EARLY_PATIENCE_MS },
        parse: topology.parse,
        maxMessageBytes: config.CONSUMER_MAX_MESSAGE_BYTES,
        types: bindings,
        handle: seams.handling(handle({ sql, inbox, stop, faults, registry, tracer, config })),
        setAside: createSetAside(sql, queue),
        observers: [
          ...(tracer ? [createProcessSpans(tracer, config.AMQP_URL, queue)] : []),
          ...(registry ? [createConsumerMetrics(registry, queue)] : []),
          counting,
          logBatches(log),
          keepHistory(sideSql, queue, log),
        ],
        gate: holds.gate(queue),
        log,
      });
      await Promise.race([aborted(stop), consumer.running]);
      await Promise.all([consumer.stop(), beating]);
      await metrics?.stop();
      await Promise.all([sql.end({ timeout: 2 }), sideSql.end({ timeout: 2 })]);
    },
  };
}

/**
 * Takes the name of a consumer for its role.
 *
 * Errors: `ConfigError` where another role consumes from the queue, and has the inbox under its name.
 */
export async function takeName(sql: Sql, queue: string, role: DatabaseRole): Promise<void> {
  const owner = await ownConsumer(sql, queue);
  if (owner === role) return;
  throw new ConfigError(
    `Cannot start: ${owner} consumes from the queue ${queue}, and ${role} may not. Give this one a queue of its own ` +
      "(.env.example names the variable); if it has changed hands, delete its row in the table consumer_owners.",
  );
}
