// `deno task generate`: writes what is made from the code. That is the events' JSON Schemas and AsyncAPI, for readers in
// other languages; the list of migrations, so that a process imports their texts and need not read a file; the
// reference, and the workers that Prometheus scrapes. A test holds the files to it.

import { stringify } from "yaml";
import { eventJsonSchemas } from "../shared/events.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../shared/process/config.ts";
import { metricsPorts, WORKERS } from "../workers/dev/processes.ts";
import { EXIT_DONE, EXIT_FOUND, flag, onOff, task } from "../workers/tools/command.ts";
import { asyncApiDocument } from "./asyncapi_document.ts";
import { reference } from "./reference.ts";

const root = new URL("../", import.meta.url);

/** Every file that is made from the code, or has a part that is, with what makes its new text of the old one. */
const WRITERS: readonly (readonly [path: string, write: (old: string) => string])[] = [
  ["shared/sql/migrations.ts", migrationList],
  ["specs/event_schemas.json", () => `${JSON.stringify(eventJsonSchemas(), null, 2)}\n`],
  ["specs/asyncapi.yaml", asyncApi],
  ["specs/monitoring/prometheus.yaml", withWorkers],
  ["specs/reference.md", reference],
];

/** The files that are not as they should be: the path of each, and its new text. */
export function outdated(): { readonly path: string; readonly text: string }[] {
  return WRITERS.flatMap(([path, write]) => {
    const old = Deno.readTextFileSync(new URL(path, root));
    const text = write(old);
    return text === old ? [] : [{ path, text }];
  });
}

function migrationList(): string {
  const names = [...Deno.readDirSync(new URL("shared/sql/migrations", root))].map(({ name }) => name)
    .filter((name) => /^\d/.test(name)).toSorted();
  const exported = (name: string) =>
    `export { default as "${name.replace(".sql", "")}" } from "./migrations/${name}" with { type: "text" };`;
  return [
    "// The text of each migration under its name, written by `deno task generate`.",
    "",
    ...names.map(exported),
    "",
  ].join("\n");
}

/** The topology under its default names. */
function asyncApi(): string {
  const document = asyncApiDocument(topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined)));
  const text = stringify(document, { aliasDuplicateObjects: false, compat: "yaml-1.1", lineWidth: 110 });
  return `# Written by deno task generate, from the events and the topology.\n${text}`;
}

/** The workers as `deno task dev` has them on this machine, and as `docker-compose.yml` names them. */
function withWorkers(text: string): string {
  const ports = [...metricsPorts(9464, () => 0).values()];
  return text
    .replace(/( +- 127\.0\.0\.1:94\d\d\n)+/, ports.map((port) => `          - 127.0.0.1:${port}\n`).join(""))
    .replace(/( +# {7}- [\w-]+\n)+/, WORKERS.map(({ name }) => `    #       - ${name}\n`).join(""));
}

if (import.meta.main) {
  await task({
    name: "generate",
    about: "writes what is made from the code, and prints the path of each file that has changed",
    flags: { check: flag(onOff, "write nothing, and end with 2 where a file is not as it should be") },
    ends:
      "Ends with 0 when all files are as they should be, 2 with --check when one is not, 64 for a wrong usage.",
    example: "--check",
    run,
  });
}

async function run({ check }: { readonly check: boolean }): Promise<number> {
  const files = outdated();
  for (const { path, text } of files) {
    console.log(path);
    if (!check) await Deno.writeTextFile(new URL(path, root), text);
  }
  return check && files.length > 0 ? EXIT_FOUND : EXIT_DONE;
}
