/**
 * The lessons do what they say, and so do the README and the manual: their commands are run, in order, on one system as
 * `deno task dev` brings it up.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { delimiter, join } from "node:path";
import { z } from "zod";
import { QUEUES } from "../shared/topology.ts";
import { freePort } from "../workers/dev/services.ts";
import { type DevHome, devHome, startDev } from "../workers/dev/testdata/dev_run.ts";
import { eventually } from "./support/eventually.ts";
import { isAsExpected } from "./support/expected_output.ts";
import { fencedBlocks, headingsOf, linksOf, sectionOf } from "./support/markdown.ts";
import { type LessonStep, runLesson, stepsOf } from "./support/run_lesson.ts";

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

Deno.test("what is pasted works in every shell: no comments and no bare question marks", () => {
  const inSpecs = [...Deno.readDirSync(new URL("specs", root))].map(({ name }) => `specs/${name}`);
  const documents = [
    "README.md",
    "CONTRIBUTING.md",
    ...inSpecs.filter((path) => path.endsWith(".md")),
    "specs/monitoring/README.md",
    ...names.filter((name) => name.endsWith(".md")).map((name) => `specs/lessons/${name}`),
  ];
  for (const name of documents) {
    const text = readFrom(root)(name);
    for (const { info, text: commands } of fencedBlocks(text)) {
      if (info !== "sh") continue;
      const bare = commands.replaceAll(/"[^"]*"|'[^']*'/g, "''");
      assertEquals(/(^|\s)#.*|\S*[^$]\?.*/m.exec(bare)?.[0], undefined, name);
    }
  }
});

Deno.test("the commands of every lesson do what it says", async (t) => {
  await using home = await devHome();
  const spansUrl = `http://127.0.0.1:${freePort("127.0.0.1")}`;
  await using run = startDev(home, { ...STARTED_WITH, OTEL_EXPORTER_OTLP_ENDPOINT: spansUrl });
  const [, url = ""] = await run.printed(/OrderFlow is ready[^]* API +(\S+)\n[^]*Stop it/);
  const env = { ...await readerEnvironment(home), OTEL_EXPORTER_OTLP_ENDPOINT: spansUrl };
  for (const [document, section] of OTHERS) {
    await t.step(`${document}: ${section}`, async () => {
      const text = sectionOf(readFrom(root)(document), section).replaceAll("http://127.0.0.1:8000", url);
      await follow(stepsOf(text), env, ownNames(home));
      await leftAsFound(url);
    });
  }
  for (const name of lessons) {
    const lesson = read(name);
    const [, reason] = EMBEDDED_ONLY.exec(lesson) ?? [];
    await t.step({
      name: reason === undefined ? name : `${name} (embedded broker only: ${reason})`,
      ignore: reason !== undefined && Boolean(Deno.env.get("AMQP_URL")),
      fn: async () => {
        await follow(stepsOf(lesson), env, ownNames(home));
        await leftAsFound(url);
      },
    });
  }
  run.process.kill("SIGTERM");
  assertEquals(await run.ended(), 0);
});

/** Runs the steps of a lesson and compares what they print. */
async function follow(
  steps: readonly LessonStep[],
  env: Record<string, string>,
  names: ReadonlyMap<string, string>,
): Promise<void> {
  const own = steps.map((step) => ({ ...step, commands: renamed(step.commands, names) }));
  const { printed, code, leftSome } = await runLesson(own, env);
  const back = new Map([...names].map(([name, ownName]) => [ownName, name]));
  for (const [i, { commands, expected }] of steps.entries()) {
    // Advice names the home where it is another one than a reader's.
    const output = renamed(printed[i] ?? "", back).replaceAll(`ORDERFLOW_HOME=${env.ORDERFLOW_HOME} `, "");
    const isLast = i >= printed.length - 1;
    assert(!isLast || code === 0 && i < printed.length, `Code ${code} after:\n\n${commands}\n${output}`);
    if (expected === null) continue;
    assert(
      isAsExpected(output, expected.text, expected),
      `Expected of:\n\n${commands}\n${expected.text}\nbut it printed:\n\n${output}`,
    );
  }
  assertEquals(leftSome, false, "the lesson left processes behind");
}

/** Where the broker is shared the queues have names of the test's own: those in the lessons, and what is there for them. */
function ownNames({ env }: DevHome): Map<string, string> {
  return new Map(
    Object.values(QUEUES).flatMap(({ name, env: variable }) => {
      const own = env[variable];
      return own === undefined ? [] : [[name, own]];
    }),
  );
}

function renamed(text: string, names: ReadonlyMap<string, string>): string {
  return [...names].reduce((text, [from, to]) => text.replaceAll(from, to), text);
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

const faultsSchema = z.object({ armed: z.array(z.unknown()) });
const lettersSchema = z.object({ deadLetters: z.array(z.unknown()) });
const auditSchema = z.object({ ok: z.boolean() });

/** Nothing is armed, no dead letter is open, everybody is there, no order is under way: as the next lesson takes it. */
async function leftAsFound(url: string): Promise<void> {
  assertEquals(faultsSchema.parse(await get(`${url}/ops/faults`)).armed, [], "a fault is left armed");
  const { deadLetters } = lettersSchema.parse(await get(`${url}/ops/dead-letters?state=OPEN`));
  assertEquals(deadLetters, [], "a dead letter is left open");
  await eventually("everything to be ready", async () => await get(`${url}/readyz`));
  await eventually("a clean audit", async () => {
    return auditSchema.parse(await get(`${url}/ops/audit?graceSeconds=0`)).ok;
  });
}

async function get(url: string): Promise<unknown> {
  const response = await fetch(url);
  const body = await response.json();
  assert(response.ok, `${url}: ${response.status} ${JSON.stringify(body)}`);
  return body;
}
