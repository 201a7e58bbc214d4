/**
 * A chaos run, from its first order to its report.
 *
 * @module
 */
import { type Audit, runAudit } from "../../shared/ops/audit.ts";
import { balance, type ChaosLedger, readBooks } from "./chaos_ledger.ts";
import type { FaultRecord } from "./inject.ts";
import { keepOrdering, type LoadResult } from "./load.ts";
import { countByKind, type FaultKind, scheduleFaults, type SchedulePlan } from "./schedule.ts";
import { settle, type Settlement } from "./settle.ts";
import { createStrikes } from "./strike.ts";
import { CHAOS_SETTINGS, startChaosSystem } from "./system.ts";

/** What to run. */
export interface ChaosOptions extends SchedulePlan {
  /** How many connections the orders come over. */
  readonly connections: number;
  /** How long the system may take to come to rest after the last order, in milliseconds. */
  readonly settleMs: number;
  /** A folder for what the processes write. */
  readonly logs?: string | undefined;
  /** Aborted when the run is to end before its time. */
  readonly stop: AbortSignal;
  /** Told of each fault and of each wait. */
  readonly say: (line: string) => void;
  /** Told after each accepted order how many there are. */
  readonly onAccepted?: (orders: number) => void;
}

/** What came of a run. */
export interface ChaosReport {
  /** Whether nothing was lost, duplicated, stuck or wrong, every request was answered, and the audit found nothing. */
  readonly passed: boolean;
  /** What was run. */
  readonly plan: SchedulePlan;
  /** What the processes were started with. */
  readonly settings: Readonly<Record<string, string>>;
  /** What a database restart and a broker wipe were on these services, in words. */
  readonly services: { readonly restart: string; readonly wipe: string };
  /** Faults injected, by kind. */
  readonly faults: Readonly<Record<FaultKind, number>>;
  /** What the client met. */
  readonly load: Omit<LoadResult, "accepted"> & { readonly ordersPerSecond: number };
  /** The ledger. */
  readonly ledger: ChaosLedger;
  /** Events that the faults sent again. */
  readonly resent: number;
  /** Malformed messages that the faults sent. */
  readonly malformed: number;
  /** How the system came to rest. */
  readonly settlement: Settlement;
  /** Processes that ended by themselves, and how often; they were started again. */
  readonly crashes: Readonly<Record<string, number>>;
  /** What the audit found. */
  readonly audit: Pick<Audit, "ok" | "checks" | "waitingForOperator">;
  /** How long the run took from its first order to the end of the audit, in seconds. */
  readonly seconds: number;
}

/**
 * Runs chaos on a system of its own, on the services of `DATABASE_URL` and `AMQP_URL` or on embedded ones.
 *
 * Errors: when the system does not start, a fault cannot be injected, or the run is stopped.
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { seed, orders, faults: count, connections, settleMs, logs, stop, say, onAccepted } = options;
  const plan = { seed, orders, faults: count };
  const faults = scheduleFaults(plan);
  await using system = await startChaosSystem(logs);
  const { stack, database, broker } = system;
  const startedAt = performance.now();
  const record: FaultRecord = { wipes: 0, malformed: [], resent: 0 };
  const strikes = createStrikes(faults, system, record, say);
  const { accepted, ...load } = await keepOrdering(stack.url, {
    orders,
    connections,
    gate: strikes.gate,
    stop,
    onAccepted(count) {
      onAccepted?.(count);
      strikes.onAccepted(count);
    },
  });
  await strikes.over();
  stop.throwIfAborted();
  const settlement = await settle(system, record, { withinMs: settleMs, stop, say });
  stop.throwIfAborted();
  const ledger = balance({ accepted, ...load }, await readBooks(database.db.sql), settlement.unsettled);
  const audit = await runAudit(database.db.as("orderflow_ops"), broker.topology, { graceSeconds: 0 });
  const { lost, duplicated, stuck, wrong } = ledger;
  return {
    passed:
      [lost, duplicated, stuck, wrong, load.unanswered, faults.length - strikes.struck()].every((n) =>
        n === 0
      ) &&
      audit.ok,
    plan,
    settings: CHAOS_SETTINGS,
    services: { restart: database.restartIs, wipe: broker.wipeIs },
    faults: countByKind(faults.slice(0, strikes.struck())),
    load: { ...load, ordersPerSecond: accepted.size / load.seconds },
    ledger,
    resent: record.resent,
    malformed: record.malformed.length,
    settlement,
    crashes: countEach(stack.crashes),
    audit: {
      ok: audit.ok,
      checks: audit.checks.filter(({ count }) => count > 0),
      waitingForOperator: audit.waitingForOperator,
    },
    seconds: (performance.now() - startedAt) / 1000,
  };
}

function countEach(names: readonly string[]): Record<string, number> {
  const groups = Map.groupBy(names, (name) => name);
  return Object.fromEntries([...groups].map(([name, { length }]) => [name, length]));
}
