/**
 * CONTRIBUTING.md's recipes, followed to the letter in a copy of the project: an event, a table and a consumer are added,
 * everything is checked, and the new consumer is seen at work.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { type Step, stepsOf, withInsertion } from "./support/recipe_steps.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const RECIPES = ["Add an event", "Add a migration", "Add a consumer"];
/** What is no part of the project, or is made anew. */
const SKIPPED = new Set([".git", ".orderflow", ".env", "coverage", "dist", "node_modules"]);
const CHECKS = "deno task ok";
/** How long one command may take, in milliseconds: all checks anew, on a machine that does much else. */
const RUN_MS = 600_000;
/** Shows the consumer of the recipes at work, where there is one. */
const AT_WORK = "specs/testdata/new_consumer.ts";

Deno.test("an event, a table and a consumer that are added as CONTRIBUTING.md says pass all checks and work", async () => {
  await using copy = await copyOfProject();
  const before = await readTexts(copy.path);
  const markdown = await Deno.readTextFile(join(copy.path, "CONTRIBUTING.md"));
  const steps = RECIPES.flatMap((heading) => stepsOf(markdown, heading));
  const { commands, written } = await follow(steps, copy.path);

  const named = steps.flatMap((step) => step.kind === "run" ? [] : [step.path]);
  const changed = changes(before, await readTexts(copy.path));
  assertEquals(changed, [...new Set([...named, ...written])].toSorted(), "files that have changed");

  // Once, at the end, instead of behind each recipe: all checks, and the tests that they name.
  const tests = commands.filter((command) => command !== CHECKS).flatMap((command) => {
    assert(
      command.startsWith("deno test -P "),
      `CONTRIBUTING.md says to run \`${command}\`, which is none of ours`,
    );
    return command.split(" ").slice(3);
  });
  const results = await Promise.allSettled([
    deno(copy.path, "task", "ok"),
    deno(copy.path, "test", "-P", "--no-check", "--parallel", ...new Set(tests), AT_WORK),
  ]);
  assertEquals(results.flatMap((result) => result.status === "rejected" ? [String(result.reason)] : []), []);
});

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

/**
 * Does what the steps say, and what is to be run as far as it writes files. Answers with the commands that are left, and
 * with the files that `deno task generate` wrote.
 */
async function follow(
  steps: readonly Step[],
  project: string,
): Promise<{ readonly commands: string[]; readonly written: string[] }> {
  const commands: string[] = [];
  const written: string[] = [];
  for (const step of steps) {
    if (step.kind !== "run") await write(step, project);
    for (const command of step.kind === "run" ? step.commands : []) {
      if (command === "deno fmt") await deno(project, "fmt", "-q");
      else if (command === "deno task generate") written.push(...await generate(project));
      else commands.push(command);
    }
  }
  return { commands, written };
}

async function write(step: Exclude<Step, { readonly kind: "run" }>, project: string): Promise<void> {
  const file = join(project, step.path);
  if (step.kind === "insert") {
    return await Deno.writeTextFile(file, withInsertion(await Deno.readTextFile(file), step));
  }
  await Deno.mkdir(dirname(file), { recursive: true });
  await Deno.writeTextFile(file, step.text, { createNew: true });
}

async function generate(project: string): Promise<string[]> {
  const before = await readTexts(project);
  await deno(project, "task", "-q", "generate");
  return changes(before, await readTexts(project));
}

/** Runs Deno in the copy, on embedded services. Errors: with all that it printed, unless it ends with 0 and in time. */
async function deno(project: string, ...args: string[]): Promise<void> {
  const { DATABASE_URL: _, AMQP_URL: __, ...env } = Deno.env.toObject();
  const late = AbortSignal.timeout(RUN_MS);
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: project,
    clearEnv: true,
    env: { ...env, NO_COLOR: "1", MODEL_RUNS: "10" }, // few histories: that the consumer is in them is the point
    signal: late,
  }).output();
  if (success) return;
  const text = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
  const ended = late.aborted ? `was stopped after ${RUN_MS} ms` : "failed";
  throw new Error(
    `In the copy, \`deno ${args.join(" ")}\` ${ended}:\n${text.replaceAll(/^Check .*\n/gm, "")}`,
  );
}
