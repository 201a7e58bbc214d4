import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import {
  freePort,
  homePaths,
  HomeTakenError,
  isPortFree,
  launchers,
  lockHome,
  parseStat,
  removeEnvFile,
  writeEnvFile,
} from "./services.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { readConfig, TOPOLOGY_VARIABLES, topologyOf } from "../../shared/process/config.ts";
import { figures, liveProcess, systemStatus } from "../tools/testdata/statuses.ts";
import { CONSUMERS, PROCESSES, RELAY } from "./processes.ts";
import { banner, notReady, untilReady, withoutPassword } from "./readiness.ts";

const URLS = {
  DATABASE_URL: "postgres://me:p$HOME`'#&\\x@127.0.0.1:5432/orderflow?a=b c",
  AMQP_URL: "amqp://guest:guest@127.0.0.1:5672",
};
const READ = { DATABASE_URL: URLS.DATABASE_URL.replace("'", "%27"), AMQP_URL: URLS.AMQP_URL };

async function temporaryHome() {
  const root = await Deno.makeTempDir({ prefix: "orderflow_dev_test_" });
  const paths = homePaths(root, "");
  return { paths, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

Deno.test("homePaths() is .orderflow in the project, or what is given", () => {
  assertEquals(homePaths("/project", undefined).env, "/project/.orderflow/env");
  assertEquals(homePaths("/project", "other").home, "/project/other");
  assertEquals(homePaths("/project", "/elsewhere").postgres, "/elsewhere/postgres");
});

Deno.test("lockHome() lets one process in at a time, and names who is in", async () => {
  await using home = await temporaryHome();
  const first = await lockHome(home.paths);
  const error = await assertRejects(() => lockHome(home.paths), HomeTakenError);
  assertStringIncludes(error.message, `process ${Deno.pid}`);
  first.close();
  (await lockHome(home.paths)).close();
});

Deno.test("writeEnvFile() writes what a shell and Deno read alike, for the owner's eyes only", async () => {
  await using home = await temporaryHome();
  (await lockHome(home.paths)).close();
  const { env } = home.paths;
  await writeEnvFile(env, URLS);
  assertEquals((await Deno.stat(env)).mode! & 0o777, 0o600);
  const print = "console.log(JSON.stringify([Deno.env.get('DATABASE_URL'), Deno.env.get('AMQP_URL')]))";
  const script = `set -a; . '${env}'; exec '${Deno.execPath()}' eval "${print}"`;
  const byShell = await output("/bin/sh", ["-c", script]);
  const byDeno = await output(Deno.execPath(), ["eval", `--env-file=${env}`, print]);
  assertEquals(JSON.parse(byShell), [READ.DATABASE_URL, READ.AMQP_URL]);
  assertEquals(JSON.parse(byDeno), [READ.DATABASE_URL, READ.AMQP_URL]);
  assertEquals([...Deno.readDirSync(home.paths.home)].map(({ name }) => name).toSorted(), ["env", "lock"]);
  removeEnvFile(env);
  removeEnvFile(env); // gone already is fine
  await assertRejects(() => Deno.stat(env), Deno.errors.NotFound);
});

async function output(command: string, args: string[]): Promise<string> {
  const env = { PATH: Deno.env.get("PATH") ?? "", HOME: Deno.env.get("HOME") ?? "" };
  const { stdout } = await new Deno.Command(command, { args, clearEnv: true, env }).output();
  return new TextDecoder().decode(stdout);
}

Deno.test("isPortFree() is false while somebody listens", async () => {
  const port = freePort("127.0.0.1");
  assert(isPortFree("127.0.0.1", port));
  {
    using _listener = Deno.listen({ hostname: "127.0.0.1", port });
    assertEquals(isPortFree("127.0.0.1", port), false);
    assertEquals(isPortFree("0.0.0.0", port), false);
  }
  // A process that another test starts right then holds a copy of the socket between its fork and its exec.
  await eventually("the port to be free again", () => isPortFree("127.0.0.1", port));
});

Deno.test("isPortFree() throws for an address that is not this machine's", () => {
  assertThrows(() => isPortFree("192.0.2.1", 8000)); // TEST-NET-1, RFC 5737: nobody's
});

Deno.test("launchers() is `deno task`, and what npm put above it; never a login shell", () => {
  const task = { pid: 30, name: "deno" };
  const shell = { pid: 20, name: "sh" };
  assertEquals(launchers([task, { pid: 2, name: "bash" }, { pid: 1, name: "init" }]), [30]);
  assertEquals(launchers([task, shell, { pid: 10, name: "npm exec deno@2" }]), [30, 20, 10]);
  assertEquals(launchers([task, { pid: 10, name: "npm run dev" }, { pid: 2, name: "bash" }]), [30, 10]);
  assertEquals(launchers([]), []);
});

Deno.test("parseStat() finds name and parent, whatever the name holds", () => {
  assertEquals(parseStat("42 (npm exec (a) b) S 7 42 42 0 -1"), { name: "npm exec (a) b", parent: 7 });
  assertEquals(parseStat(""), null);
});

Deno.test("untilReady() looks until nobody is named, and a failing look is just not yet", async () => {
  const looks = [["api"], ["relay"], []];
  const stop = new AbortController().signal;
  const look = () => Promise.resolve(looks.shift() ?? []);
  assertEquals(await untilReady(look, { patienceMs: 60_000, onLate: () => {}, stop }), true);
  assertEquals(looks, []);
});

Deno.test("untilReady() names once who is late, goes on waiting, and ends with the stop", async () => {
  const stop = new AbortController();
  const late: (readonly string[])[] = [];
  let looks = 0;
  const look = () => (++looks === 3 && stop.abort(), Promise.resolve(["never"]));
  const onLate = (names: readonly string[]) => late.push(names);
  assertEquals(await untilReady(look, { patienceMs: -1, onLate, stop: stop.signal }), false);
  assertEquals(late, [["never"]]);
});

Deno.test("notReady() names whose process is not heard of, an earlier run's aside, and whose queue nobody consumes", () => {
  const topology = topologyOf(readConfig(TOPOLOGY_VARIABLES, () => undefined));
  const pids = new Map(PROCESSES.map(({ name }, i) => [name, i + 1]));
  const queues = Object.values(topology.queues).map(({ name }) => ({
    queue: name,
    messages: 0,
    consumers: 1,
  }));
  const processes = PROCESSES.map(({ name }, i) => liveProcess({ name, pid: i + 1 }));
  const named = (more: Parameters<typeof figures>[0]) =>
    notReady(systemStatus(figures({ processes, queues, ...more })), topology, pids);
  assertEquals(named({}), []);
  assertEquals(named({ processes: processes.with(1, liveProcess({ name: RELAY.name, pid: 999 })) }), [
    RELAY.name,
  ]);
  const unheard = queues.map((queue) => ({
    ...queue,
    consumers: queue.queue.startsWith("notifications") ? 0 : 1,
  }));
  assertEquals(named({ queues: unheard }), ["notifications-final-events"]);
  assertEquals(named({ queues: null }).length, CONSUMERS.length);
  assertEquals(notReady({ ...systemStatus(figures()), broker: "down" }, topology, pids), ["api"]);
});

const facts = {
  apiUrl: "http://127.0.0.1:8000",
  databaseUrl: "postgres://orderflow:sesame@127.0.0.1:5433/orderflow",
  amqpUrl: "amqp://guest:sesame@127.0.0.1:5673",
  embedded: { database: true, broker: false },
  home: ".orderflow",
  status: "ORDERFLOW_HOME=/tmp/h2 deno task status",
  processes: ["api", "one", "two", "three"].map((name, i) => ({ name, pid: 100 + i })),
  startMs: 1234,
};

Deno.test("banner() tells URLs, what is embedded, every process and a line to try, and no password", () => {
  const text = banner(facts);
  assertStringIncludes(
    text,
    "postgres://orderflow:***@127.0.0.1:5433/orderflow (embedded, data in .orderflow/postgres)",
  );
  assertStringIncludes(text, "amqp://guest:***@127.0.0.1:5673 (as AMQP_URL says)");
  assertStringIncludes(text, "api 100, one 101, two 102\n              three 103");
  assertStringIncludes(text, "curl -i http://127.0.0.1:8000/orders -H");
  assertStringIncludes(text, "See it      ORDERFLOW_HOME=/tmp/h2 deno task status\n");
  const [lessons = ""] = /specs\/lessons\/\S+/.exec(text) ?? [];
  assert(Deno.statSync(new URL(`../../${lessons}`, import.meta.url)).isFile);
  assertEquals(text.includes("sesame"), false);
  const several = banner({ ...facts, amqpUrl: "amqp://u:sesame@a:5672,amqp://u:sesame@b:5672" });
  assertStringIncludes(several, "amqp://u:***@a:5672,amqp://u:***@b:5672 (as AMQP_URL says)");
});

Deno.test("withoutPassword() leaves a URL without one as it is", () => {
  assertEquals(
    withoutPassword("postgres://me@db.example:5432/x?sslmode=require"),
    "postgres://me@db.example:5432/x?sslmode=require",
  );
});
