/**
 * `deno task bench`: how fast OrderFlow is, beside what its services can do in the same run. Prints a table; the exit
 * code is 0 when all was measured, 1 when a part failed, 64 for a wrong usage. Whether a goal is reached does not change
 * it: a figure depends on the machine.
 *
 * @module
 */
import {
  EXIT_DONE,
  EXIT_NOT_DONE,
  type FlagValues,
  onOff,
  readFlags,
  runCommand,
  startProgress,
  UsageError,
  wholeNumber,
} from "../../workers/tools/command.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { type BenchPart, type BenchRow, benchTable, medianRows } from "./bench.ts";
import { costPart } from "./cost_part.ts";
import { hopsPart } from "./hops_part.ts";
import { latencyPart } from "./latency_part.ts";
import { relayPart } from "./relay_part.ts";
import { type BenchServices, startBenchServices } from "./services.ts";
import { acceptPart, flowPart } from "./throughput_parts.ts";

const PARTS: readonly BenchPart[] = [acceptPart, relayPart, flowPart, latencyPart, hopsPart, costPart];

const USAGE = `Usage: deno task bench [flags] [part ...]

${PARTS.map(({ name, about }) => `  ${name.padEnd(10)}${about}`).join("\n")}

  --runs N          measure everything N times, and print the medians (default 1)
  --tiny            as little as shows that each part works; its figures mean nothing
  --json            print the lines as JSON; progress goes to standard error
  --help            print this

Runs on embedded services; set DATABASE_URL and AMQP_URL to run on real ones. Ends with 0 when all was measured, 1 when a
part failed, 64 for a wrong usage.

Example: deno task bench --runs 3 accept flow`;

const FLAGS = { runs: wholeNumber(1, 100).default(1), tiny: onOff, json: onOff };

interface BenchOptions extends FlagValues<typeof FLAGS> {
  readonly parts: readonly BenchPart[];
}

if (import.meta.main) {
  Deno.exit(await runCommand({ task: "bench", usage: USAGE, read: readBenchFlags, run: bench }, Deno.args));
}

function readBenchFlags(args: readonly string[]): BenchOptions | null {
  const given = readFlags(args, FLAGS, true);
  if (!given) return null;
  const { flags, rest } = given;
  const unknown = rest.find((word) => !PARTS.some(({ name }) => name === word));
  if (unknown !== undefined) {
    throw new UsageError(
      `${JSON.stringify(unknown)} is no part: ${PARTS.map(({ name }) => name).join(", ")}`,
    );
  }
  return { ...flags, parts: rest.length === 0 ? PARTS : PARTS.filter(({ name }) => rest.includes(name)) };
}

async function bench(options: BenchOptions): Promise<number> {
  await using services = await startBenchServices();
  const { measured, failed } = await measure(options, services);
  const rows = medianRows(measured);
  console.log(options.json ? JSON.stringify(rows) : benchTable(rows));
  const { isDatabaseEmbedded: database, isBrokerEmbedded: broker } = services;
  const kind = (isEmbedded: boolean) => isEmbedded ? "embedded" : "given";
  console.error(
    `Database ${kind(database)}, broker ${kind(broker)}, ${navigator.hardwareConcurrency} cores.`,
  );
  if (failed.length > 0) console.error(`Failed: ${failed.join(", ")}.`);
  return failed.length > 0 ? EXIT_NOT_DONE : EXIT_DONE;
}

/** Runs all parts, as often as is asked for: the lines of each run, and the parts that failed. */
async function measure({ parts, runs, tiny }: BenchOptions, services: BenchServices) {
  const startedMs = performance.now();
  const measured: BenchRow[][] = [];
  const failed: string[] = [];
  using progress = startProgress("parts", parts.length * runs);
  progress.at(0);
  for (let run = 0; run < runs; run++) {
    const rows: BenchRow[] = [];
    for (const [i, part] of parts.entries()) {
      const say = (step: string) => {
        const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
        progress.say(`${seconds.padStart(7)} s  ${runs > 1 ? `run ${run + 1}, ` : ""}${part.name}: ${step}`);
      };
      try {
        rows.push(...await part.run({ services, size: (full, small) => tiny ? small : full, say }));
      } catch (error) {
        say(`failed: ${messageOf(error)}`);
        failed.push(part.name);
      }
      progress.at(run * parts.length + i + 1);
    }
    measured.push(rows);
  }
  return { measured, failed };
}
