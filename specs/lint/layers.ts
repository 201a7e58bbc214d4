/**
 * A lint plugin that holds the project's own rules: who may import whom, and a few habits that the recommended
 * rules do not know. Run by `deno lint`; each rule can be silenced for a line with
 * `// deno-lint-ignore layers/<rule>` and a reason.
 *
 * @module
 */
import { dirname, join, relative } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { QUEUES } from "../../shared/topology.ts";

/** What is wrong, and what to do instead. */
export interface Problem {
  /** What is wrong. */
  message: string;
  /** What to do instead. */
  hint: string;
}

type Node = Deno.lint.Node;

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Each module consumes a queue, which is named after it. */
const modules = [...new Set(Object.values(QUEUES).map(({ name }) => name.split(".", 1).join()))];
const folders = ["api", "workers", "shared", "ui", "specs"];
const sqlForEveryModule = ["connect", "inbox", "outbox"];
const grabBag = /(^|_)(utils?|helpers?|common|misc)$/;

/** The file's path from the project's top, with slashes: `workers/orders/settle.ts`. */
export function projectPath(filename: string): string {
  return filename.startsWith(root) ? relative(root, filename) : filename;
}

/** Whether the file is a test or serves tests only. */
function isTestCode(path: string): boolean {
  return /_test\.tsx?$/.test(path) || path.startsWith("specs/") || path.includes("/testdata/");
}

/** The module that owns a file: by its folder (`workers/orders/…`) or its script's name (`workers/orders_….ts`). */
function owner(path: string): string | undefined {
  return modules.find((name) => path.startsWith(`workers/${name}/`) || path.startsWith(`workers/${name}_`));
}

/** Decides whether `from` may import `to`; both are project paths of files. */
export function importProblem(from: string, to: string): Problem | undefined {
  if (isTestCode(from)) return undefined;
  return folderProblem(from, to) ?? moduleProblem(from, to);
}

/** `shared` stands alone, the other folders know only `shared`, and nobody but tests knows `specs`. */
function folderProblem(from: string, to: string): Problem | undefined {
  const [source, target] = [from.split("/")[0] ?? "", to.split("/")[0] ?? ""];
  if (source === target || target === "shared") return undefined;
  if (!folders.includes(source) || !folders.includes(target)) return undefined;
  if (from === "api/ui_routes.ts" && target === "ui") return undefined;
  const hint = source === "shared"
    ? "Pass in what is needed as a parameter, or move the imported code to shared/."
    : target === "specs"
    ? "Move the code out of specs/, which holds what only tests use."
    : target === "ui"
    ? "Only api/ui_routes.ts may import the page: go through it, or move what both need to shared/."
    : "Move what both need to shared/, or let them talk through events and tables.";
  return { message: `${source}/ must not import ${target}/ (${to})`, hint };
}

/** A module's code imports no other module's, and no other module's tables. */
function moduleProblem(from: string, to: string): Problem | undefined {
  const [self, other] = [owner(from), owner(to)];
  if (!self) return undefined;
  if (other && other !== self) {
    return {
      message: `the ${self} module must not import the ${other} module (${to})`,
      hint: "React to the other module's events; what both need belongs to shared/.",
    };
  }
  const sql = /^shared\/sql\/(.+)\.ts$/.exec(to)?.[1];
  const isHandler = from.startsWith(`workers/${self}/`);
  if (!isHandler || sql === undefined || sql === self || sqlForEveryModule.includes(sql)) return undefined;
  return {
    message: `the ${self} module must not use ${to}: it owns shared/sql/${self}.ts only`,
    hint: "Carry what is needed in the event, or ask for it with an event that the table's owner answers. " +
      `Allowed besides its own: ${sqlForEveryModule.map((name) => `${name}.ts`).join(", ")}.`,
  };
}

/** Whether any folder of the path, or the file, is named after a grab-bag such as `utils`. */
export function grabBagName(path: string): string | undefined {
  return path.split("/").find((part) => grabBag.test(part.replace(/(_test)?\.\w+$/, "")));
}

const imports: Deno.lint.Rule = {
  create(context) {
    const from = projectPath(context.filename);
    const check = (node: Node, source: Node | null) => {
      if (source?.type !== "Literal" || typeof source.value !== "string") return;
      if (!source.value.startsWith(".")) return;
      const problem = importProblem(from, join(dirname(from), source.value));
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

const noBarrels: Deno.lint.Rule = {
  create(context) {
    const isReExport = (node: Node) =>
      node.type === "ExportAllDeclaration" ||
      (node.type === "ExportNamedDeclaration" && node.declaration === null);
    return {
      Program(program) {
        const statements = program.body.filter((node) => node.type !== "ImportDeclaration");
        if (statements.length === 0 || !statements.every(isReExport)) return;
        context.report({
          node: statements[0]!,
          message: "this file only passes on what other files export",
          hint: "Delete it, and import each name from the file that declares it.",
        });
      },
    };
  },
};

const fileNames: Deno.lint.Rule = {
  create(context) {
    const name = grabBagName(projectPath(context.filename));
    if (name === undefined) return {};
    const message = `"${name}" does not say what the file holds`;
    const hint = "Name it after what it does, or move its functions to the files that use them.";
    return {
      Program: (node) => context.report({ range: [node.range[0], node.range[0] + 1], message, hint }),
    };
  },
};

const environment: Deno.lint.Rule = {
  create(context) {
    const path = projectPath(context.filename);
    const mayRead = path === "shared/process/config.ts" || path.startsWith("workers/dev/") ||
      path.startsWith("workers/tools/") || path.endsWith("_main.ts") || isTestCode(path);
    if (mayRead) return {};
    const report = (node: Node) =>
      context.report({
        node,
        message: "the environment is read here",
        hint:
          "Take the value as a parameter: shared/process/config.ts parses the environment once, at the start.",
      });
    return {
      'MemberExpression[object.name="Deno"][property.name="env"]': report,
      'MemberExpression[object.name="process"][property.name="env"]': report,
      'VariableDeclarator[init.name="Deno"] Property[key.name="env"]': report,
    };
  },
};

const unsafeSql: Deno.lint.Rule = {
  create(context) {
    const path = projectPath(context.filename);
    if (path === "shared/sql/migrate.ts" || isTestCode(path)) return {};
    return {
      'MemberExpression[property.name="unsafe"]': (node: Node) =>
        context.report({
          node,
          message: "sql.unsafe() runs text that may hold outside values",
          hint: "Use a template: sql`… ${value} …`, and sql(name) for an identifier.",
        }),
    };
  },
};

const bareBegin: Deno.lint.Rule = {
  create(context) {
    const path = projectPath(context.filename);
    if (path === "shared/sql/connect.ts" || isTestCode(path)) return {};
    return {
      'CallExpression[callee.property.name="begin"]': (node: Node) =>
        context.report({
          node,
          message: "sql.begin() lets a transaction run on when its connection is lost",
          hint: "Use transaction(sql, work) of shared/sql/connect.ts, which sends nothing more then.",
        }),
    };
  },
};

const doubleCast: Deno.lint.Rule = {
  create: (context) => ({
    TSAsExpression(node) {
      const inner = node.expression;
      if (inner.type !== "TSAsExpression" || inner.typeAnnotation.type !== "TSUnknownKeyword") return;
      context.report({
        node,
        message: "`as unknown as` tells the compiler something that it can see is wrong",
        hint: "Parse the value with zod, narrow it with a check, or repair the type it comes from.",
      });
    },
  }),
};

const docstrings: Deno.lint.Rule = {
  create(context) {
    if (/_test\.tsx?$/.test(projectPath(context.filename))) return {};
    const check = (node: Node) => {
      const comment = context.sourceCode.getCommentsBefore(node).at(-1);
      const isDocstring = comment?.type === "Block" && comment.value.startsWith("*") &&
        !comment.value.includes("@module") &&
        context.sourceCode.text.slice(comment.range[1], node.range[0]).trim() === "";
      if (isDocstring) return;
      context.report({
        node,
        message: "an export has no docstring",
        hint:
          "Say right above it, in /** … */, what it promises, its units and shapes, the errors it throws.",
      });
    };
    return {
      ExportNamedDeclaration(node) {
        if (node.declaration !== null && !isOverloadBody(node)) check(node);
      },
      ExportDefaultDeclaration: check,
    };
  },
};

/** Whether the node is the body after overload signatures: those carry the docstrings. */
function isOverloadBody(node: Deno.lint.ExportNamedDeclaration): boolean {
  if (node.declaration?.type !== "FunctionDeclaration" || node.parent.type !== "Program") return false;
  const name = node.declaration.id?.name;
  return node.parent.body.some((other) =>
    other.type === "ExportNamedDeclaration" && other.declaration?.type === "TSDeclareFunction" &&
    other.declaration.id?.name === name
  );
}

/** The plugin, named in `lint.plugins` of deno.json. */
export default {
  name: "layers",
  rules: {
    imports,
    "no-barrels": noBarrels,
    "file-names": fileNames,
    environment,
    "no-unsafe-sql": unsafeSql,
    "no-bare-begin": bareBegin,
    "no-double-cast": doubleCast,
    docstrings,
  },
} satisfies Deno.lint.Plugin;
