// The outbox relay: publishes what is in `outbox_events` to the exchange. Any number may run.

import { bindingsOf, connectBroker } from "../shared/broker/connection.ts";
import { withSendSpans } from "../shared/broker/observe.ts";
import { toExchange } from "../shared/broker/publish.ts";
import { topologyOf } from "../shared/process/config.ts";
import { retryWhileUnavailable } from "../shared/process/errors.ts";
import { BEFORE_MARK, RELAY_PART } from "../shared/ops/holds.ts";
import { keepBeating } from "../shared/process/heartbeat.ts";
import { METRICS_VARIABLES, startMetrics } from "../shared/process/metrics.ts";
import { type ProcessContext, type ProcessScript, runProcess } from "../shared/process/run.ts";
import { aborted } from "../shared/process/stop.ts";
import { findTracer } from "../shared/process/tracing.ts";
import { connect, KEYED_SETTINGS } from "../shared/sql/connect.ts";
import { CLAIM_SETTINGS, listenForWakeUps, RELAY_SETTINGS, type WakeUp } from "../shared/sql/outbox.ts";
import { openSession } from "../shared/sql/session.ts";
import { CONSUMED_TYPES } from "../shared/topology.ts";
import { watchFaults, watchHolds } from "./faults/watch.ts";
import { withPublisherFaults } from "./faults/seams.ts";
import { createChannels } from "./relay/channels.ts";
import { observeRelay } from "./relay/metrics.ts";
import { keepReconciling } from "./relay/reconcile.ts";
import { startRelay } from "./relay/relay.ts";
import { keepReplaying } from "./relay/replay.ts";
import { keepPruning } from "./relay/retention.ts";
import { keepRetrying } from "./relay/retries.ts";

const NAME = "outbox-relay";
const VARIABLES = [
  ...METRICS_VARIABLES,
  "OUTBOX_PUBLISHER_ENABLED",
  "OUTBOX_PUBLISHER_BATCH_SIZE",
  "OUTBOX_PUBLISHER_POLL_INTERVAL_MS",
  "OUTBOX_RECONCILE_INTERVAL_MS",
  "OUTBOX_RECONCILE_AFTER_MS",
] as const;

export const script: ProcessScript<(typeof VARIABLES)[number]> = {
  name: NAME,
  variables: VARIABLES,
  work: relayOutbox,
};

if (import.meta.main) await runProcess(script);

async function relayOutbox(context: ProcessContext<(typeof VARIABLES)[number]>): Promise<void> {
  const { config, log, stop } = context;
  const { DATABASE_URL, DATABASE_ROLES, AMQP_URL, RETENTION_DAYS, FAULTS_ENABLED } = config;
  const pollIntervalMs = config.OUTBOX_PUBLISHER_POLL_INTERVAL_MS;
  const session = { name: NAME, role: DATABASE_ROLES ? "orderflow_relay" : null, settings: CLAIM_SETTINGS };
  const sql = connect(DATABASE_URL, { ...session, max: 5 }); // looks, and each chore but pruning
  const pruning = { name: "retention", role: DATABASE_ROLES ? "orderflow_retention" : null, max: 1 };
  const retentionSql = connect(DATABASE_URL, { ...pruning, settings: KEYED_SETTINGS });
  const topology = topologyOf(config);
  const exchange = toExchange(topology.exchange, CONSUMED_TYPES);
  const bindings = bindingsOf(topology);
  const metrics = startMetrics(NAME, config, log);
  const observer = observeRelay(metrics?.registry ?? null);
  const faults = FAULTS_ENABLED ? await watchFaults(sql, { log, stop }) : null;
  let wakeRelay = () => {}; // a change while it starts needs none: it looks at the gate when it begins
  const parts = faults ? [RELAY_PART, BEFORE_MARK] : [RELAY_PART];
  const holds = await watchHolds(sql, parts, { log, stop, onChange: () => wakeRelay() });
  const tracer = findTracer();
  const channels = createChannels({
    topology,
    around: (publisher) => withSendSpans(publisher, tracer, AMQP_URL),
    aroundEvents(publisher) {
      const seams = { faults, holds, bindings, cut: channels.closeConnection };
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
    openSession: () => openSession(DATABASE_URL, { ...session, settings: RELAY_SETTINGS }),
    publisher: () => channels.open()?.events ?? null,
    route: exchange,
    batchSize: config.OUTBOX_PUBLISHER_BATCH_SIZE,
    pollIntervalMs,
    enabled: config.OUTBOX_PUBLISHER_ENABLED,
    gate: holds.gate(RELAY_PART),
    onBatch: observer.onBatch,
    log,
  }, stop);
  wakeRelay = () => relay.wake(false);
  const retries = () => channels.open()?.retries.publisher ?? null;
  const retrying = keepRetrying(
    { sql, publisher: retries, pollIntervalMs, onSent: observer.onRetriesSent, log },
    stop,
  );
  const reconciling = keepReconciling({
    sql,
    bindings,
    afterMs: config.OUTBOX_RECONCILE_AFTER_MS,
    wire: () => channels.open()?.retries ?? null,
    intervalMs: config.OUTBOX_RECONCILE_INTERVAL_MS,
    onResent: observer.onResent,
    log,
  }, stop);
  const publisher = () => channels.open()?.replays ?? null;
  const replaying = keepReplaying({ sql, publisher, exchange, retentionDays: RETENTION_DAYS, log }, stop);
  const pruned = keepPruning({ sql: retentionSql, days: RETENTION_DAYS, bindings, log }, stop);
  const beating = keepBeating({ sql, process: NAME, counts: observer.counts, log }, stop);

  const broker = connectBroker({ url: AMQP_URL, name: NAME, log, setup: channels.setup });
  const onWakeUp = (wakeUp: WakeUp) => {
    observer.onWakeUp(wakeUp);
    if (wakeUp === "retries") retrying.wake();
    else relay.wake(wakeUp === "tick");
  };
  await retryWhileUnavailable(() => listenForWakeUps(sql, onWakeUp), { log, stop });
  await Promise.race([aborted(stop), relay.running]);
  await Promise.all([relay.running, retrying.running, reconciling, replaying, pruned, beating]);
  await metrics?.stop();
  await broker.close();
  await Promise.all([sql.end({ timeout: 2 }), retentionSql.end({ timeout: 2 })]);
}
