/**
 * `deno task chaos`: the whole system as real processes under load, while a seeded schedule of faults strikes it; ends
 * with a ledger and the audit. The exit code is 0 where nothing was lost, duplicated or stuck and every promise holds,
 * 1 where not, 2 where the run could not be made, 78 for wrong flags.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { z } from "zod";
import { messageOf } from "../../shared/errors.ts";
import { EXIT_CONFIG } from "../../shared/process.ts";
import { stopOnSignals } from "../../shared/stop.ts";
import { testLog } from "../support/test_log.ts";
import { chaosReport } from "./report.ts";
import { runChaos } from "./run_chaos.ts";
import { describeFault, scheduleFaults } from "./schedule.ts";

const EXIT_BROKEN = 1;
const EXIT_NOT_RUN = 2;

const HELP = `Usage: deno task chaos [flags]

  --seed N          determines the schedule of faults (default 1)
  --orders N        orders to create, up to 1,000,000 (default 2000)
  --faults N        faults to inject, up to 10,000 (default 40)
  --connections N   connections that the orders come over (default 16)
  --settle N        seconds to come to rest after the last order (default 120)
  --keep-logs DIR   keep what the processes write, in a file for each
  --schedule        print the schedule and do nothing else
  --json            print the report as JSON; progress goes to standard error
  --help            print this

Runs on embedded services; set DATABASE_URL and AMQP_URL to run on real ones.`;

const number = (min: number, max: number, fallback: number) => {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.string().regex(/^\d{1,10}$/, { error }).transform(Number)
    .refine((n) => n >= min && n <= max, { error }).default(fallback);
};

const flagsSchema = z.object({
  seed: number(0, 2 ** 32 - 1, 1),
  orders: number(1, 1_000_000, 2000),
  faults: number(0, 10_000, 40),
  connections: number(1, 1000, 16),
  settle: number(1, 3600, 120),
  "keep-logs": z.string().min(1).optional(),
  schedule: z.boolean().default(false),
  json: z.boolean().default(false),
  help: z.boolean().default(false),
});

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(args: readonly string[]): Promise<number> {
  const flags = readFlags(args);
  if (!flags) return EXIT_CONFIG;
  const { seed, orders, faults, connections, settle, "keep-logs": logs, json } = flags;
  if (flags.help) return print(HELP);
  if (flags.schedule) return print(scheduleFaults({ seed, orders, faults }).map(describeFault).join("\n"));
  const startedAt = performance.now();
  const say = (line: string) => {
    const text = `${((performance.now() - startedAt) / 1000).toFixed(1).padStart(7)} s  ${line}`;
    if (json) console.error(text);
    else console.log(text);
  };
  using stop = stopOnSignals(testLog);
  try {
    if (logs) await Deno.mkdir(logs, { recursive: true });
    const settleMs = settle * 1000;
    const report = await runChaos({
      seed,
      orders,
      faults,
      connections,
      settleMs,
      logs,
      stop: stop.signal,
      say,
    });
    print(json ? JSON.stringify(report) : ["", ...chaosReport(report)].join("\n"));
    return report.passed ? 0 : EXIT_BROKEN;
  } catch (error) {
    console.error(`Cannot run chaos: ${stop.signal.aborted ? "it was stopped" : messageOf(error)}`);
    return EXIT_NOT_RUN;
  }
}

function print(text: string): number {
  console.log(text);
  return 0;
}

/** The flags, or undefined after saying what is wrong with them. */
function readFlags(args: readonly string[]): z.infer<typeof flagsSchema> | undefined {
  try {
    const string = { type: "string" } as const;
    const boolean = { type: "boolean" } as const;
    const { values } = parseArgs({
      args: [...args],
      options: {
        seed: string,
        orders: string,
        faults: string,
        connections: string,
        settle: string,
        "keep-logs": string,
        schedule: boolean,
        json: boolean,
        help: boolean,
      },
    });
    const parsed = flagsSchema.safeParse(values);
    if (parsed.success) return parsed.data;
    console.error(
      parsed.error.issues.map(({ path, message }) => `--${path.join(".")} ${message}`).join("\n"),
    );
  } catch (error) {
    console.error(messageOf(error));
  }
  console.error(HELP);
  return undefined;
}
