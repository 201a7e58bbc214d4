/**
 * Reconciliation's loop: a pass every so often, by one relay at a time.
 *
 * @module
 */
import type { Publisher } from "../../shared/broker/publish.ts";
import type { QueueDepth } from "../../shared/broker/queue_depths.ts";
import { messageOf } from "../../shared/errors.ts";
import type { Logger } from "../../shared/log.ts";
import { type Sql, transaction } from "../../shared/sql/connect.ts";
import { pause } from "../../shared/stop.ts";
import type { Reconciler } from "./reconcile.ts";

/** A connection to the broker, as reconciliation needs it. */
export interface ReconcileWire {
  /** Sends to single queues. */
  readonly publisher: Publisher;
  /** Asks the broker how the queues stand. */
  readonly readQueues: () => Promise<readonly QueueDepth[]>;
}

/** What the loop is made of. */
export interface ReconcilingOptions {
  /** A pool of the database, for the lock. */
  readonly sql: Sql;
  /** What does a pass. */
  readonly reconciler: Reconciler;
  /** The connection that is up; null while there is none. */
  readonly wire: () => ReconcileWire | null;
  /** The pause between two passes, in milliseconds. */
  readonly intervalMs: number;
  /** Told how many events a pass has sent to one consumer again. */
  readonly onResent?: ((events: number) => void) | undefined;
  /** Told of what was lost and sent again, and of a pass that failed. */
  readonly log: Logger;
}

/** Any number, the same for every relay of a database. */
const LOCK_KEY = 7_203_114_002;

/**
 * Reconciles until `stop` is aborted. A pass that fails (the database is away, the broker went) is the next one's work:
 * it is the safety net, and must never take its process down.
 */
export async function keepReconciling(options: ReconcilingOptions, stop: AbortSignal): Promise<void> {
  const { log, intervalMs } = options;
  for (let failing = false;;) {
    await pause(intervalMs, stop);
    if (stop.aborted) return;
    try {
      await onePass(options);
      failing = false;
    } catch (error) {
      if (!failing) log.warning("Reconciliation failed; trying again", { error: messageOf(error) });
      failing = true;
    }
  }
}

/** Does a pass, unless another relay is at one: both would find the same events lost, and the same queues empty. */
async function onePass({ sql, reconciler, wire, onResent, log }: ReconcilingOptions): Promise<void> {
  const wired = wire();
  if (!wired) return;
  await transaction(sql, async (tx) => {
    const [lock] = await tx<{ ours: boolean }[]>`select pg_try_advisory_xact_lock(${LOCK_KEY}) as ours`;
    if (!lock?.ours) return;
    const { resent } = await reconciler.pass(wired.publisher, await wired.readQueues(), new Date());
    for (const [consumer, events] of Object.entries(resent)) {
      log.warning("Sent again what never arrived", { consumer, events });
      onResent?.(events);
    }
  });
}
