// CONTRIBUTING.md's recipes, followed to the letter in a copy of the project: an event, a table and a consumer are added
// at the price that it names, what they touch is checked, and the new consumer is seen at work.

import { assert } from "@std/assert";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type FencedBlock, fencedBlocks, projectFiles, sectionOf } from "./support/markdown.ts";
import { runDeno } from "./support/run_task.ts";
import { RUN_SERVER_VARIABLE } from "./support/test_schema.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const RECIPES = ["Add an event", "Add a migration", "Add a consumer"];
/** What one more consumer may cost: files that are there already, and new ones. */
const MAX_CHANGED = 5;
const MAX_NEW = 3;
/** How long one command may take, in milliseconds, on a machine that does much else. */
const RUN_MS = 300_000;
/** Shows the consumer of the recipes at work, where there is one. */
const AT_WORK = "specs/testdata/new_consumer.ts";

Deno.test("an event, a table and a consumer that are added as CONTRIBUTING.md says cost eight files, pass the checks and work", async () => {
  await using copy = await copyOfProject();
  const markdown = await Deno.readTextFile(join(root, "CONTRIBUTING.md"));
  const steps = RECIPES.flatMap((heading) => fencedBlocks(sectionOf(markdown, heading))).map(stepOf);
  const edits = steps.filter((step) => typeof step !== "string");
  const pathsOf = (some: readonly Edit[]) => [...new Set(some.map(({ path }) => path))];
  const changed = pathsOf(edits.filter(({ at }) => at !== undefined));
  const created = pathsOf(edits.filter(({ at }) => at === undefined));
  const touched = [...changed, ...created];
  assert(changed.length <= MAX_CHANGED && created.length <= MAX_NEW, touched.join(", "));
  const sources = [...touched.filter((path) => path.endsWith(".ts")), AT_WORK];

  for (const edit of edits) await write(edit, copy.path);
  await deno(copy.path, "fmt", "-q", ...touched.filter((path) => /\.(ts|json|yml)$/.test(path)));

  await deno(copy.path, "task", "-q", "generate");
  const tests = testsIn(steps.filter((step) => typeof step === "string").join(""));
  const filtered = tests.filter((args) => args.some((arg) => arg.startsWith("-")));
  const whole = tests.filter((args) => !filtered.includes(args)).flat();
  await allDone([
    deno(copy.path, "check", ...sources),
    deno(copy.path, "lint", ...sources),
    ...[...filtered, [...whole, AT_WORK]].map((args) => deno(copy.path, "test", "-P", "--no-check", ...args)),
  ]);
});

/** The arguments of each test that is to be run. What else is: all checks and formats, of which this does its part. */
function testsIn(commands: string): string[][] {
  const others = ["deno task generate", "deno fmt", "deno task ok"];
  return commands.trim().split("\n").filter((command) => !others.includes(command)).map((command) => {
    assert(command.startsWith("deno test -P "), `CONTRIBUTING.md says to run \`${command}\``);
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
  for (const file of projectFiles(root)) {
    await Deno.mkdir(dirname(join(path, file)), { recursive: true });
    await Deno.copyFile(join(root, file), join(path, file));
  }
  await Deno.symlink(join(root, "node_modules"), join(path, "node_modules"));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

async function write({ path, where, at, text }: Edit, project: string): Promise<void> {
  const file = join(project, path);
  if (at !== undefined) {
    const lines = (await Deno.readTextFile(file)).split("\n");
    const found = lines.flatMap((line, i) => line.includes(at) ? [i] : []);
    const [index = 0] = found;
    assert(found.length === 1, `${path} must have \`${at}\` in one line, and has it in ${found.length}`);
    const indent = /^ */.exec(lines[index] ?? "")?.[0] ?? "";
    const block = text.trimEnd().split("\n").map((line) => line && `${indent}${line}`);
    const inserted = lines.toSpliced(where === "before" ? index : index + 1, 0, ...block);
    return await Deno.writeTextFile(file, inserted.join("\n"));
  }
  await Deno.mkdir(dirname(file), { recursive: true });
  await Deno.writeTextFile(file, text, { createNew: true });
}

/**
 * Runs Deno in the copy, on embedded services of its own: a run's database has not the migration that is added. Errors:
 * with all that it printed, unless it ends with 0 and in time.
 */
async function deno(project: string, ...args: string[]): Promise<void> {
  const given = ["DATABASE_URL", "AMQP_URL", RUN_SERVER_VARIABLE];
  const env = Object.fromEntries(
    Object.entries(Deno.env.toObject()).filter(([name]) => !given.includes(name)),
  );
  const signal = AbortSignal.timeout(RUN_MS);
  const { code, out, err } = await runDeno(args, { cwd: project, clearEnv: true, env, signal });
  if (code === 0) return;
  const ended = signal.aborted ? `was stopped after ${RUN_MS} ms` : "failed";
  const printed = `${out}\n${err}`.replaceAll(/^Check .*\n/gm, "");
  throw new Error(`In the copy, \`deno ${args.join(" ")}\` ${ended}:\n${printed}`);
}

/** A new file, or lines before or after the one line that has `at`, as far indented as that. */
interface Edit {
  readonly path: string;
  readonly where?: string | undefined;
  readonly at?: string | undefined;
  readonly text: string;
}

const EDIT = /(?:New file|In) `(?<path>[^`]+)`(?:, (?<where>before|after) `(?<at>[^`]+)`)?:$/;

/** What a block says is to be done, by the paragraph before it: an edit, or commands. Errors: when that does not say it. */
function stepOf({ paragraph, text }: FencedBlock): Edit | string {
  const { path, where, at } = EDIT.exec(paragraph)?.groups ?? {};
  if (path !== undefined) return { path, where, at, text };
  assert(
    /(^|[ *])Run:$/.test(paragraph),
    `This says neither where its block goes nor that it is to be run: "${paragraph}"`,
  );
  return text;
}
