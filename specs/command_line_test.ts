// What all tasks of the command line, and all processes that people start, have in common.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { API, WORKERS } from "../workers/dev/processes.ts";
import { denoArguments } from "../workers/dev/child.ts";
import { runDeno, runTask, type TaskResult } from "./support/run_task.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
/** Those that print JSON where they are told to. */
const TELLING = ["status", "replay", "redrive", "audit", "load", "bench", "chaos", "reset"];
const TASKS = [...TELLING, "story", "dev", "migrate"];
/** The API, the relay and one consumer: the others are the same frame. */
const SAMPLE = [API, ...WORKERS.slice(0, 2)];

const runProcess = (spec: typeof API, args: readonly string[], env: Record<string, string> = {}) =>
  runDeno([...denoArguments(spec, ["127.0.0.1"]), ...args], { env });

/** Each of `tasks` and of the sample's processes under its name, with what it makes of `args`. */
async function* runAll(
  tasks: readonly string[],
  ...args: string[]
): AsyncGenerator<[task: string, result: TaskResult]> {
  for (const task of tasks) yield [task, await runTask(task, args)];
  for (const spec of SAMPLE) {
    yield [spec === API ? spec.name : `worker:${spec.name}`, await runProcess(spec, args)];
  }
}

Deno.test("every task and process says with --help what it takes, how it ends, and gives an example", async () => {
  for await (const [task, { code, out, err }] of runAll(TASKS, "--help")) {
    assertEquals([code, err], [0, ""], task);
    const parts = ["--help ", "64 for a wrong usage", `Example: deno task ${task}`, `deno task ${task}`];
    if (TELLING.includes(task)) parts.push("--json ");
    for (const part of parts) assertStringIncludes(out, part, task);
    assert(/nds\s+with\s+0\s/.test(out), `${task} does not say how it ends`);
  }
});

Deno.test("a task or process ends with 64 and one line on standard error for a flag that there is not", async () => {
  // Who asks for help reads the flags by the same functions: a few stand for all.
  for await (const [task, result] of runAll(["status", "dev", "reset"], "--no-such")) {
    const err = `There is no flag --no-such (deno task ${task} --help says more)\n`;
    assertEquals(result, { code: 64, out: "", err });
  }
});

Deno.test("every process and task ends with 78 and one sentence that names the variable which is wrong", async () => {
  const wrong = { DATABASE_URL: "no-url", AMQP_URL: "amqp://127.0.0.1:1", ORDERFLOW_API_URL: "no-url" };
  const err =
    "Cannot start: DATABASE_URL must be a URL such as postgres://user:password@127.0.0.1:5432/orderflow, or with " +
    "several hosts, with commas between, with any of : / ? # % in its user or password as %3A %2F %3F %23 %25\n";
  for (const spec of SAMPLE) {
    assertEquals(await runProcess(spec, [], wrong), { code: 78, out: "", err }, spec.name);
  }
  for (const task of ["migrate", "audit"]) {
    assertEquals(await runTask(task, [], { env: wrong }), { code: 78, out: "", err }, task);
  }
  const dev = await runTask("dev", [], { env: { ...wrong, ORDERFLOW_API_URL: "" } });
  assertEquals([dev.code, dev.err], [78, err]);
  const tasks = {
    status: [],
    replay: ["--type=order.created", "--yes"],
    redrive: ["--all", "--yes"],
    load: ["--no-wait"],
    story: [],
  };
  for (const [task, flags] of Object.entries(tasks)) {
    const { code, err } = await runTask(task, flags, { env: wrong });
    const why = "Cannot start: ORDERFLOW_API_URL must be a URL such as http://127.0.0.1:8000\n";
    assertEquals([code, err], [78, why], task);
  }
  const nobody = { DATABASE_URL: "postgres://x@127.0.0.1:1/x", AMQP_URL: "amqp://127.0.0.1:1" };
  const listening = await runProcess(API, [], { HOST: "192.0.2.1", ...nobody });
  assertEquals(listening.code, 78);
  assertStringIncludes(listening.err, "Cannot listen on HOST 192.0.2.1, PORT 8000: ");
});

Deno.test("a Deno that is too old is told so in one sentence, and this one is not", async () => {
  const check = async (agent: string) => {
    const { code, stderr } = await new Deno.Command("sh", {
      args: ["workers/dev/deno_version.sh"],
      cwd: root,
      env: { npm_config_user_agent: agent },
    }).output();
    return { code, err: new TextDecoder().decode(stderr) };
  };
  for (const version of ["1.46.3", "2.0.0", "2.8.9"]) {
    const { code, err } = await check(`deno/${version} npm/? deno/${version} linux x86_64`);
    assertEquals([code, err.split("\n").length], [78, 2]);
    assertStringIncludes(err, `OrderFlow needs Deno 2.9 or later, and this is ${version}: run npm install`);
  }
  for (const version of [Deno.version.deno, "2.10.0", "2.81.0", "3.0.0"]) {
    assertEquals(await check(`deno/${version} npm/?`), { code: 0, err: "" });
  }
  assertEquals(await check(""), { code: 0, err: "" });
});
