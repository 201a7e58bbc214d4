/**
 * `deno task generate`: writes what is made from the code. That is the events' JSON Schemas and AsyncAPI, for readers in
 * other languages; the list of migrations, so that a process imports their texts and need not read a file; the tables of
 * the documents that repeat the code, and the workers that Prometheus scrapes. A test holds the files to it.
 *
 * @module
 */
import { stringify } from "yaml";
import { z } from "zod";
import { EVENT_TYPES, eventData, eventJsonSchemas } from "../shared/events.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../shared/process/config.ts";
import { QUEUES } from "../shared/topology.ts";
import { API, CONSUMERS, metricsPorts, RELAY, WORKERS } from "../workers/dev/processes.ts";
import { EXIT_DONE, EXIT_FOUND, onOff, readFlags, runCommand } from "../workers/tools/command.ts";
import { asyncApiDocument } from "./asyncapi_document.ts";

const root = new URL("../", import.meta.url);
const namesIn = (folder: string) =>
  [...Deno.readDirSync(new URL(folder, root))].map(({ name }) => name).toSorted();

/** What makes the new text of a file from its old one. */
type Writer = (old: string) => string;

/** Every file that is made from the code, or has a part that is. */
function writers(): [path: string, Writer][] {
  const documents = [
    "README.md",
    ...namesIn("specs").filter((name) => /\.md$/.test(name)).map((name) => `specs/${name}`),
  ];
  return [
    ["shared/sql/migrations.ts", migrationList],
    ["specs/event_schemas.json", () => `${JSON.stringify(eventJsonSchemas(), null, 2)}\n`],
    ["specs/asyncapi.yaml", asyncApi],
    ["specs/monitoring/prometheus.yaml", withWorkers],
    ...documents.map((path): [string, Writer] => [path, withTables]),
  ];
}

/** The files that are not as they should be: the path of each, and its new text. */
export function outdated(): { readonly path: string; readonly text: string }[] {
  return writers().flatMap(([path, write]) => {
    const old = Deno.readTextFileSync(new URL(path, root));
    const text = write(old);
    return text === old ? [] : [{ path, text }];
  });
}

function migrationList(): string {
  const names = namesIn("shared/sql/migrations").filter((name) => /^\d/.test(name));
  const variable = (name: string) => `m${name.slice(0, 3)}`;
  return [
    "/**",
    " * The migrations in their order, written by `deno task generate`.",
    " *",
    " * @module",
    " */",
    ...names.map((name) => `import ${variable(name)} from "./migrations/${name}" with { type: "text" };`),
    "",
    "/** Each one's name and text. */",
    "export const MIGRATIONS = [",
    ...names.map((name) => `  { name: "${name.replace(".sql", "")}", text: ${variable(name)} },`),
    "] as const;",
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

/** The first row has the headings. */
type Table = readonly (readonly string[])[];

const code = (text: string) => `\`${text}\``;
const moduleOf = (queue: string) => queue.split(".", 1).join();

function processes(): Table {
  return [
    ["process", "script", "consumes", "role"],
    [code(API.name), code(API.entry), "HTTP", "`orderflow_orders`, `orderflow_ops`"],
    [code(RELAY.name), code(RELAY.entry), "`outbox_events`", "`orderflow_relay`"],
    ...CONSUMERS.map(({ name, entry, queue }) => {
      const { name: consumes } = QUEUES[queue];
      return [name, entry, consumes, `orderflow_${moduleOf(consumes)}`].map(code);
    }),
  ];
}

function tasks(): Table {
  const { tasks } = z.object({ tasks: z.record(z.string(), z.object({ description: z.string().min(1) })) })
    .parse(JSON.parse(Deno.readTextFileSync(new URL("deno.json", root))));
  const rows = Object.entries(tasks).map((
    [name, { description }],
  ) => [code(`deno task ${name}`), description]);
  return [["task", "what it does"], ...rows];
}

function events(): Table {
  const queues: { name: string; bindings: readonly string[] }[] = Object.values(QUEUES);
  const rows = EVENT_TYPES.map((type) => {
    const fields = Object.entries(eventData[type].shape).filter(([name]) => name !== "orderId");
    const data = fields.map(([name, field]) => code(field.safeParse(undefined).success ? `${name}?` : name));
    const hearing = queues.filter(({ bindings }) => bindings.includes(type)).map(({ name }) =>
      moduleOf(name)
    );
    return [type, data.join(", "), [...new Set(hearing)].join(", ") || "nobody"];
  });
  return [["type", "data besides `orderId`", "heard by"], ...rows];
}

function queues(): Table {
  const rows = Object.values(QUEUES).map((
    { name, bindings, env },
  ) => [code(name), bindings.join(", "), code(env)]);
  return [["queue", "bound to", "named otherwise by"], ...rows];
}

/** The document with the rows of each of these tables that it has; a table is known by its headings. */
function withTables(document: string): string {
  return [processes(), tasks(), events(), queues()].reduce((text, table) => {
    const lines = text.split("\n");
    const headings = rowOf(table[0] ?? []);
    const first = lines.findIndex((line) => line.replaceAll(/ +/g, " ") === headings);
    if (first < 0) return text;
    const end = lines.findIndex((line, i) => i > first && !line.startsWith("|"));
    return lines.toSpliced(first, end - first, ...formatted(table)).join("\n");
  }, document);
}

const rowOf = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;

/** As `deno fmt` has it. */
function formatted([headings = [], ...rows]: Table): string[] {
  const widths = headings.map((_, i) => Math.max(...[headings, ...rows].map((row) => row[i]?.length ?? 0)));
  const padded = [headings, ...rows].map((row) => rowOf(row.map((cell, i) => cell.padEnd(widths[i] ?? 0))));
  return padded.toSpliced(1, 0, rowOf(widths.map((width) => "-".repeat(width))));
}

const USAGE = `Usage: deno task generate [--check]

Writes what is made from the code: the list of migrations, the events' JSON Schemas, AsyncAPI, the workers in the example
for Prometheus, tables of the documents. Prints the path of each file that has changed.

  --check           write nothing, and end with 2 where a file is not as it should be
  --help            print this`;

if (import.meta.main) {
  const read = (args: readonly string[]) => readFlags(args, { check: onOff })?.flags ?? null;
  Deno.exit(await runCommand({ task: "generate", usage: USAGE, read, run }, Deno.args));
}

async function run({ check }: { readonly check: boolean }): Promise<number> {
  const files = outdated();
  for (const { path, text } of files) {
    console.log(path);
    if (!check) await Deno.writeTextFile(new URL(path, root), text);
  }
  return check && files.length > 0 ? EXIT_FOUND : EXIT_DONE;
}
