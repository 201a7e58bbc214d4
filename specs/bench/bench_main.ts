// `deno task bench`: how fast OrderFlow is, beside what its services can do in the same run. Prints a table; the exit
// code is 0 when all was measured, 1 when a part failed, 64 for a wrong usage. Whether a goal is reached does not change
// it: a figure depends on the machine.

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
import { startBenchServices } from "./services.ts";
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
    run: bench,
  });
}

async function bench(
  { json, ...flags }: FlagValues<typeof FLAGS>,
  words: readonly string[],
): Promise<number> {
  const names = PARTS.map(({ name }) => name);
  const unknown = words.find((word) => !names.includes(word));
  if (unknown !== undefined) {
    throw new UsageError(`${JSON.stringify(unknown)} is no part: ${names.join(", ")}`);
  }
  await using services = await startBenchServices();
  const parts = PARTS.filter(({ name }) => words.length === 0 || words.includes(name));
  const { measured, failed } = await measure(parts, flags, services);
  const rows = medianRows(measured);
  console.log(json ? JSON.stringify(rows) : benchTable(rows));
  const kind = (isEmbedded: boolean) => isEmbedded ? "embedded" : "given";
  const [database, broker] = [kind(services.isDatabaseEmbedded), kind(services.isBrokerEmbedded)];
  console.error(`Database ${database}, broker ${broker}, ${navigator.hardwareConcurrency} cores.`);
  if (failed.length > 0) console.error(`Failed: ${failed.join(", ")}.`);
  return failed.length > 0 ? EXIT_NOT_DONE : EXIT_DONE;
}

/** Runs the parts, as often as is asked for: the lines of each time, and the parts that failed. */
async function measure(
  parts: readonly BenchPart[],
  { runs, tiny }: Pick<FlagValues<typeof FLAGS>, "runs" | "tiny">,
  services: Awaited<ReturnType<typeof startBenchServices>>,
) {
  const startedMs = performance.now();
  const [measured, failed]: [BenchRow[][], string[]] = [[], []];
  using progress = startProgress("parts", parts.length * runs);
  const all = Array.from({ length: runs }, (_, run) => parts.map((part) => ({ part, run }))).flat();
  for (const [i, { part, run }] of all.entries()) {
    progress.at(i);
    const say = (step: string) => {
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      progress.say(`${seconds.padStart(7)} s  ${runs > 1 ? `run ${run + 1}, ` : ""}${part.name}: ${step}`);
    };
    try {
      measured.push(await part.run({ services, size: (full, small) => tiny ? small : full, say }));
    } catch (error) {
      say(`failed: ${messageOf(error)}`);
      failed.push(part.name);
    }
  }
  return { measured, failed };
}
