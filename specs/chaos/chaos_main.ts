/**
 * `deno task chaos`: the whole system as real processes under load, while a seeded schedule of faults strikes it; ends
 * with a ledger and the audit. The exit code is 0 where nothing was lost, duplicated or stuck and every promise holds,
 * 1 where the run could not be made, 2 where a promise is broken, 64 for a wrong usage.
 *
 * @module
 */
import { runAudit } from "../../shared/ops/audit.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { stopOnSignals } from "../../shared/process/stop.ts";
import {
  EXIT_DONE,
  EXIT_FOUND,
  flag,
  type FlagValues,
  onOff,
  readFlags,
  runCommand,
  startProgress,
  text,
  usageOf,
  wholeNumber,
} from "../../workers/tools/command.ts";
import { createStrikes, type FaultRecord } from "./faults.ts";
import { balance, countBy, keepOrdering, readBooks, settle } from "./ledger.ts";
import { countByKind, describeFault, FAULT_KINDS, scheduleFaults, type SchedulePlan } from "./schedule.ts";
import { CHAOS_SETTINGS, startChaosSystem } from "./system.ts";

const FLAGS = {
  seed: flag(wholeNumber(0, 2 ** 32 - 1).default(1), "determines the schedule of faults"),
  orders: flag(wholeNumber(1, 1_000_000).default(2000), "orders to create, up to 1,000,000"),
  faults: flag(wholeNumber(0, 10_000).default(40), "faults to inject, up to 10,000"),
  connections: flag(wholeNumber(1, 1000).default(16), "connections that the orders come over"),
  settle: flag(wholeNumber(1, 3600).default(120), "seconds to come to rest after the last order"),
  "keep-logs": flag(text.optional(), "keep what the processes write, in a file for each", "<folder>"),
  schedule: flag(onOff, "print the schedule and do nothing else"),
  json: flag(onOff, "print the report, or the schedule, as JSON"),
};
const usage = usageOf(
  "chaos",
  "puts load on a system of its own while faults strike it, and checks the ledger",
  { "How much:": FLAGS },
  `Runs on embedded services; set DATABASE_URL and AMQP_URL to run on real ones. Progress goes to standard error. Ends with
0 where every promise holds, 1 when the run could not be made, 2 where a promise is broken, 64 for a wrong usage.`,
  "--seed=3 --orders=10000 --faults=120",
);

if (import.meta.main) {
  const read = (args: readonly string[]) => readFlags(args, FLAGS)?.flags ?? null;
  Deno.exit(await runCommand({ task: "chaos", usage, read, run }, Deno.args));
}

async function run(flags: FlagValues<typeof FLAGS>): Promise<number> {
  const { seed, orders, faults, schedule, json } = flags;
  const plan = { seed, orders, faults };
  if (schedule) {
    const planned = scheduleFaults(plan);
    console.log(json ? JSON.stringify(planned) : planned.map(describeFault).join("\n"));
    return EXIT_DONE;
  }
  const report = await runFromTerminal(plan, flags);
  console.log(json ? JSON.stringify(report) : reportLines(report).join("\n"));
  return report.passed ? EXIT_DONE : EXIT_FOUND;
}

async function runFromTerminal(plan: SchedulePlan, flags: FlagValues<typeof FLAGS>): Promise<ChaosReport> {
  const { connections, settle, "keep-logs": logs } = flags;
  const startedAt = performance.now();
  using stop = stopOnSignals(null);
  using progress = startProgress("orders", plan.orders);
  const say = (line: string) => {
    progress.say(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(7)} s  ${line}`);
  };
  try {
    if (logs) await Deno.mkdir(logs, { recursive: true });
    const onAccepted = progress.at;
    return await runChaos(plan, {
      connections,
      settleMs: settle * 1000,
      logs,
      stop: stop.signal,
      say,
      onAccepted,
    });
  } catch (error) {
    const why = stop.signal.aborted ? "it was stopped" : messageOf(error);
    throw new Error(`Cannot run chaos: ${why}`, { cause: error });
  }
}

/** `passed`: nothing was lost, duplicated, stuck or wrong, every request was answered, and the audit found nothing. */
export type ChaosReport = Awaited<ReturnType<typeof runChaos>>;

/**
 * Runs chaos on a system of its own, on the services of `DATABASE_URL` and `AMQP_URL` or on embedded ones: makes it, puts
 * load on it, lets the faults strike, has it settle within `settleMs` milliseconds of the last order, and checks the ledger.
 * `say` is told of each fault and each wait, `onAccepted` after each accepted order how many there are. `logs` is a folder
 * for what the processes write.
 *
 * Errors: when the system does not start, a fault cannot be injected, or the run is stopped.
 */
export async function runChaos(
  plan: SchedulePlan,
  { connections, settleMs, logs, stop, say, onAccepted }: {
    readonly connections: number;
    readonly settleMs: number;
    readonly logs?: string | undefined;
    readonly stop: AbortSignal;
    readonly say: (line: string) => void;
    readonly onAccepted?: (orders: number) => void;
  },
) {
  const faults = scheduleFaults(plan);
  await using system = await startChaosSystem(logs);
  const { stack, database, broker } = system;
  const startedAt = performance.now();
  const record: FaultRecord = { wipes: 0, malformed: [], resent: 0 };
  const strikes = createStrikes(faults, system, record, say);
  const { accepted, ...load } = await keepOrdering(stack.url, {
    orders: plan.orders,
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
  const toBeZero = [lost, duplicated, stuck, wrong, load.unanswered, faults.length - strikes.struck()];
  return {
    passed: audit.ok && toBeZero.every((n) => n === 0),
    plan,
    /** What the processes were started with. */
    settings: CHAOS_SETTINGS,
    services: { restart: database.restartIs, wipe: broker.wipeIs },
    /** Those that struck, by kind. */
    faults: countByKind(faults.slice(0, strikes.struck())),
    load: { ...load, ordersPerSecond: accepted.size / load.seconds },
    ledger,
    /** Events that the faults sent again. */
    resent: record.resent,
    /** Malformed messages that the faults sent. */
    malformed: record.malformed.length,
    settlement,
    /** Processes that ended by themselves, and how often; they were started again. */
    crashes: countBy(stack.crashes, (name) => name),
    audit: {
      ok: audit.ok,
      checks: audit.checks.filter(({ count }) => count > 0),
      waitingForOperator: audit.waitingForOperator,
    },
    /** From the first order to the end of the audit. */
    seconds: (performance.now() - startedAt) / 1000,
  };
}

/** The report for people. */
export function reportLines(report: ChaosReport): string[] {
  const { plan, settings, services, faults, load, ledger, settlement, crashes, audit } = report;
  const { lost, duplicated, stuck, wrong, accepted, orders } = ledger;
  const { unsettled, malformedSentAgain, redriven, seconds } = settlement;
  const row = (what: string, value: unknown) => `${what.padEnd(36)}${value}`;
  const list = (counts: object) =>
    Object.entries(counts).map((entry) => entry.join(" ")).join(", ") || "none";
  return [
    `Chaos with seed ${plan.seed}: ${plan.orders} orders, ${plan.faults} faults, ${
      report.seconds.toFixed(1)
    } s`,
    row("settings", list(settings)),
    row("a database restart is:", services.restart),
    row("a broker wipe is:", services.wipe),
    "",
    row("faults injected", Object.values(faults).reduce((sum, count) => sum + count, 0)),
    ...Object.entries(FAULT_KINDS).map(([kind, { what }]) => {
      return row(`  ${kind}`, `${String(faults[kind]).padEnd(6)}${what}`);
    }),
    row("events sent again", report.resent),
    row("malformed messages", `${report.malformed}, ${malformedSentAgain} of them again after a wipe`),
    "",
    row("load", `${load.seconds.toFixed(1)} s, ${load.ordersPerSecond.toFixed(0)} orders/s`),
    row("repeated requests", list(load.repeats)),
    row("unanswered requests", load.unanswered),
    row("processes that ended by themselves", list(crashes)),
    row("at rest after", `${seconds.toFixed(1)} s`),
    row("dead letters nobody sent, redriven", list(redriven)),
    "",
    row("orders accepted", accepted),
    row("orders in the database", list(orders)),
    row("lost", lost === 0 ? 0 : `${lost}, of which not settled: ${list(unsettled)}`),
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
