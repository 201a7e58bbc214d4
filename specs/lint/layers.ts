// A lint plugin that holds the project's own rules: who may import whom, and a few habits that the recommended
// rules do not know. Run by `deno lint`; each rule can be silenced for a line with
// `// deno-lint-ignore layers/<rule>` and a reason.

import { dirname, join, relative } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { QUEUES } from "../../shared/topology.ts";

export interface Problem {
  message: string;
  hint: string;
}

type Node = Deno.lint.Node;

const root = fileURLToPath(new URL("../..", import.meta.url));
/** A module has one queue or more, which are named after it, and one table of the same name. */
const modules = [...new Set(Object.values(QUEUES).map(({ name }) => name.split(".", 1).join()))];
const moduleTables = modules.map((name) => `shared/sql/${name}.ts`);
const sqlForEveryModule = ["connect", "inbox", "outbox"].map((name) => `shared/sql/${name}.ts`);
const engine = [
  "shared/broker/",
  ...sqlForEveryModule,
  "shared/sql/set_aside.ts",
  "shared/sql/event_history.ts",
  "workers/relay/",
  "workers/consumer.ts",
];
const knowsOrders = ["shared/events.ts", "shared/order_status.ts", "shared/topology.ts", ...moduleTables];

/** The file's path from the project's top, with slashes: `workers/orders/move_orders.ts`. */
function projectPath(filename: string): string {
  return filename.startsWith(root) ? relative(root, filename) : filename;
}

function isTestCode(path: string): boolean {
  return /_test\.tsx?$/.test(path) || path.startsWith("specs/") || path.includes("/testdata/");
}

/** The module that owns a file: by its folder (`workers/orders/…`) or its script's name (`workers/orders_….ts`). */
function owner(path: string): string | undefined {
  return modules.find((name) => path.startsWith(`workers/${name}/`) || path.startsWith(`workers/${name}_`));
}

/** Decides whether `from` may import `to`; both are project paths of files. Tests may import everything. */
export function importProblem(from: string, to: string): Problem | undefined {
  return isTestCode(from) ? undefined : folderProblem(from, to) ?? moduleProblem(from, to);
}

const INSTEAD_OF: Readonly<Record<string, string>> = {
  specs: "Move the code out of specs/, which holds what only tests use.",
  ui: "Only api/page/page.ts may import the page: go through it, or move what both need to shared/.",
  api: "Move what both need to shared/, or let them talk through events and tables.",
  workers: "Move what both need to shared/, or let them talk through events and tables.",
};

/** `shared` stands alone, the other folders know only `shared`, and nobody but tests knows `specs`. */
function folderProblem(from: string, to: string): Problem | undefined {
  const [source, target] = [from.split("/", 1).join(), to.split("/", 1).join()];
  const hint = INSTEAD_OF[target];
  if (source === target || !hint || from === "api/page/page.ts" && target === "ui") return undefined;
  const inShared = "Pass in what is needed as a parameter, or move the imported code to shared/.";
  return {
    message: `${source}/ must not import ${target}/ (${to})`,
    hint: source === "shared" ? inShared : hint,
  };
}

/** A module's code imports no other module's, and no tables but its own, the inbox and the outbox. */
function moduleProblem(from: string, to: string): Problem | undefined {
  const [self, other] = [owner(from), owner(to)];
  if (!self) return undefined;
  if (other && other !== self) {
    return {
      message: `the ${self} module must not import the ${other} module (${to})`,
      hint: "React to the other module's events; what both need belongs to shared/.",
    };
  }
  const isAllowed = !to.startsWith("shared/sql/") || to === `shared/sql/${self}.ts` ||
    sqlForEveryModule.includes(to);
  if (isAllowed) return undefined;
  return {
    message: `the ${self} module must not use ${to}: it owns shared/sql/${self}.ts only`,
    hint: "Carry what is needed in the event, or ask for it with an event that the table's owner answers. " +
      `Allowed besides its own: ${sqlForEveryModule.join(", ")}.`,
  };
}

/** Decides whether `from`, where it belongs to the engine, may import `to`: the engine knows no order. */
export function engineProblem(from: string, to: string): Problem | undefined {
  if (isTestCode(from) || !engine.some((part) => from.startsWith(part))) return undefined;
  if (!knowsOrders.includes(to) && !owner(to)) return undefined;
  return {
    message: `the engine knows no order: ${from} must not import ${to}`,
    hint: "Take what is needed as a parameter; the process that knows the orders passes it in.",
  };
}

/** A rule about imports of the project's own files, in every form that an import can have. */
function importRule(problemOf: (from: string, to: string) => Problem | undefined): Deno.lint.Rule {
  return {
    create(context) {
      const from = projectPath(context.filename);
      const check = (node: Node, source: Node | null) => {
        if (source?.type !== "Literal" || typeof source.value !== "string") return;
        if (!source.value.startsWith(".")) return;
        const problem = problemOf(from, join(dirname(from), source.value));
        if (problem) context.report({ node, ...problem });
      };
      return {
        ImportDeclaration: (node) => check(node, node.source),
        ExportAllDeclaration: (node) => check(node, node.source),
        ExportNamedDeclaration: (node) => check(node, node.source),
        ImportExpression: (node) => check(node, node.source),
        TSImportType: (node) =>
          check(node, node.argument.type === "TSLiteralType" ? node.argument.literal : node.argument),
      };
    },
  };
}

/** A rule that reports what `selectors` find, but in tests and the files that `mayDo` it. */
function forbid(
  selectors: readonly string[],
  mayDo: (path: string) => boolean,
  problem: Problem,
): Deno.lint.Rule {
  return {
    create(context) {
      const path = projectPath(context.filename);
      if (isTestCode(path) || mayDo(path)) return {};
      const report = (node: Node) => context.report({ node, ...problem });
      return Object.fromEntries(selectors.map((selector) => [selector, report]));
    },
  };
}

/** The plugin, named in `lint.plugins` of deno.json. */
export default {
  name: "layers",
  rules: {
    imports: importRule(importProblem),
    "engine-knows-no-order": importRule(engineProblem),
    environment: forbid(
      [
        'MemberExpression[object.name="Deno"][property.name="env"]',
        'MemberExpression[object.name="process"][property.name="env"]',
        'VariableDeclarator[init.name="Deno"] Property[key.name="env"]',
      ],
      (path) =>
        path === "shared/process/config.ts" || /^workers\/(dev|tools)\//.test(path) ||
        path.endsWith("_main.ts"),
      {
        message: "the environment is read here",
        hint:
          "Take the value as a parameter: shared/process/config.ts parses the environment once, at the start.",
      },
    ),
    "no-unsafe-sql": forbid(
      ['MemberExpression[property.name="unsafe"]'],
      (path) => path === "shared/sql/migrate.ts",
      {
        message: "sql.unsafe() runs text that may hold outside values",
        hint: "Use a template: sql`… ${value} …`, and sql(name) for an identifier.",
      },
    ),
    "no-bare-begin": forbid(
      ['CallExpression[callee.property.name="begin"]'],
      (path) => path === "shared/sql/connect.ts",
      {
        message: "sql.begin() lets a transaction run on when its connection is lost",
        hint: "Use transaction(sql, work) of shared/sql/connect.ts, which sends nothing more then.",
      },
    ),
  },
} satisfies Deno.lint.Plugin;
