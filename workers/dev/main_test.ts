import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { signalChild } from "../../shared/process/stop.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { devHome, type DevRun, PATIENCE_MS, startDev } from "./testdata/dev_run.ts";
import { runTask } from "../../specs/support/run_task.ts";
import { orderSchema } from "../../shared/ops/answers.ts";
import { homePaths, lockHome } from "./services.ts";

/** The embedded Postgres's note of its process id, there while it runs. */
const POSTMASTER_PID = "postgres/server/data/postmaster.pid";

/** Waits for the banner; answers with the API's URL. */
async function ready(run: DevRun): Promise<string> {
  const [, url = ""] = await run.printed(/OrderFlow is ready[^]* API +(\S+)\n[^]*Stop it/);
  return url;
}

/** Name and process id of each process, out of the banner. */
function processesIn(output: string): Map<string, number> {
  const [, block = ""] = /^ {2}Processes ([^]*?)\n\n/m.exec(output) ?? [];
  return new Map([...block.matchAll(/([a-z-]+) (\d+)/g)].map(([, name = "", pid]) => [name, Number(pid)]));
}

async function orderStatus(apiUrl: string, id: string): Promise<string> {
  return orderSchema.parse(await (await fetch(`${apiUrl}/orders/${id}`)).json()).status;
}

/** Orders a course that has a seat, and resolves once the order is `COMPLETED`. Answers with its id. */
async function orderCompletes(apiUrl: string): Promise<string> {
  const placed = await fetch(`${apiUrl}/ops/scenarios/order-success`, { method: "POST" });
  const { id } = orderSchema.parse(await placed.json());
  await eventually(`order ${id}`, async () => await orderStatus(apiUrl, id) === "COMPLETED", PATIENCE_MS);
  return id;
}

const succeeds = async (script: string, pid: number) =>
  (await new Deno.Command("/bin/sh", { args: ["-c", script, "sh", `${pid}`] }).output()).success;

/** Whether none of the processes runs; one that has ended and that nobody has asked about does not. */
async function noneRuns(pids: Iterable<number>): Promise<boolean> {
  const isRunning = 'kill -0 "$1" 2>/dev/null && ! grep -qs ") Z " "/proc/$1/stat"';
  return (await Promise.all([...pids].map((pid) => succeeds(isRunning, pid)))).every((running) => !running);
}

/** Stops a process in its tracks, so that it answers no signal but SIGKILL; resolves once that is so. */
async function freeze(pid: number): Promise<void> {
  Deno.kill(pid, "SIGSTOP");
  const isStopped = 'grep -qs ") T " "/proc/$1/stat" || ps -o stat= -p "$1" 2>/dev/null | grep -q T';
  await eventually(`process ${pid} is stopped`, () => succeeds(isStopped, pid));
}

Deno.test("deno task dev runs the whole system, revives what is killed, leaves nothing behind, and goes on from there", async () => {
  await using home = await devHome();
  await using run = startDev(home, { METRICS_PORT: "0" });
  const url = await ready(run);
  const id = await orderCompletes(url);
  const [, metrics = ""] = await run.printed(/payments-order-created +\|.*Listening +url=(\S+)/);
  assertStringIncludes(await (await fetch(metrics)).text(), 'process="payments-order-created"');
  const processes = processesIn(run.output());
  for (const name of ["api", "payments-order-created"]) {
    Deno.kill(processes.get(name) ?? 0, "SIGKILL");
    const [, pid] = await run.printed(new RegExp(`${name} started again \\(process (\\d+)\\)`));
    processes.set(name, Number(pid));
  }
  if (!Deno.env.get("DATABASE_URL")) {
    const pid = Number.parseInt(await Deno.readTextFile(join(home.folder, POSTMASTER_PID)));
    Deno.kill(pid, "SIGKILL");
    await run.printed(/the embedded Postgres is back/);
  }
  const answers = (at: string) => () => fetch(at).then(drained, () => false);
  await eventually("the API is back, and ready", answers(`${url}/readyz`), PATIENCE_MS);
  await eventually("the worker's metrics are where they were", answers(metrics), PATIENCE_MS);
  await orderCompletes(url);
  const env = await Deno.readTextFile(join(home.folder, "env"));
  const lines = ["DATABASE_URL='postgres://", "AMQP_URL='amqp://", `ORDERFLOW_API_URL='${url}'\n`];
  for (const line of lines) assertStringIncludes(env, line);

  run.process.kill("SIGKILL");
  await eventually("all processes end by themselves", () => noneRuns(processes.values()), PATIENCE_MS);
  const isThere = (path: string) => Deno.stat(join(home.folder, path)).then(() => true, () => false);
  await eventually("Postgres ends by itself", async () => !await isThere(POSTMASTER_PID), PATIENCE_MS);

  await using next = startDev(home);
  const again = await ready(next);
  assertEquals(await orderStatus(again, id), "COMPLETED");
  await orderCompletes(again);
  const others = processesIn(next.output());
  next.process.kill("SIGHUP"); // the terminal was closed
  next.process.kill("SIGINT"); // comes as well, from some
  assertEquals(await next.ended(), 0);
  assert(await noneRuns(others.values()), "a process is left");
  assertEquals([await isThere("env"), await isThere(POSTMASTER_PID)], [false, false]);
});

Deno.test("deno task dev kills everything at once when somebody insists", async () => {
  await using home = await devHome();
  await using run = startDev(home);
  await ready(run);
  const processes = processesIn(run.output());
  await freeze(processes.get("outbox-relay") ?? 0); // it will not stop when asked
  run.process.kill("SIGINT");
  await run.printed(/dev +\| stopping/);
  await eventually("it ends", () => {
    signalChild(run.process, "SIGINT");
    return noneRuns([run.process.pid]);
  }, PATIENCE_MS);
  assertEquals(await run.ended(), 130);
  await eventually("all processes are gone", () => noneRuns(processes.values()), PATIENCE_MS);
  await assertRejects(() => Deno.stat(join(home.folder, "env")), Deno.errors.NotFound);
});

Deno.test("deno task dev says nothing of errors when Ctrl-C ends what its start is waiting for", async () => {
  await using home = await devHome();
  await using run = startDev(home);
  await run.printed(/initialising a Postgres database|starting the API/);
  await new Deno.Command("kill", { args: ["-INT", "--", `-${run.process.pid}`] }).output(); // all of its group
  assert([0, 130].includes(await run.ended()), run.output());
  assert(!/cannot|could not|fail|error|gone/i.test(run.output()), run.output());
});

Deno.test("deno task dev says at once that a port is taken, or is none of this machine, or its folder, and starts nothing", async () => {
  await using home = await devHome();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const cases = [["PORT", "127.0.0.1"], ["METRICS_PORT", "127.0.0.1"], ["PORT", "0.0.0.0"]] as const;
  for (const [variable, host] of cases) {
    await using run = startDev(home, { [variable]: `${port}`, HOST: host });
    assertEquals(await run.ended(), 78);
    // As Deno was started: who has it from npx alone is told to go on with that.
    const command = `${variable}=\\d+ ORDERFLOW_HOME=${home.folder} (npx -y deno@[\\d.]+|deno) task dev`;
    const advice = `Stop what uses it, or take another one: ${command}`;
    assertMatch(run.output(), new RegExp(`^Port ${port} on ${host} is taken. ${advice}\n$`));
  }
  await using elsewhere = startDev(home, { HOST: "192.0.2.1", PORT: "8000" }); // TEST-NET-1, RFC 5737: nobody's
  assertEquals(await elsewhere.ended(), 78);
  assertStringIncludes(elsewhere.output(), "Cannot listen on HOST 192.0.2.1, PORT 8000: ");
  using _lock = await lockHome(homePaths(home.folder));
  await using second = startDev(home);
  assertEquals(await second.ended(), 1);
  const taken =
    `runs already with ${home.folder} (process ${Deno.pid}). Stop that one first, or name another folder in ORDERFLOW_HOME.\n`;
  assertEquals(second.output(), `\`deno task dev\` ${taken}`);
});

Deno.test("deno task dev waits for a database that is not there yet, and can be stopped meanwhile", async () => {
  await using home = await devHome();
  await using run = startDev(home, { DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" });
  await run.printed(/the database of DATABASE_URL cannot be used \(connect ECONNREFUSED .*\); trying again/);
  run.process.kill("SIGTERM");
  assertEquals(await run.ended(), 0);
});

async function drained(response: Response): Promise<boolean> {
  await response.body?.cancel();
  return response.ok;
}

/** Puts something into a home folder that looks like data. */
async function fill({ postgres, env }: ReturnType<typeof homePaths>): Promise<void> {
  await Deno.mkdir(postgres, { recursive: true });
  await Deno.writeTextFile(join(postgres, "password"), "sesame");
  await Deno.writeTextFile(env, "DATABASE_URL='postgres://x'\n");
}

Deno.test("deno task reset says what it would delete, deletes it unless somebody uses it, and then finds nothing", async () => {
  const folder = await Deno.makeTempDir({ prefix: "orderflow_reset_" });
  const home = homePaths(undefined, folder);
  const { postgres, env } = home;
  const found = [postgres, env];
  const reset = async (flags: string[], code: number, out: string, left: string[]) => {
    const told = await runTask("reset", flags, { env: { ORDERFLOW_HOME: home.home } });
    const seen = told.out.replace(/(data in ).*; the next.*/, "$1…");
    assertEquals([told.code, seen], [code, out], flags.join(" "));
    assertEquals([...Deno.readDirSync(home.home)].map(({ name }) => name).toSorted(), left);
    return told;
  };
  const json = (what: object) => `${JSON.stringify(what)}\n`;
  await fill(home);
  await reset(["--dry-run"], 0, `Would delete ${postgres}\nWould delete ${env}\n`, ["env", "postgres"]);
  await reset(["--json", "--dry-run"], 0, json({ dryRun: true, found, deleted: [] }), ["env", "postgres"]);
  await reset([], 64, "", ["env", "postgres"]); // its standard input is no terminal
  {
    using _lock = await lockHome(home);
    const { err } = await reset(["--json", "--yes"], 1, "", ["env", "lock", "postgres"]);
    assertStringIncludes(err, `(process ${Deno.pid}). Stop that one first, `);
  }
  const deleting = `To be deleted: ${postgres}\nTo be deleted: ${env}\nDeleted the embedded data in …\n`;
  await reset(["--yes"], 0, deleting, ["lock"]);
  await reset(["--yes"], 0, `There is no embedded data in ${home.home}.\n`, ["lock"]);
  await fill(home);
  await reset(["--json", "--yes"], 0, json({ dryRun: false, found, deleted: found }), ["lock"]);
  await Deno.remove(folder, { recursive: true });
});
