// The lessons do what they say, and so do the README and the manual: their commands are run, in order, on one system as
// `deno task dev` brings it up.

import { assert, assertEquals } from "@std/assert";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { QUEUES } from "../shared/topology.ts";
import { freePort } from "../workers/dev/services.ts";
import { type DevHome, devHome, startDev } from "../workers/dev/testdata/dev_run.ts";
import { eventually } from "./support/eventually.ts";
import { callApi } from "./support/http.ts";
import { fencedBlocks, headingsOf, linksOf, sectionOf } from "./support/markdown.ts";
import { withoutProgress } from "./support/run_task.ts";

const HEADINGS = [
  "The idea",
  "Run it",
  "Break it",
  "What you should see",
  "Why",
  "Where in the code",
  "Question",
];
/** What is pasted from other documents, by their sections. */
const OTHERS = [
  ["README.md", "What you should see"],
  ["specs/using.md", "By hand"],
] as const;
/** How the system is started for lessons 11 and 12; the others do not mind. */
const STARTED_WITH = {
  OTEL_DENO: "true",
  OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
  OTEL_BSP_SCHEDULE_DELAY: "200",
  PAYMENT_PROVIDER_LATENCY_MS: "50",
  PAYMENT_PROVIDER_CONCURRENCY: "4",
};
/** How a lesson says that it needs the embedded broker, and why. */
const EMBEDDED_ONLY = /^<!-- embedded broker only: (.+) -->$/m;

const root = new URL("../", import.meta.url);
const folder = new URL("lessons/", import.meta.url);
const readFrom = (base: URL) => (name: string) => Deno.readTextFileSync(new URL(name, base));
const read = readFrom(folder);
const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
const lessons = names.filter((name) => /^\d\d-.*\.md$/.test(name)).toSorted();
const naive = [...Deno.readDirSync(new URL("naive/", folder))].map(({ name }) => read(`naive/${name}`));

Deno.test("every lesson is in the index, and has the same headings", () => {
  const index = read("README.md");
  const links = linksOf(index).filter((link) => /^\d\d-/.test(link));
  assertEquals(links, lessons);
  for (const [i, name] of lessons.entries()) {
    const lesson = read(name);
    const [title = ""] = headingsOf(lesson, 1);
    assert(title.startsWith(`${i + 1}. `), `${name} is lesson ${i + 1}, not "${title}"`);
    assert(index.includes(`[${title.replace(/^\d+\. /, "")}](${name})`), `the index has no "${title}"`);
    assertEquals(headingsOf(lesson, 2).slice(0, HEADINGS.length), HEADINGS, name);
    assert(
      /<details>\n<summary>Answer<\/summary>\n\n[^]+\n<\/details>/.test(lesson),
      `${name} has no answer`,
    );
    assert(stepsOf(lesson).length > 0, `${name} has no commands`);
  }
});

Deno.test("what a lesson shows of the naive scripts is in them", () => {
  const lines = new Set(naive.flatMap((text) => text.split("\n")).map((line) => line.trim()));
  for (const name of lessons) {
    for (const { info, text } of fencedBlocks(read(name))) {
      if (info !== "ts") continue;
      const others = text.split("\n").map((line) => line.trim()).filter((line) => !lines.has(line));
      assertEquals(others.filter((line) => line !== ""), [], name);
    }
  }
});

Deno.test("the commands of every lesson do what it says", async (t) => {
  await using home = await devHome();
  const spansUrl = `http://127.0.0.1:${freePort("127.0.0.1")}`;
  await using run = startDev(home, { ...STARTED_WITH, OTEL_EXPORTER_OTLP_ENDPOINT: spansUrl });
  const [, url = ""] = await run.printed(/OrderFlow is ready[^]* API +(\S+)\n[^]*Stop it/);
  const env = { ...await readerEnvironment(home), OTEL_EXPORTER_OTLP_ENDPOINT: spansUrl };
  const step = (name: string, text: string, ignore = false) =>
    t.step({
      name,
      ignore,
      async fn() {
        await follow(text, env, home);
        await leftAsFound(url);
      },
    });
  for (const [document, section] of OTHERS) {
    const text = sectionOf(readFrom(root)(document), section).replaceAll("http://127.0.0.1:8000", url);
    await step(`${document}: ${section}`, text);
  }
  for (const name of lessons) {
    const lesson = read(name);
    const [, reason] = EMBEDDED_ONLY.exec(lesson) ?? [];
    if (reason === undefined) await step(name, lesson);
    else await step(`${name} (embedded broker only: ${reason})`, lesson, Boolean(Deno.env.get("AMQP_URL")));
  }
  run.process.kill("SIGTERM");
  assertEquals(await run.ended(), 0);
});

/** Runs the steps of a lesson and compares what they print. Where the broker is shared the queues have names of the test's own. */
async function follow(text: string, env: Record<string, string>, home: DevHome): Promise<void> {
  const steps = stepsOf(text);
  const names = Object.values(QUEUES).map(({ name, env }) => [name, home.env[env] ?? name] as const);
  const toOwn = (text: string) => names.reduce((text, [name, own]) => text.replaceAll(name, own), text);
  const toUsual = (text: string) => names.reduce((text, [name, own]) => text.replaceAll(own, name), text);
  const { printed, code, leftSome } = await runLesson(steps.map(({ commands }) => toOwn(commands)), env);
  for (const [i, { commands, expected }] of steps.entries()) {
    // Advice names the home where it is another one than a reader's.
    const output = toUsual(printed[i] ?? "").replaceAll(`ORDERFLOW_HOME=${env.ORDERFLOW_HOME} `, "");
    const isLast = i >= printed.length - 1;
    assert(!isLast || code === 0 && i < printed.length, `Code ${code} after:\n\n${commands}\n${output}`);
    const isRight = expected === null || isAsExpected(output, expected);
    assert(isRight, `Expected of:\n\n${commands}\n${expected?.text}\nbut it printed:\n\n${output}`);
  }
  assertEquals(leftSome, false, "the lesson left processes behind");
}

/**
 * A reader's terminal: this very `deno` in front of the path, a `curl` that fails where the answer is an error, and the
 * services of the test, whatever `.orderflow` has.
 */
async function readerEnvironment(home: DevHome): Promise<Record<string, string>> {
  const bin = join(home.folder, "bin");
  await Deno.mkdir(bin);
  await Deno.symlink(Deno.execPath(), join(bin, "deno"));
  const curl = `PATH=\${PATH#*${delimiter}} exec curl --fail-with-body -sS "$@"`;
  await Deno.writeTextFile(join(bin, "curl"), `#!/bin/sh\n${curl}\n`, { mode: 0o755 });
  const urls = await Deno.readTextFile(join(home.folder, "env"));
  return {
    ...home.env,
    ...Object.fromEntries([...urls.matchAll(/^(\w+)='(.*)'$/gm)].map(([, name, value]) => [name, value])),
    PATH: [bin, Deno.env.get("PATH")].join(delimiter),
  };
}

/** Nothing is armed, no dead letter is open, everybody is there, no order is under way: as the next lesson takes it. */
async function leftAsFound(url: string): Promise<void> {
  assertEquals((await callApi("GET", `${url}/ops/faults`)).armed, [], "a fault is left armed");
  const { deadLetters } = await callApi("GET", `${url}/ops/dead-letters?state=OPEN`);
  assertEquals(deadLetters, [], "a dead letter is left open");
  await eventually("everything to be ready", () => callApi("GET", `${url}/readyz`));
  await eventually("a clean audit", async () => (await callApi("GET", `${url}/ops/audit?graceSeconds=0`)).ok);
}

/** Commands of a lesson, and what it says that they print; null where it does not say. */
interface LessonStep {
  readonly commands: string;
  readonly expected: { readonly text: string; readonly unordered: boolean } | null;
}

/** The `sh` blocks of a lesson, each with the `text` block right behind it. */
function stepsOf(lesson: string): LessonStep[] {
  const blocks = fencedBlocks(lesson);
  return blocks.flatMap(({ info, text: commands }, i): LessonStep[] => {
    if (info !== "sh") return [];
    const next = blocks[i + 1];
    if (next?.paragraph !== "" || !/^text\b/.test(next.info)) return [{ commands, expected: null }];
    return [{ commands, expected: { text: next.text, unordered: next.info === "text unordered" } }];
  });
}

/** How long a lesson may run, in milliseconds. */
const LESSON_LIMIT_MS = 150_000;
/** Stands before the output of each step: the record separator of ASCII. */
const SEPARATOR = "\x1e";

/**
 * Runs the steps in the project's root, in one `sh` that stops at the first command that fails, with errors in between
 * the output, as a terminal shows them. Answers with what each step has printed, the code of the shell, and whether
 * processes outlived it: what is still running after it, or after 150 s, is killed.
 */
async function runLesson(steps: readonly string[], env: Readonly<Record<string, string>>) {
  const script = steps.map((commands) => `printf '\\036'\n${commands}`).join("");
  const child = new Deno.Command("sh", {
    args: ["-e", "-c", `exec 2>&1\n${script}`],
    cwd: fileURLToPath(root),
    env: { ...env },
    detached: true, // a process group of its own: whoever is left can be found
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const late = setTimeout(() => killGroup(child.pid), LESSON_LIMIT_MS);
  const output = new Response(child.stdout).text();
  const { code } = await child.status;
  clearTimeout(late);
  const leftSome = killGroup(child.pid);
  const [, ...printed] = (await output).split(SEPARATOR);
  return { printed, code, leftSome };
}

/** Kills whoever is in the process group; answers whether anybody was. */
function killGroup(id: number): boolean {
  try {
    Deno.kill(-id, "SIGKILL"); // kill(2): a negative id is a group's
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** What differs from run to run, and what stands for it when two lines are compared. */
const VARYING: readonly (readonly [RegExp, string])[] = [
  [/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "<id>"],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "<time>"],
  [/\d\d:\d\d:\d\d\.\d{3}/g, "<time of day>"],
  [/^ *\d+\.\d \+ +\d+\.\d(?= ms )/gm, "<time and duration>"],
  [/\d+(?:\.\d+)?(?= m?s\b| %|(?: orders)?\/s\b)/g, "<measure>"],
];

/**
 * Whether `actual` is what `expected` says, line by line. `…` stands for anything within a line, and alone on a line,
 * where the order counts, for any number of lines. How far long work was is no part of it.
 */
function isAsExpected(actual: string, { text, unordered }: NonNullable<LessonStep["expected"]>): boolean {
  const left = linesOf(withoutProgress(actual));
  if (!unordered) return matchInOrder(left, linesOf(text));
  const all = linesOf(text).every((one) => {
    const found = left.findIndex((line) => patternOf(one).test(line));
    if (found >= 0) left.splice(found, 1);
    return found >= 0;
  });
  return all && left.length === 0;
}

function matchInOrder(lines: readonly string[], [first, ...rest]: readonly string[]): boolean {
  if (first === undefined) return lines.length === 0;
  if (first === "…") return [...lines, ""].some((_, i) => matchInOrder(lines.slice(i), rest));
  const [line, ...others] = lines;
  return line !== undefined && patternOf(first).test(line) && matchInOrder(others, rest);
}

function patternOf(line: string): RegExp {
  return new RegExp(`^${RegExp.escape(line).replaceAll(RegExp.escape("…"), ".*")}$`);
}

function linesOf(text: string): string[] {
  const alike = VARYING.reduce((text, [pattern, name]) => text.replaceAll(pattern, name), text.trimEnd());
  return alike === "" ? [] : alike.split("\n").map((line) => line.trimEnd());
}

Deno.test("what a lesson prints is compared line by line: only ids, times and measures may differ, and what … stands for", () => {
  const order = "order 01a20441-ae89-7222-9369-984124b51d7d is PENDING at 05:12:00.123\n";
  const another = "order 01a20441-ae89-7222-9369-000000000000 is PENDING at 23:59:59.999";
  const slowly = "[#########---------------------]  31 %  310 of 1000 orders, 62/s, 11 s left\n";
  const cases: [wanted: boolean, actual: string, text: string, unordered?: boolean][] = [
    [true, another, order],
    [true, slowly + another, order],
    [false, another.replace("PENDING", "PAID"), order],
    [false, "", order],
    [true, "964 orders/s in 1.25 s", "1200 orders/s in 2 s"],
    [false, "964 orders", "963 orders"],
    [true, "took 12 ms in all", "took … ms in all"],
    [false, "axb", "a.b"],
    [true, "1\n2\n3", "1\n…\n3"],
    [true, "1\n3", "1\n…\n3"],
    [false, "1\n2", "1\n…\n3"],
    [true, "b\na", "a\nb", true],
    [false, "b\na\na", "a\nb", true],
    [false, "b", "a\nb", true],
  ];
  for (const [wanted, actual, text, unordered = false] of cases) {
    assertEquals(isAsExpected(actual, { text, unordered }), wanted, `${actual} as ${text}`);
  }
});

Deno.test("a lesson ends with its first command that fails, and what it leaves running is told and killed", async () => {
  const steps = ["sleep 1000 &\necho one\n", "echo two >&2\nfalse\necho three\n", "echo four\n"];
  assertEquals(await runLesson(steps, {}), { printed: ["one\n", "two\n"], code: 1, leftSome: true });
});
