/**
 * The outbox relay: publishes what is in `outbox_events` to the exchange. Any number may run.
 *
 * @module
 */
import type { ChannelModel } from "amqplib";
import {
  type ConfirmChannel,
  connectBroker,
  declareTopology,
  readQueueDepths,
  renewsAtMost,
  tieToConnection,
} from "../shared/broker/connection.ts";
import { createPublisher, type Publisher, toExchange } from "../shared/broker/publish.ts";
import { withSendSpans } from "../shared/broker/observe.ts";
import { bindingsOf, CONSUMED_TYPES } from "../shared/topology.ts";
import { topologyOf } from "../shared/process/config.ts";
import { createCounts, keepBeating } from "../shared/process/heartbeat.ts";
import { METRICS_VARIABLES, startMetrics } from "../shared/process/metrics.ts";
import { connect, KEYED_SETTINGS } from "../shared/sql/connect.ts";
import { CLAIM_SETTINGS, listenForWakeUps, type WakeUp } from "../shared/sql/outbox.ts";
import { throughOutages } from "../shared/process/errors.ts";
import { runProcess, WORKER_VARIABLES } from "../shared/process/run.ts";
import { aborted } from "../shared/process/stop.ts";
import { findTracer } from "../shared/process/tracing.ts";
import { watchFaults } from "./faults/armed.ts";
import { withPublisherFaults } from "./faults/seams.ts";
import { createReconciler, keepReconciling, type ReconcileWire } from "./relay/reconcile.ts";
import { keepPruning } from "./relay/retention.ts";
import { keepReplaying } from "./relay/replay.ts";
import { keepRetrying } from "./relay/retries.ts";
import { startRelay } from "./relay/relay.ts";
import { createRelayMetrics } from "./relay/metrics.ts";

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

if (import.meta.main) {
  await runProcess("outbox-relay", VARIABLES, async ({ config, log, stop }) => {
    const metrics = startMetrics("outbox-relay", config, log);
    const figures = metrics && createRelayMetrics(metrics.registry);
    const topology = topologyOf(config);
    const role = config.DATABASE_ROLES ? "orderflow_relay" : null;
    const sql = connect(config.DATABASE_URL, {
      name: "outbox-relay",
      role,
      max: 7, // two lanes, a pass of reconciliation with its lock, delayed retries, a replay, the heartbeat
      settings: CLAIM_SETTINGS,
    });
    const retentionRole = config.DATABASE_ROLES ? "orderflow_retention" : null;
    const retentionSql = connect(config.DATABASE_URL, {
      name: "retention",
      role: retentionRole,
      max: 1,
      settings: KEYED_SETTINGS,
    });
    let publisher: Publisher | null = null;
    let spare: ReconcileWire | null = null;
    let replayPublisher: Publisher | null = null;
    let closeConnection = () => {};
    const renew = renewsAtMost(() => closeConnection());
    const faults = config.FAULTS_ENABLED ? await watchFaults(sql, { log, stop }) : null;

    const tracer = findTracer();
    const publisherOn = (channel: ConfirmChannel) =>
      withSendSpans(createPublisher(channel, renew), tracer, config.AMQP_URL);
    const counts = createCounts(["published", "refused", "retries"]);
    const beating = keepBeating({ sql, process: "outbox-relay", counts, log }, stop);
    const broker = await connectBroker({ url: config.AMQP_URL, name: "outbox-relay", log, setup });
    const relay = startRelay({
      sql,
      publisher: () => publisher,
      route: toExchange(topology.exchange, CONSUMED_TYPES),
      onStuck: () => closeConnection(),
      batchSize: config.OUTBOX_PUBLISHER_BATCH_SIZE,
      pollIntervalMs: config.OUTBOX_PUBLISHER_POLL_INTERVAL_MS,
      enabled: config.OUTBOX_PUBLISHER_ENABLED,
      onBatch: (batch, tookMs) => {
        counts.add({ published: batch.published, refused: batch.refused.length });
        figures?.onBatch(batch, tookMs);
      },
      log,
    });
    const retrying = keepRetrying({
      sql,
      publisher: () => spare?.publisher ?? null,
      pollIntervalMs: config.OUTBOX_PUBLISHER_POLL_INTERVAL_MS,
      onSent: (retries) => {
        counts.add({ retries });
        figures?.onRetriesSent(retries);
      },
      log,
    }, stop);
    const onWakeUp = (wakeUp: WakeUp) => {
      figures?.onWakeUp(wakeUp);
      if (wakeUp === "retries") retrying.wake();
      else relay.wake(wakeUp === "tick");
    };
    await throughOutages(() => listenForWakeUps(sql, onWakeUp), { log, stop });
    const reconciling = keepReconciling({
      sql,
      reconciler: createReconciler({
        sql,
        bindings: bindingsOf(topology),
        afterMs: config.OUTBOX_RECONCILE_AFTER_MS,
      }),
      wire: () => spare,
      intervalMs: config.OUTBOX_RECONCILE_INTERVAL_MS,
      onResent: figures?.onResent,
      log,
    }, stop);
    const replaying = keepReplaying({
      sql,
      publisher: () => publisher && replayPublisher, // without the first, the broker takes nothing
      retentionDays: config.RETENTION_DAYS,
      log,
    }, stop);
    const pruning = keepPruning({
      sql: retentionSql,
      days: config.RETENTION_DAYS,
      bindings: bindingsOf(topology),
      log,
    }, stop);
    await Promise.race([aborted(stop), relay.running]);
    await Promise.all([relay.stop(), reconciling, retrying.running, replaying, pruning, beating]);
    await metrics?.stop();
    await broker.close();
    await Promise.all([sql.end({ timeout: 2 }), retentionSql.end({ timeout: 2 })]);

    async function setup(model: ChannelModel): Promise<void> {
      const channel = await model.createConfirmChannel();
      await declareTopology(channel, topology);
      const faulty = withPublisherFaults(publisherOn(channel), {
        faults,
        bindings: bindingsOf(topology),
        cut: () => closeConnection(),
      });
      const mine = figures?.timed(faulty) ?? faulty;
      const use = (next: Publisher | null) => {
        publisher = next;
        if (next) relay.wake(false);
      };
      tieToConnection(channel, model, log, () => {
        if (publisher === mine) publisher = null;
      });
      // A channel of its own: what comes back on it is told apart from what the relay has in flight.
      const second = await model.createConfirmChannel();
      tieToConnection(second, model, log, () => spare = null);
      spare = {
        publisher: publisherOn(second),
        readQueues: async () => {
          try {
            return await readQueueDepths(second, topology);
          } catch (error) {
            closeConnection(); // missing or silent: either way it is declared and asked anew
            throw error;
          }
        },
      };
      const third = await model.createConfirmChannel();
      tieToConnection(third, model, log, () => replayPublisher = null);
      replayPublisher = publisherOn(third);
      // A broker that is short of memory or disk stops reading from publishers. Events are safest where they are.
      model.on("blocked", () => use(null));
      model.on("unblocked", () => use(mine));
      closeConnection = () => void model.close().catch(() => {});
      use(mine);
      log.info("Publishing", { exchange: topology.exchange });
    }
  });
}
