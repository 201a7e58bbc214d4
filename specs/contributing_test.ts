/**
 * CONTRIBUTING.md's recipes, followed to the letter in a copy of the project: an event, a table and a consumer are added
 * at the price that it names, what they touch is checked, and the new consumer is seen at work.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { sectionOf } from "./support/markdown.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const RECIPES = ["Add an event", "Add a migration", "Add a consumer"];
/** What one more consumer may cost: files that are there already, and new ones. */
const MAX_CHANGED = 5;
const MAX_NEW = 3;
/** What is no part of the project, or is made anew. */
const SKIPPED = new Set([".git", ".orderflow", ".env", "coverage", "dist", "node_modules"]);
/** How long one command may take, in milliseconds, on a machine that does much else. */
const RUN_MS = 300_000;
/** Shows the consumer of the recipes at work, where there is one. */
const AT_WORK = "specs/testdata/new_consumer.ts";

Deno.test("an event, a table and a consumer that are added as CONTRIBUTING.md says cost eight files, pass the checks and work", async () => {
  await using copy = await copyOfProject();
  const markdown = await Deno.readTextFile(join(root, "CONTRIBUTING.md"));
  const steps = RECIPES.flatMap((heading) => stepsOf(markdown, heading));
  const edits = steps.filter((step) => step.kind !== "run");
  const paths = (
    kind: "insert" | "new",
  ) => [...new Set(edits.filter((edit) => edit.kind === kind).map(({ path }) => path))];
  const [changed, created] = [paths("insert"), paths("new")];
  assert(changed.length <= MAX_CHANGED && created.length <= MAX_NEW, [...changed, ...created].join(", "));
  const touched = [...changed, ...created];
  const sources = [...touched.filter((path) => path.endsWith(".ts")), AT_WORK];

  const before = await readTexts(copy.path);
  for (const edit of edits) await write(edit, copy.path);
  await deno(copy.path, "fmt", "-q", ...touched.filter((path) => /\.(ts|json|yml)$/.test(path)));
  const byHand = changes(before, await readTexts(copy.path));
  assertEquals(byHand, touched.toSorted(), "files that have changed");

  await deno(copy.path, "task", "-q", "generate");
  const tests = testsOf(steps);
  const filtered = tests.filter((args) => args.some((arg) => arg.startsWith("-")));
  const whole = tests.filter((args) => !filtered.includes(args)).flat();
  await allDone([
    deno(copy.path, "check", ...sources),
    deno(copy.path, "lint", ...sources),
    ...[...filtered, [...whole, AT_WORK]].map((args) => deno(copy.path, "test", "-P", "--no-check", ...args)),
  ]);
});

/** The arguments of each test that is to be run. What else is: all checks and formats, of which this does its part. */
function testsOf(steps: readonly Step[]): string[][] {
  const commands = steps.flatMap((step) => step.kind === "run" ? step.commands : []);
  const others = ["deno task generate", "deno fmt", "deno task ok"];
  return commands.filter((command) => !others.includes(command)).map((command) => {
    assert(
      command.startsWith("deno test -P "),
      `CONTRIBUTING.md says to run \`${command}\`, which is none of ours`,
    );
    return command.split(" ").slice(3);
  });
}

/** Waits for all. Errors: with what each of those that failed says. */
async function allDone(running: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(running);
  const failed = results.flatMap((result) => result.status === "rejected" ? [String(result.reason)] : []);
  assert(failed.length === 0, failed.join("\n"));
}

/** A copy of the project in a folder of its own, with the packages of the original. Disposing of it deletes it. */
async function copyOfProject(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.realPath(await Deno.makeTempDir({ prefix: "orderflow_recipes_" }));
  for await (const file of filesIn(root)) {
    await Deno.mkdir(dirname(join(path, file)), { recursive: true });
    await Deno.copyFile(join(root, file), join(path, file));
  }
  await Deno.symlink(join(root, "node_modules"), join(path, "node_modules"));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** The paths of the project's files, from its root. */
async function* filesIn(project: string, folder = project): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (SKIPPED.has(name)) continue;
    if (isDirectory) yield* filesIn(project, join(folder, name));
    else yield relative(project, join(folder, name));
  }
}

async function readTexts(project: string): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for await (const file of filesIn(project)) texts.set(file, await Deno.readTextFile(join(project, file)));
  return texts;
}

/** The files that are not what they were, new and missing ones included. */
function changes(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  const paths = new Set([...before.keys(), ...after.keys()]);
  return [...paths].filter((path) => before.get(path) !== after.get(path)).toSorted();
}

async function write(step: Exclude<Step, { readonly kind: "run" }>, project: string): Promise<void> {
  const file = join(project, step.path);
  if (step.kind === "insert") {
    return await Deno.writeTextFile(file, withInsertion(await Deno.readTextFile(file), step));
  }
  await Deno.mkdir(dirname(file), { recursive: true });
  await Deno.writeTextFile(file, step.text, { createNew: true });
}

/** Runs Deno in the copy, on embedded services. Errors: with all that it printed, unless it ends with 0 and in time. */
async function deno(project: string, ...args: string[]): Promise<void> {
  const { DATABASE_URL: _, AMQP_URL: __, ...env } = Deno.env.toObject();
  const late = AbortSignal.timeout(RUN_MS);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: project,
    clearEnv: true,
    env: { ...env, NO_COLOR: "1" },
    signal: late,
  }).output();
  if (success) return;
  const text = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
  const ended = late.aborted ? `was stopped after ${RUN_MS} ms` : "failed";
  const printed = text.replaceAll(/^Check .*\n/gm, "");
  throw new Error(`In the copy, \`deno ${args.join(" ")}\` ${ended}:\n${printed}`);
}

/** A file that is new, with all its text. */
interface NewFile {
  /** What kind of step it is. */
  readonly kind: "new";
  /** Its path from the project's root. */
  readonly path: string;
  /** Its text. */
  readonly text: string;
}

/** Lines that go right before or after a line of a file. */
interface Insertion {
  /** What kind of step it is. */
  readonly kind: "insert";
  /** The file's path from the project's root. */
  readonly path: string;
  /** On which side of the line. */
  readonly where: "before" | "after";
  /** What that line has, and no other of the file. */
  readonly at: string;
  /** The lines, each with its end. */
  readonly text: string;
}

/** Commands to be run in the project's root. */
interface Commands {
  /** What kind of step it is. */
  readonly kind: "run";
  /** One command each, without what a shell would have to read. */
  readonly commands: readonly string[];
}

/** One step of a recipe. */
type Step = NewFile | Insertion | Commands;

const CODE = "(?:`` (.+?) ``|`([^`]+)`)";
const NEW_FILE = new RegExp(`New file ${CODE}:$`);
const INSERTION = new RegExp(`In ${CODE}, (before|after) ${CODE}:$`);

/**
 * The steps under the heading of the second level `heading`, in their order.
 *
 * Errors: when the section is not there, or has a block that is no step.
 */
function stepsOf(markdown: string, heading: string): Step[] {
  const section = sectionOf(markdown, heading);
  if (section === "") throw new Error(`There is no section "${heading}"`);
  const steps: Step[] = [];
  let end = 0;
  for (const block of section.matchAll(/^```\w*\n([^]*?)^```$/gm)) {
    const paragraph = section.slice(end, block.index).trim().split(/\n\n/).at(-1) ?? "";
    steps.push(stepOf(paragraph.replaceAll("\n", " "), block[1] ?? ""));
    end = block.index + block[0].length;
  }
  return steps;
}

function stepOf(paragraph: string, text: string): Step {
  const created = NEW_FILE.exec(paragraph);
  if (created) return { kind: "new", path: created[1] ?? created[2] ?? "", text };
  const inserted = INSERTION.exec(paragraph);
  if (inserted) {
    const where = inserted[3] === "before" ? "before" : "after";
    const path = inserted[1] ?? inserted[2] ?? "";
    return { kind: "insert", path, where, at: inserted[4] ?? inserted[5] ?? "", text };
  }
  if (/(^|[ *])Run:$/.test(paragraph)) return { kind: "run", commands: text.trim().split("\n") };
  throw new Error(`This says neither where its block goes nor that it is to be run: "${paragraph}"`);
}

/**
 * The file's `text` with the lines of a step in it, as far indented as the line that they go beside.
 *
 * Errors: unless exactly one line has what the step names.
 */
function withInsertion(text: string, { path, where, at, text: inserted }: Insertion): string {
  const lines = text.split("\n");
  const found = lines.flatMap((line, i) => line.includes(at) ? [i] : []);
  const [index] = found;
  if (index === undefined || found.length > 1) {
    throw new Error(`${path} must have \`${at}\` in one line, and has it in ${found.length}`);
  }
  const indent = /^ */.exec(lines[index] ?? "")?.join() ?? "";
  const block = dedented(inserted.replace(/\n$/, "").split("\n")).map((line) => line && `${indent}${line}`);
  return lines.toSpliced(where === "before" ? index : index + 1, 0, ...block).join("\n");
}

/** The lines without the blanks that all of them begin with. */
function dedented(lines: readonly string[]): string[] {
  const widths = lines.filter((line) => line !== "").map((line) => line.search(/[^ ]/));
  return lines.map((line) => line.slice(Math.min(...widths)));
}

const recipe = (block: string) =>
  `# A document\n\n## Add it\n\n${block}\n\n## Another section\n\nRun:\n\n\`\`\`sh\nno\n\`\`\`\n`;
const insertion = (where: "before" | "after", at: string, text: string): Insertion => ({
  kind: "insert",
  path: "a.ts",
  where,
  at,
  text,
});

Deno.test("stepsOf() reads what the paragraph before each block says, and no further than the section", () => {
  const steps = stepsOf(
    recipe(
      "**One.** Why. New file\n`a/b.ts`:\n\n```ts\nx\n```\n\nIn `a.md`, after `` `c`, `d` ``:\n\n```text\n| c |\n```\n\n" +
        "**Last.** Run:\n\n```sh\ndeno fmt\ndeno task ok\n```",
    ),
    "Add it",
  );
  assertEquals(steps, [
    { kind: "new", path: "a/b.ts", text: "x\n" },
    { kind: "insert", path: "a.md", where: "after", at: "`c`, `d`", text: "| c |\n" },
    { kind: "run", commands: ["deno fmt", "deno task ok"] },
  ]);
});

Deno.test("stepsOf() refuses a block without a place, and a section that is not there", () => {
  assertThrows(() => stepsOf(recipe("Such as:\n\n```ts\nx\n```"), "Add it"), Error, "Such as:");
  assertThrows(() => stepsOf(recipe(""), "Add that"), Error, "Add that");
});

Deno.test("withInsertion() puts lines beside the one that has the text, as far indented as that is", () => {
  assertEquals(withInsertion("a\n  b\nc\n", insertion("before", "b", "x\n  y\n")), "a\n  x\n    y\n  b\nc\n");
  assertEquals(
    withInsertion("a\n  b\nc\n", insertion("after", "b", "    x\n\n    y\n")),
    "a\n  b\n  x\n\n  y\nc\n",
  );
});

Deno.test("withInsertion() refuses a text that no line has, or more than one", () => {
  assertThrows(() => withInsertion("a\nb\n", insertion("after", "c", "x\n")), Error, "has it in 0");
  assertThrows(() => withInsertion("ab\nb\n", insertion("after", "b", "x\n")), Error, "has it in 2");
});
