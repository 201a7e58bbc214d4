/**
 * The audit: checks the promises of the system over the whole database, and names what breaks them. For ops alone.
 *
 * @module
 */
import type { Topology } from "../broker/topology.ts";
import { EVENT_CHECKS } from "./audit_events.ts";
import { auditOrders, ORDER_CHECKS, WAITING } from "./audit_orders.ts";
import type { AuditPromise, Found, Violation } from "./audit_scope.ts";
import { type Queryable, type Sql, transaction } from "./connect.ts";

/** A check, and what it has found. */
export interface AuditCheck extends Found {
  /** What the check looks for, in words that say what is wrong. */
  readonly check: string;
  /** The promise that is broken where it finds something, by its number in `specs/project.md`. */
  readonly promise: AuditPromise;
}

/** What the audit has found in one snapshot of the database. */
export interface Audit {
  /** Whether no check has found anything. */
  readonly ok: boolean;
  /** The time of the snapshot, by the database's clock. */
  readonly checkedAt: Date;
  /** How old a cause had to be before its effect was missed, in seconds. */
  readonly graceSeconds: number;
  /** How many orders there are. */
  readonly orders: number;
  /** How many events there are. */
  readonly events: number;
  /** Every check, whether or not it has found anything. */
  readonly checks: readonly AuditCheck[];
  /** Orders that an open dead letter holds up. No violation: nothing is lost, somebody has to decide. */
  readonly waitingForOperator: { readonly count: number; readonly orders: readonly Violation[] };
}

/** How to audit. */
export interface AuditOptions {
  /** How long what follows from an event may take, in seconds; 0 once everything has settled. */
  readonly graceSeconds: number;
  /** How long published events are kept, in days; for good unless told. Of an older order, none is missed. */
  readonly retentionDays?: number;
  /** The most violations to name per check, 20 unless told; all are counted. */
  readonly limit?: number;
  /** Told how many checks have been made so far, each time that some more have. */
  readonly onProgress?: (checks: number) => void;
}

/** The grace where nobody says another one, in seconds: retries and reconciliation are through by then. */
export const AUDIT_GRACE_SECONDS = 120;
/** A hundred years: for as long as there are events. */
const FOR_GOOD_DAYS = 36_500;
/** How many violations of a check are named. */
const AUDIT_ROWS = 20;
/** How long one statement of the audit may take, in milliseconds. */
const AUDIT_TIMEOUT_MS = 120_000;

/**
 * The settings of the audit's transaction. Whatever the statistics say, whole tables are joined by hashes, which are
 * worth some memory; compiling the statements would take longer than it saves.
 */
const AUDIT_SETTINGS = [
  ["statement_timeout", String(AUDIT_TIMEOUT_MS)],
  ["work_mem", "64MB"],
  ["enable_nestloop", "off"],
  ["jit", "off"],
] as const;

const CHECKS = [...ORDER_CHECKS, ...EVENT_CHECKS];

/** All checks with the promises they guard, in the order in which they are reported. */
export const AUDIT_CHECKS: readonly Pick<AuditCheck, "check" | "promise">[] = CHECKS.map(
  ({ check, promise }) => ({ check, promise }),
);

/**
 * Audits the database on one snapshot, so that no check sees half of a change that another one sees whole.
 *
 * An effect without its cause counts at once: causes commit first, and a row commits with its event. A cause without its
 * effect counts once it is older than the grace: work under way is no violation. Consumers are known by their names in
 * `topology`, which must be those that the workers run under.
 *
 * Reads each table whole, a few times, in a read-only transaction.
 */
export async function runAudit(sql: Sql, topology: Topology, options: AuditOptions): Promise<Audit> {
  const { graceSeconds, retentionDays = FOR_GOOD_DAYS, limit = AUDIT_ROWS, onProgress } = options;
  const scope = { topology, graceSeconds, retentionDays, limit };
  return await transaction(sql, async (tx) => {
    await tx`select ${
      AUDIT_SETTINGS.map(([name, value], i) => {
        return tx`${i === 0 ? tx`` : tx`,`} set_config(${name}, ${value}, true)`;
      })
    }`;
    const totals = await readTotals(tx);
    const foundBy = await auditOrders(tx, scope);
    const checks: AuditCheck[] = ORDER_CHECKS.map(({ check, promise }) => ({
      check,
      promise,
      ...foundBy(check),
    }));
    for (const { check, promise, find } of EVENT_CHECKS) {
      onProgress?.(checks.length);
      checks.push({ check, promise, ...await find(tx, scope) });
    }
    const waiting = foundBy(WAITING);
    return {
      ok: checks.every(({ count }) => count === 0),
      graceSeconds,
      ...totals,
      checks,
      waitingForOperator: { count: waiting.count, orders: waiting.violations },
    };
  }, "isolation level repeatable read read only");
}

async function readTotals(sql: Queryable): Promise<Pick<Audit, "checkedAt" | "orders" | "events">> {
  const [totals] = await sql<Pick<Audit, "checkedAt" | "orders" | "events">[]>`
    select now() as "checkedAt", (select count(*)::int from orders) as orders,
           (select count(*)::int from outbox_events) as events`;
  if (!totals) throw new Error("Cannot count orders and events: the database answered with no row");
  return totals;
}
