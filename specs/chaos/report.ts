/**
 * The report of a chaos run, for people.
 *
 * @module
 */
import type { ChaosReport } from "./run_chaos.ts";
import { FAULT_KINDS, type FaultKind } from "./schedule.ts";

/** The report as lines of text. */
export function chaosReport(report: ChaosReport): string[] {
  const { plan, settings, services, faults, load, ledger, settlement, crashes, audit } = report;
  const { lost, duplicated, stuck, wrong, accepted, orders } = ledger;
  const kinds = Object.entries(FAULT_KINDS) as [FaultKind, string][];
  const injected = kinds.reduce((sum, [kind]) => sum + faults[kind], 0);
  const redriven = Object.values(settlement.redriven).reduce((sum, count) => sum + count, 0);
  return [
    `Chaos with seed ${plan.seed}: ${plan.orders} orders, ${plan.faults} faults, ${
      report.seconds.toFixed(1)
    } s`,
    row("settings", list(settings)),
    row("a database restart is:", services.restart),
    row("a broker wipe is:", services.wipe),
    "",
    row("faults injected", injected),
    ...kinds.map(([kind, what]) => row(`  ${kind}`, `${String(faults[kind]).padEnd(6)}${what}`)),
    row("events sent again", report.resent),
    row(
      "malformed messages",
      `${report.malformed}, ${settlement.malformedSentAgain} of them again after a wipe`,
    ),
    "",
    row("load", `${load.seconds.toFixed(1)} s, ${load.ordersPerSecond.toFixed(0)} orders/s`),
    row("repeated requests", list(load.repeats)),
    row("unanswered requests", load.unanswered),
    row("processes that ended by themselves", list(crashes)),
    row("at rest after", `${settlement.seconds.toFixed(1)} s`),
    row("dead letters nobody sent, redriven", redriven ? list(settlement.redriven) : 0),
    "",
    row("orders accepted", accepted),
    row("orders in the database", list(orders)),
    row("lost", lost === 0 ? 0 : `${lost}, of which not settled: ${list({ ...settlement.unsettled })}`),
    row("duplicated", duplicated),
    row("stuck", stuck),
    row("wrong outcome", wrong),
    row("audit", audit.ok ? "every promise holds" : "VIOLATIONS"),
    ...audit.checks.flatMap(({ check, count, violations }) => [
      row(`  ${check}`, count),
      ...violations.map(({ orderId, eventId, detail }) => `    ${orderId} ${eventId ?? ""} ${detail}`),
    ]),
    row("waiting for an operator", audit.waitingForOperator.count),
    "",
    report.passed
      ? "Passed."
      : `FAILED: repeat with --seed ${plan.seed} --orders ${plan.orders} --faults ${plan.faults}`,
  ];
}

function row(what: string, value: number | string): string {
  return `${what.padEnd(36)}${value}`;
}

function list(counts: Readonly<Record<string, number | string>>): string {
  return Object.entries(counts).map(([name, count]) => `${name} ${count}`).join(", ") || "none";
}
