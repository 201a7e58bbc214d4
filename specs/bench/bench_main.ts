/**
 * `deno task bench`: how fast OrderFlow is, beside what its services can do in the same run. Prints a table; the exit
 * code is 0 when all was measured, 1 when a part failed, 78 for wrong flags. Whether a goal is reached does not change
 * it: a figure depends on the machine.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { z } from "zod";
import { messageOf } from "../../shared/errors.ts";
import { EXIT_CONFIG } from "../../shared/process.ts";
import type { BenchPart, BenchRow } from "./bench.ts";
import { startBenchServices } from "./services.ts";
import { benchTable, medianRows } from "./table.ts";
import { acceptPart } from "./accept_part.ts";
import { copiesPart } from "./copies_part.ts";
import { costPart } from "./cost_part.ts";
import { flowPart } from "./flow_part.ts";
import { growthPart } from "./growth_part.ts";
import { idlePart } from "./idle_part.ts";
import { latencyPart } from "./latency_part.ts";
import { memoryPart } from "./memory_part.ts";
import { openTransactionPart } from "./open_transaction_part.ts";
import { relayPart } from "./relay_part.ts";

const PARTS: readonly BenchPart[] = [
  acceptPart,
  relayPart,
  flowPart,
  latencyPart,
  growthPart,
  openTransactionPart,
  copiesPart,
  memoryPart,
  idlePart,
  costPart,
];

const EXIT_FAILED = 1;

const HELP = `Usage: deno task bench [flags] [part ...]

${PARTS.map(({ name, about }) => `  ${name.padEnd(18)}${about}`).join("\n")}

  --runs N          measure everything N times, and print the medians (default 1)
  --tiny            as little as shows that each part works; its figures mean nothing
  --json            print the lines as JSON; progress goes to standard error
  --help            print this

Runs on embedded services; set DATABASE_URL and AMQP_URL to run on real ones.`;

const flagsSchema = z.object({
  runs: z.coerce.number({ error: "must be a whole number from 1 to 100" }).int().min(1).max(100).default(1),
  tiny: z.boolean().default(false),
  json: z.boolean().default(false),
  help: z.boolean().default(false),
  parts: z.array(z.enum(PARTS.map(({ name }) => name), { error: "is no part" })),
});

if (import.meta.main) Deno.exit(await main(Deno.args));

async function main(args: readonly string[]): Promise<number> {
  const flags = readFlags(args);
  if (!flags) return EXIT_CONFIG;
  if (flags.help) {
    console.log(HELP);
    return 0;
  }
  const parts = flags.parts.length === 0 ? PARTS : PARTS.filter(({ name }) => flags.parts.includes(name));
  await using services = await startBenchServices();
  const startedMs = performance.now();
  const runs: BenchRow[][] = [];
  const failed: string[] = [];
  for (let run = 1; run <= flags.runs; run++) {
    const rows: BenchRow[] = [];
    for (const part of parts) {
      const say = (step: string) => {
        const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
        console.error(
          `${seconds.padStart(7)} s  ${flags.runs > 1 ? `run ${run}, ` : ""}${part.name}: ${step}`,
        );
      };
      try {
        rows.push(...await part.run({ services, size: (full, tiny) => flags.tiny ? tiny : full, say }));
      } catch (error) {
        say(`failed: ${messageOf(error)}`);
        failed.push(part.name);
      }
    }
    runs.push(rows);
  }
  const rows = medianRows(runs);
  console.log(flags.json ? JSON.stringify(rows) : benchTable(rows));
  const { isDatabaseEmbedded: database, isBrokerEmbedded: broker } = services;
  const kind = (isEmbedded: boolean) => isEmbedded ? "embedded" : "given";
  console.error(
    `Database ${kind(database)}, broker ${kind(broker)}, ${navigator.hardwareConcurrency} cores.`,
  );
  if (failed.length > 0) console.error(`Failed: ${failed.join(", ")}.`);
  return failed.length > 0 ? EXIT_FAILED : 0;
}

/** The flags and parts, or undefined after saying what is wrong with them. */
function readFlags(args: readonly string[]): z.infer<typeof flagsSchema> | undefined {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        runs: { type: "string" },
        tiny: { type: "boolean" },
        json: { type: "boolean" },
        help: { type: "boolean" },
      },
    });
    const parsed = flagsSchema.safeParse({ ...values, parts: positionals });
    if (parsed.success) return parsed.data;
    const given = (path: readonly PropertyKey[]) =>
      path[0] === "parts" ? positionals[Number(path[1])] : `--${path.join(".")}`;
    console.error(parsed.error.issues.map(({ path, message }) => `${given(path)} ${message}`).join("\n"));
  } catch (error) {
    console.error(messageOf(error));
  }
  console.error(HELP);
  return undefined;
}
