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
  flag,
  type FlagValues,
  onOff,
  startProgress,
  task,
  UsageError,
  wholeNumber,
} from "../../workers/tools/command.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { type BenchPart, type BenchRow, benchTable, medianRows } from "./bench.ts";
import { costPart, restPart } from "./cost.ts";
import { type BenchServices, startBenchServices } from "./services.ts";
import { acceptPart, flowPart, latencyPart, relayPart } from "./speed.ts";

const PARTS: readonly BenchPart[] = [acceptPart, relayPart, flowPart, latencyPart, restPart, costPart];
const FLAGS = {
  runs: flag(wholeNumber(1, 100).default(1), "measure everything N times, and print the medians"),
  tiny: flag(onOff, "as little as shows that each part works; its figures mean nothing"),
  json: flag(onOff, "print the lines as JSON; progress goes to standard error"),
};

if (import.meta.main) {
  await task({
    name: "bench",
    about: `measures how fast OrderFlow is, beside what its services can do. Parts, all of them by default:

${PARTS.map(({ name, about }) => `  ${name.padEnd(10)}${about}`).join("\n")}`,
    flags: FLAGS,
    takesRest: true,
    ends:
      `Runs on embedded services; set DATABASE_URL and AMQP_URL to run on real ones. Ends with 0 when all was measured, 1 when a
part failed, 64 for a wrong usage.`,
    example: "--runs=3 accept flow",
    run: (flags, rest) => bench(benchOptions(flags, rest)),
  });
}

type BenchOptions = ReturnType<typeof benchOptions>;

function benchOptions(flags: FlagValues<typeof FLAGS>, rest: readonly string[]) {
  const names = PARTS.map(({ name }) => name);
  const unknown = rest.find((word) => !names.includes(word));
  if (unknown !== undefined) {
    throw new UsageError(`${JSON.stringify(unknown)} is no part: ${names.join(", ")}`);
  }
  return { ...flags, parts: rest.length === 0 ? PARTS : PARTS.filter(({ name }) => rest.includes(name)) };
}

async function bench(options: BenchOptions): Promise<number> {
  await using services = await startBenchServices();
  const { measured, failed } = await measure(options, services);
  const rows = medianRows(measured);
  console.log(options.json ? JSON.stringify(rows) : benchTable(rows));
  const kind = (isEmbedded: boolean) => isEmbedded ? "embedded" : "given";
  const [database, broker] = [kind(services.isDatabaseEmbedded), kind(services.isBrokerEmbedded)];
  console.error(`Database ${database}, broker ${broker}, ${navigator.hardwareConcurrency} cores.`);
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
