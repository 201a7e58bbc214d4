/**
 * The outbox relay: publishes what is in `outbox_events` to the exchange. Any number may run.
 *
 * @module
 */
import {
  bindingsOf,
  connectBroker,
  declareTopology,
  readQueueDepths,
  renewsAtMost,
} from "../shared/broker/connection.ts";
import { withSendSpans } from "../shared/broker/observe.ts";
import { createPublisher, toExchange } from "../shared/broker/publish.ts";
import { topologyOf } from "../shared/process/config.ts";
import { retryWhileUnavailable } from "../shared/process/errors.ts";
import { keepBeating } from "../shared/process/heartbeat.ts";
import { METRICS_VARIABLES, startMetrics } from "../shared/process/metrics.ts";
import {
  type ProcessContext,
  type ProcessScript,
  runProcess,
  WORKER_VARIABLES,
} from "../shared/process/run.ts";
import { aborted } from "../shared/process/stop.ts";
import { findTracer } from "../shared/process/tracing.ts";
import { connect, KEYED_SETTINGS, type Sql } from "../shared/sql/connect.ts";
import { CLAIM_SETTINGS, listenForWakeUps, type WakeUp } from "../shared/sql/outbox.ts";
import { openSession } from "../shared/sql/session.ts";
import { CONSUMED_TYPES } from "../shared/topology.ts";
import { watchFaults } from "./faults/armed.ts";
import { withPublisherFaults } from "./faults/seams.ts";
import { type Channels, createChannels } from "./relay/channels.ts";
import { observeRelay, type RelayObserver } from "./relay/metrics.ts";
import { createReconciler, keepReconciling } from "./relay/reconcile.ts";
import { startRelay } from "./relay/relay.ts";
import { keepReplaying } from "./relay/replay.ts";
import { keepPruning } from "./relay/retention.ts";
import { keepRetrying } from "./relay/retries.ts";

const NAME = "outbox-relay";
const VARIABLES = [
  ...WORKER_VARIABLES,
  ...METRICS_VARIABLES,
  "OUTBOX_PUBLISHER_ENABLED",
  "OUTBOX_PUBLISHER_BATCH_SIZE",
  "OUTBOX_PUBLISHER_POLL_INTERVAL_MS",
  "OUTBOX_RECONCILE_INTERVAL_MS",
  "OUTBOX_RECONCILE_AFTER_MS",
  "RETENTION_DAYS",
] as const;

type Context = ProcessContext<(typeof VARIABLES)[number]>;

export const script: ProcessScript<(typeof VARIABLES)[number]> = {
  name: NAME,
  variables: VARIABLES,
  work: relayOutbox,
};

if (import.meta.main) await runProcess(script);

async function relayOutbox({ config, log, stop }: Context): Promise<void> {
  const role = config.DATABASE_ROLES ? "orderflow_relay" : null;
  const session = { name: NAME, role, settings: CLAIM_SETTINGS } as const;
  const sql = connect(config.DATABASE_URL, { ...session, max: 5 }); // looks, and each chore but pruning
  const topology = topologyOf(config);
  const metrics = startMetrics(NAME, config, log);
  const observer = observeRelay(metrics?.registry ?? null);
  const faults = config.FAULTS_ENABLED ? await watchFaults(sql, { log, stop }) : null;

  const tracer = findTracer();
  const renew = renewsAtMost(() => channels.closeConnection());
  const channels = createChannels({
    declare: (channel) => declareTopology(channel, topology),
    readQueues: (channel) => readQueueDepths(channel, topology),
    publisherOn: (channel) => withSendSpans(createPublisher(channel, renew), tracer, config.AMQP_URL),
    aroundEvents(publisher) {
      const seams = { faults, bindings: bindingsOf(topology), cut: channels.closeConnection };
      return observer.timed(withPublisherFaults(publisher, seams));
    },
    onOpen() {
      log.info("Publishing", { exchange: topology.exchange });
      relay.wake(false);
    },
    log,
  });
  const relay = startRelay({
    sql,
    openSession: () => openSession(config.DATABASE_URL, session),
    publisher: () => channels.events,
    route: toExchange(topology.exchange, CONSUMED_TYPES),
    onStuck: channels.closeConnection,
    batchSize: config.OUTBOX_PUBLISHER_BATCH_SIZE,
    pollIntervalMs: config.OUTBOX_PUBLISHER_POLL_INTERVAL_MS,
    enabled: config.OUTBOX_PUBLISHER_ENABLED,
    onBatch: observer.onBatch,
    log,
  });
  const chores = startChores({ config, log, stop, sql, channels, observer });
  const broker = await connectBroker({ url: config.AMQP_URL, name: NAME, log, setup: channels.setup });
  const onWakeUp = (wakeUp: WakeUp) => {
    observer.onWakeUp(wakeUp);
    if (wakeUp === "retries") chores.retrying.wake();
    else relay.wake(wakeUp === "tick");
  };
  await retryWhileUnavailable(() => listenForWakeUps(sql, onWakeUp), { log, stop });
  await Promise.race([aborted(stop), relay.running]);
  await Promise.all([relay.stop(), chores.running]);
  await metrics?.stop();
  await broker.close();
  await sql.end({ timeout: 2 });
}

interface ChoresOptions extends Pick<Context, "config" | "log" | "stop"> {
  readonly sql: Sql;
  readonly channels: Channels;
  readonly observer: RelayObserver;
}

/** What the process does beside relaying. */
function startChores({ config, log, stop, sql, channels, observer }: ChoresOptions) {
  const { RETENTION_DAYS: days, OUTBOX_RECONCILE_AFTER_MS: afterMs } = config;
  const bindings = bindingsOf(topologyOf(config));
  const role = config.DATABASE_ROLES ? "orderflow_retention" : null;
  const retentionSql = connect(config.DATABASE_URL, {
    name: "retention",
    role,
    max: 1,
    settings: KEYED_SETTINGS,
  });
  const retrying = keepRetrying({
    sql,
    publisher: () => channels.retries?.publisher ?? null,
    pollIntervalMs: config.OUTBOX_PUBLISHER_POLL_INTERVAL_MS,
    onSent: observer.onRetriesSent,
    log,
  }, stop);
  const running = Promise.all([
    retrying.running,
    keepReconciling({
      sql,
      reconciler: createReconciler({ sql, bindings, afterMs }),
      wire: () => channels.retries,
      intervalMs: config.OUTBOX_RECONCILE_INTERVAL_MS,
      onResent: observer.onResent,
      log,
    }, stop),
    keepReplaying({ sql, publisher: () => channels.replays, retentionDays: days, log }, stop),
    keepPruning({ sql: retentionSql, days, bindings, log }, stop).then(() =>
      retentionSql.end({ timeout: 2 })
    ),
    keepBeating({ sql, process: NAME, counts: observer.counts, log }, stop),
  ]);
  return { running, retrying };
}
