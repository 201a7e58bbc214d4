/**
 * `deno task chaos`: the whole system as real processes under load, while a seeded schedule of faults strikes it; ends
 * with a ledger and the audit. The exit code is 0 where nothing was lost, duplicated or stuck and every promise holds,
 * 1 where the run could not be made, 2 where a promise is broken, 64 for a wrong usage.
 *
 * @module
 */
import {
  EXIT_DONE,
  EXIT_FOUND,
  type FlagValues,
  onOff,
  readFlags,
  runCommand,
  startProgress,
  text,
  wholeNumber,
} from "../../workers/tools/command.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { stopOnSignals } from "../../shared/process/stop.ts";
import { chaosReport } from "./report.ts";
import { type ChaosReport, runChaos } from "./run_chaos.ts";
import { describeFault, scheduleFaults } from "./schedule.ts";

const USAGE = `Usage: deno task chaos [flags]

  --seed N          determines the schedule of faults (default 1)
  --orders N        orders to create, up to 1,000,000 (default 2000)
  --faults N        faults to inject, up to 10,000 (default 40)
  --connections N   connections that the orders come over (default 16)
  --settle N        seconds to come to rest after the last order (default 120)
  --keep-logs DIR   keep what the processes write, in a file for each
  --schedule        print the schedule and do nothing else
  --json            print the report, or the schedule, as JSON
  --help            print this

Runs on embedded services; set DATABASE_URL and AMQP_URL to run on real ones. Progress goes to standard error. Ends with
0 where every promise holds, 1 when the run could not be made, 2 where a promise is broken, 64 for a wrong usage.

Example: deno task chaos --seed 3 --orders 10000 --faults 120`;

const FLAGS = {
  seed: wholeNumber(0, 2 ** 32 - 1).default(1),
  orders: wholeNumber(1, 1_000_000).default(2000),
  faults: wholeNumber(0, 10_000).default(40),
  connections: wholeNumber(1, 1000).default(16),
  settle: wholeNumber(1, 3600).default(120),
  "keep-logs": text.optional(),
  schedule: onOff,
  json: onOff,
};

type ChaosFlags = FlagValues<typeof FLAGS>;

if (import.meta.main) {
  const read = (args: readonly string[]) => readFlags(args, FLAGS)?.flags ?? null;
  Deno.exit(await runCommand({ task: "chaos", usage: USAGE, read, run }, Deno.args));
}

async function run(flags: ChaosFlags): Promise<number> {
  const { seed, orders, faults, schedule, json } = flags;
  if (schedule) {
    const planned = scheduleFaults({ seed, orders, faults });
    console.log(json ? JSON.stringify(planned) : planned.map(describeFault).join("\n"));
    return EXIT_DONE;
  }
  const report = await chaos(flags);
  console.log(json ? JSON.stringify(report) : chaosReport(report).join("\n"));
  return report.passed ? EXIT_DONE : EXIT_FOUND;
}

async function chaos(flags: ChaosFlags): Promise<ChaosReport> {
  const { orders, settle, "keep-logs": logs } = flags;
  const startedAt = performance.now();
  using stop = stopOnSignals(null);
  using progress = startProgress("orders", orders);
  const say = (line: string) => {
    progress.say(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(7)} s  ${line}`);
  };
  try {
    if (logs) await Deno.mkdir(logs, { recursive: true });
    const settleMs = settle * 1000;
    return await runChaos({ ...flags, settleMs, logs, stop: stop.signal, say, onAccepted: progress.at });
  } catch (error) {
    const why = stop.signal.aborted ? "it was stopped" : messageOf(error);
    throw new Error(`Cannot run chaos: ${why}`, { cause: error });
  }
}
