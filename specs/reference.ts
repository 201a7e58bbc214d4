// `specs/reference.md`: what the code can say by itself, so that no document has to repeat it.

import { join } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { SCENARIOS } from "../api/ops/scenarios.ts";
import { EVENT_TYPES, eventData } from "../shared/events.ts";
import { AUDIT_CHECKS } from "../shared/ops/audit.ts";
import { FAULT_POINTS } from "../shared/ops/faults.ts";
import { QUEUES } from "../shared/topology.ts";
import { API, CONSUMERS, RELAY } from "../workers/dev/processes.ts";
import { projectFiles } from "./support/markdown.ts";

type Row = readonly string[];

const root = fileURLToPath(new URL("../", import.meta.url));
const code = (text: string) => `\`${text}\``;
const moduleOf = (queue: string) => queue.split(".", 1).join();

/** The whole document, formatted. */
export function reference(): string {
  return `# Reference

Written by \`deno task generate\` out of the code. Every route is at \`/docs\` of a running system, every variable
in \`.env.example\`, every task is printed by \`deno task\`, and every metric is in
[monitoring](monitoring/README.md#metrics). [project.md](project.md) says how it all works.

## Events

${table(["type", "data besides `orderId`", "heard by"], events())}

## Queues

${table(["queue", "bound to", "named otherwise by"], queues())}

## Processes

${table(["process", "script", "consumes", "role"], processes())}

## Scenarios

\`POST /ops/scenarios/<name>\` places an order that goes as it says. Those below _Outcomes_ are there where
\`FAULTS_ENABLED\` is on.

${table(["scenario", "group", "what to expect"], scenarios())}

## Points of faults

\`PUT /ops/faults\` arms them.

${table(["point", "what happens", "takes"], points())}

## Checks of the audit

Each with the [promise](../README.md#what-it-promises) that it guards.

${table(["check", "promise"], AUDIT_CHECKS.map(({ check, promise }) => [check, String(promise)]))}

## Limits

Every number that bounds a wait, a buffer or a batch, as the code has it and says what it is for.

${table(["constant", "value", "what it is for"], limits())}
`;
}

function events(): Row[] {
  const queues: { name: string; bindings: readonly string[] }[] = Object.values(QUEUES);
  return EVENT_TYPES.map((type) => {
    const fields = Object.entries(eventData[type].shape).filter(([name]) => name !== "orderId");
    const data = fields.map(([name, field]) => code(field.safeParse(undefined).success ? `${name}?` : name));
    const hearing = queues.filter(({ bindings }) => bindings.includes(type)).map(({ name }) =>
      moduleOf(name)
    );
    return [type, data.join(", "), [...new Set(hearing)].join(", ") || "nobody"];
  });
}

function queues(): Row[] {
  return Object.values(QUEUES)
    .map(({ name, bindings, env }) => [code(name), bindings.join(", "), code(env)]);
}

function processes(): Row[] {
  return [
    [code(API.name), code(API.entry), "HTTP", "`orderflow_orders`, `orderflow_ops`"],
    [code(RELAY.name), code(RELAY.entry), "`outbox_events`", "`orderflow_relay`"],
    ...CONSUMERS.map(({ name, entry, queue }) => {
      const { name: consumes } = QUEUES[queue];
      return [name, entry, consumes, `orderflow_${moduleOf(consumes)}`].map(code);
    }),
  ];
}

function scenarios(): Row[] {
  return SCENARIOS.map(({ name, group, expect }) => [code(name), group, expect]);
}

function points(): Row[] {
  return Object.entries(FAULT_POINTS).map(([point, { what, perConsumer, delayMs }]) => {
    const takes = [...perConsumer ? ["consumer"] : [], ...delayMs === null ? [] : ["delayMs"]];
    return [code(point), what, takes.map(code).join(", ")];
  });
}

/** What is searched for limits: the product, without the embedded services, the supervisor and the page's drawings. */
const SEARCHED = ["shared", "api", "workers"];
const SOURCE = /^(?!.*\/(embedded|dev|testdata)\/).*(?<!_test)\.ts$/;
const LIMIT = /(?:\/\*\*((?:(?!\*\/)[^])*?)\*\/\n)?^(?:export )?const ([A-Z][A-Z0-9_]+) = ([\d_ .*]+);/gm;
/** Numbers that bound nothing. */
const NO_LIMIT = /^EXIT_|_KEY$|_VERSION$|_WIDTH$|^DAY_MS$|^CONFLICT$/;

/** Every constant of the sources that is a number, with the first paragraph of what stands above it. */
function limits(): Row[] {
  const sources = SEARCHED.flatMap((folder) =>
    projectFiles(root, join(root, folder)).filter((path) => SOURCE.test(path)).toSorted()
  );
  return sources.flatMap((path) =>
    [...Deno.readTextFileSync(join(root, path)).matchAll(LIMIT)]
      .filter(([, , name = ""]) => !NO_LIMIT.test(name))
      .map(([, doc = "", name = "", value = ""]) => {
        const words = doc.replaceAll(/^ *\* ?/gm, "").split("\n\n", 1).join().replaceAll(/\s+/g, " ").trim();
        return [`${code(name)} in ${code(path)}`, valueOf(value), words.replaceAll("|", "\\|")];
      })
  );
}

function valueOf(expression: string): string {
  return String(expression.replaceAll("_", "").split("*").map(Number).reduce((a, b) => a * b, 1));
}

/** As `deno fmt` has it. */
function table(headings: Row, rows: readonly Row[]): string {
  const widths = headings.map((_, i) => Math.max(...[headings, ...rows].map((row) => row[i]?.length ?? 0)));
  const line = (row: Row) => `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  return [line(headings), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}
