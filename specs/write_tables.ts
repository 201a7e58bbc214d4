/**
 * Writes what repeats the code in documents and examples: the tables of processes, tasks, events and queues, and the
 * workers that Prometheus scrapes. A test holds the files to it.
 *
 * @module
 */
import { z } from "zod";
import { EVENT_TYPES, eventData } from "../shared/events.ts";
import { QUEUES } from "../shared/topology.ts";
import { API, CONSUMERS, metricsPorts, RELAY, WORKERS } from "../workers/dev/processes.ts";

type Table = readonly (readonly string[])[];

const root = new URL("../", import.meta.url);
const code = (text: string) => `\`${text}\``;
const moduleOf = (queue: string) => queue.split(".", 1).join();

/** Every process, what it consumes, and its roles. */
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

/** Every task of deno.json. */
function tasks(): Table {
  const configuration = z.object({
    tasks: z.record(z.string(), z.object({ description: z.string().min(1) })),
  })
    .parse(JSON.parse(Deno.readTextFileSync(new URL("deno.json", root))));
  const rows = Object.entries(configuration.tasks).map(([name, { description }]) => {
    return [code(`deno task ${name}`), description];
  });
  return [["task", "what it does"], ...rows];
}

/** Every event with its data, and the modules that hear of it. */
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

/** The files that repeat the code, and how each gets what it repeats. */
export const WRITTEN: Readonly<Record<string, (text: string) => string>> = {
  "README.md": (text) => withTables(text, [processes, tasks]),
  "specs/project.md": (text) => withTables(text, [events, queues]),
  "specs/monitoring/prometheus.yaml": withWorkers,
};

/** The document with its tables as the code has them. Errors: when a table is not there. */
function withTables(document: string, tables: readonly (() => Table)[]): string {
  return tables.map((table) => table()).reduce((text, rows) => {
    const lines = text.split("\n");
    const first = lines.findIndex((line) => line.startsWith(`| ${rows[0]?.[0]} `));
    if (first < 0) throw new Error(`There is no table that begins with "${rows[0]?.[0]}"`);
    const end = lines.findIndex((line, i) => i > first && !line.startsWith("|"));
    return lines.toSpliced(first, end - first, ...formatted(rows)).join("\n");
  }, document);
}

/** As `deno fmt` has it. */
function formatted([headings = [], ...rows]: Table): string[] {
  const widths = headings.map((_, i) => Math.max(...[headings, ...rows].map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  return [line(headings), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)];
}

/** The workers as `deno task dev` has them on this machine, and as `docker-compose.yml` names them. */
function withWorkers(text: string): string {
  const ports = [...metricsPorts(9464, () => 0).values()];
  return text
    .replace(/( +- 127\.0\.0\.1:94\d\d\n)+/, ports.map((port) => `          - 127.0.0.1:${port}\n`).join(""))
    .replace(/( +# {7}- [\w-]+\n)+/, WORKERS.map(({ name }) => `    #       - ${name}\n`).join(""));
}

if (import.meta.main) {
  for (const [path, write] of Object.entries(WRITTEN)) {
    const file = new URL(path, root);
    Deno.writeTextFileSync(file, write(Deno.readTextFileSync(file)));
  }
}
