// `deno task chaos`: the whole system as real processes under load, while a seeded schedule of faults strikes it; ends
// with a ledger and the audit. The exit code is 0 where nothing was lost, duplicated or stuck and every promise holds,
// 1 where the run could not be made, 2 where a promise is broken, 64 for a wrong usage.

import { pause, stopOnSignals } from "../../shared/process/stop.ts";
import { rowset } from "../../shared/sql/connect.ts";
import { createHash } from "node:crypto";
import {
  cannot,
  EXIT_DONE,
  EXIT_FOUND,
  flag,
  type FlagValues,
  onOff,
  startProgress,
  task,
  text,
  wholeNumber,
} from "../../workers/tools/command.ts";
import { eventually } from "../support/eventually.ts";
import { balance, readBooks, readUnsettled, violations } from "../support/ledger.ts";
import { keepOrdering } from "../support/place_orders.ts";
import { FAULT_KINDS, type FaultRecord, sendToQueue } from "./faults.ts";
import { countByKind, createStrikes, describeFault, type Fault, scheduleFaults } from "./schedule.ts";
import { CHAOS_SETTINGS, type ChaosSystem, startChaosSystem } from "./system.ts";

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

type ChaosFlags = FlagValues<typeof FLAGS>;
type ChaosReport = Awaited<ReturnType<typeof runChaos>>;

async function run(flags: ChaosFlags): Promise<number> {
  const faults = scheduleFaults(flags);
  if (flags.schedule) {
    console.log(flags.json ? JSON.stringify(faults) : faults.map(describeFault).join("\n"));
    return EXIT_DONE;
  }
  const report = await runChaos(flags, faults).catch(cannot("run chaos"));
  console.log(flags.json ? JSON.stringify(report) : reportLines(report).join("\n"));
  return report.passed ? EXIT_DONE : EXIT_FOUND;
}

/**
 * Runs chaos on a system of its own, on the services of `DATABASE_URL` and `AMQP_URL` or on embedded ones: makes it, puts
 * load on it, lets the faults strike, has it settle, and checks the ledger. `passed`: nothing was lost, duplicated, stuck
 * or wrong, every request was answered, all has come to rest, and the audit found nothing.
 *
 * Errors: when the system does not start, a fault cannot be injected, or the run is stopped.
 */
async function runChaos(flags: ChaosFlags, faults: readonly Fault[]) {
  const { seed, orders, connections, "keep-logs": logs } = flags;
  const beganAt = performance.now();
  using stop = stopOnSignals(null);
  using progress = startProgress("orders", orders);
  const say = (line: string) =>
    progress.say(`${((performance.now() - beganAt) / 1000).toFixed(1).padStart(7)} s  ${line}`);
  const goOn = () => {
    if (stop.signal.aborted) throw new Error("it was stopped");
  };
  if (logs) await Deno.mkdir(logs, { recursive: true });
  await using system = await startChaosSystem(logs);
  const { stack, database, broker } = system;
  const startedAt = performance.now();
  const record: FaultRecord = { wipes: 0, malformed: [], resent: 0 };
  const strikes = createStrikes(faults, system, record, say);
  const { accepted, answeredTwice, ...load } = await keepOrdering(stack.url, {
    orders,
    connections,
    gate: strikes.gate,
    stop: stop.signal,
    onAccepted(count) {
      progress.at(count);
      strikes.onAccepted(count);
    },
  });
  await strikes.over();
  goOn();
  const unsettled = await settle(system, record, { withinMs: flags.settle * 1000, stop: stop.signal, say });
  goOn();
  const books = await readBooks(database.db.sql);
  const ledger = balance({ accepted, answeredTwice }, books);
  const checks = await violations(stack);
  const missed = faults.length - strikes.struck();
  const toBeZero = [ledger, unsettled, { unanswered: load.unanswered, missed, violated: checks.length }];
  return {
    passed: toBeZero.flatMap((counts) => Object.values(counts)).every((n) => n === 0),
    plan: { seed, orders, faults: flags.faults },
    settings: CHAOS_SETTINGS,
    services: {
      "database restart": database.restartIs,
      "broker restart": broker.restartIs,
      "broker wipe": broker.wipeIs,
    },
    faults: countByKind(faults.slice(0, strikes.struck())),
    load: { ...load, ordersPerSecond: accepted.size / load.seconds },
    accepted: accepted.size,
    orders: countOf([...books.orders.values()].toSorted()),
    ledger,
    unsettled,
    resent: record.resent,
    malformed: record.malformed.length,
    /** Processes that ended by themselves, and how often; they were started again. */
    crashes: countOf(stack.crashes),
    audit: { ok: checks.length === 0, checks },
    /** From the first order to the end of the audit. */
    seconds: (performance.now() - startedAt) / 1000,
  };
}

const countOf = (names: Iterable<string>): Record<string, number> =>
  Object.fromEntries(
    Map.groupBy(names, (name) => name).entries().map(([name, { length }]) => [name, length]),
  );

const POLL_MS = 250;
/** Five seconds. */
const SAY_EVERY_POLLS = 20;

/**
 * Waits until nothing is left to be done of a system whose faults are over; answers with what still is when the time is up:
 * events that are unpublished or unprocessed, malformed messages that are not exactly one dead letter, and dead letters
 * that nobody asked for.
 */
async function settle(
  system: ChaosSystem,
  { malformed, wipes }: FaultRecord,
  { withinMs, stop, say }: { withinMs: number; stop: AbortSignal; say: (line: string) => void },
) {
  const wiped = malformed.filter(({ wipesBefore }) => wipesBefore < wipes); // nobody keeps those
  for (const [queue, messages] of Map.groupBy(wiped, ({ queue }) => queue)) {
    await sendToQueue(system.broker.url, queue, messages);
  }
  const { db } = system.database;
  const sent = rowset(malformed.map(({ queue, body }) => {
    return { consumer: queue, fingerprint: createHash("sha256").update(body).digest("hex") };
  }));
  const until = performance.now() + withinMs;
  for (let polls = 0;; polls++) {
    const left = await eventually("the database to answer", async () => {
      const [letters] = await db.sql<Record<"malformed" | "unasked", number>[]>`
        with sent as (
          select distinct consumer, fingerprint
          from jsonb_to_recordset(${sent}::text::jsonb) as m (consumer text, fingerprint text)
        ), kept as ( -- of a body that was cut, the end tells the fingerprint
          select consumer, count(*)::int as count, case when cut_from is null then encode(fingerprint, 'hex')
            else substring(encode(body, 'escape') from 'sha256 ([0-9a-f]{64})]$') end as fingerprint
          from dead_letters group by 1, 3
        )
        select count(*) filter (where sent and count is distinct from 1)::int as malformed,
               coalesce(sum(count) filter (where not sent), 0)::int as unasked
        from (
          select count, sent is not null as sent from sent full join kept using (consumer, fingerprint)
        ) as letters`;
      return { ...await readUnsettled({ db, broker: system.broker }), malformed: 0, unasked: 0, ...letters };
    });
    const isAtRest = Object.values(left).every((count) => count === 0);
    if (isAtRest || performance.now() >= until || stop.aborted) return left;
    if (polls % SAY_EVERY_POLLS === 0) say(`waiting for rest: ${listOf(left)}`);
    await pause(POLL_MS, stop);
  }
}

const listOf = (counts: object) =>
  Object.entries(counts).map((entry) => entry.join(" ")).join(", ") || "none";

function reportLines(report: ChaosReport): string[] {
  const { plan, services, faults, load, ledger, unsettled, audit } = report;
  const row = (what: string, value: unknown) => `${what.padEnd(36)}${value}`;
  const seconds = report.seconds.toFixed(1);
  return [
    `Chaos with seed ${plan.seed}: ${plan.orders} orders, ${plan.faults} faults, ${seconds} s`,
    row("settings", listOf(report.settings)),
    ...Object.entries(services).map(([what, is]) => row(`a ${what} is:`, is)),
    "",
    ...Object.entries(FAULT_KINDS).map(([kind, { what }]) =>
      row(kind, `${String(faults[kind]).padEnd(6)}${what}`)
    ),
    row("events sent again", report.resent),
    row("malformed messages", report.malformed),
    "",
    row("load", `${load.seconds.toFixed(1)} s, ${load.ordersPerSecond.toFixed(0)} orders/s`),
    row("repeated requests", listOf(load.repeats)),
    row("unanswered requests", load.unanswered),
    row("processes that ended by themselves", listOf(report.crashes)),
    "",
    row("orders accepted", report.accepted),
    row("orders in the database", listOf(report.orders)),
    ...Object.entries(ledger).map(([what, count]) => row(what, count)),
    row("not settled", listOf(unsettled)),
    row("audit", audit.ok ? "every promise holds" : "VIOLATIONS"),
    ...audit.checks.flatMap(({ check, count, violations }) => [
      row(`  ${check}`, count),
      ...violations.map(({ orderId, eventId, detail }) => `    ${orderId} ${eventId ?? ""} ${detail}`),
    ]),
    "",
    report.passed
      ? "Passed."
      : `FAILED: repeat with --seed ${plan.seed} --orders ${plan.orders} --faults ${plan.faults}`,
  ];
}

if (import.meta.main) {
  await task({
    name: "chaos",
    about: "puts load on a system of its own while faults strike it, and checks the ledger",
    flags: FLAGS,
    groups: { "How much:": FLAGS },
    ends:
      `Runs on embedded services; on those of DATABASE_URL and AMQP_URL where these are set; on a RabbitMQ and a PostgreSQL of
its own where SERVICES_ROOT names the folder of their system (.ci/debian). Progress goes to standard error. Ends with 0
where every promise holds, 1 when the run could not be made, 2 where a promise is broken, 64 for a wrong usage.`,
    example: "--seed=3 --orders=10000 --faults=120",
    run,
  });
}
