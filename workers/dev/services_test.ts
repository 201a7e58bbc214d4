import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { homePaths, launchers, lockHome, writeEnvFile } from "./services.ts";
import { usualTopology } from "../../specs/support/test_broker.ts";
import type { StatusFigures } from "../../shared/ops/live.ts";
import { figures, liveProcess, systemStatus } from "../tools/testdata/statuses.ts";
import { CONSUMERS, PROCESSES, RELAY } from "./processes.ts";
import { banner, notReady, untilReady } from "./readiness.ts";

Deno.test("homePaths() is .orderflow in the project, or what is given", () => {
  assertEquals(homePaths(undefined, "/project").env, "/project/.orderflow/env");
  assertEquals(homePaths("other", "/project").home, "/project/other");
  assertEquals(homePaths("/elsewhere").postgres, "/elsewhere/postgres");
});

Deno.test("lockHome() says where it cannot write, and what to do", async () => {
  const file = await Deno.makeTempFile({ prefix: "orderflow_dev_test_" });
  const locked = () => lockHome(homePaths(join(file, "home"))); // a file has no folders
  const { message } = await assertRejects(locked, Error, `Cannot write to ${file}/home: `);
  assertStringIncludes(message, "or name another folder in ORDERFLOW_HOME.");
  await Deno.remove(file);
});

Deno.test("writeEnvFile() writes what a shell and Deno read alike, for the owner's eyes only", async () => {
  const folder = await Deno.makeTempDir({ prefix: "orderflow_dev_test_" });
  const env = join(folder, "env");
  const url = "postgres://me:p$HOME`'#&\\x@127.0.0.1:5432/orderflow?a=b c";
  await writeEnvFile(env, { DATABASE_URL: url });
  assertEquals((await Deno.stat(env)).mode! & 0o777, 0o600);
  const output = async (command: string, ...args: string[]) => {
    const given = { PATH: Deno.env.get("PATH") ?? "", HOME: Deno.env.get("HOME") ?? "" };
    const { stdout } = await new Deno.Command(command, { args, clearEnv: true, env: given }).output();
    return new TextDecoder().decode(stdout);
  };
  const print = "console.log(Deno.env.get('DATABASE_URL'))";
  const read = `${url.replace("'", "%27")}\n`;
  const script = `set -a; . '${env}'; exec '${Deno.execPath()}' eval "${print}"`;
  assertEquals(await output("/bin/sh", "-c", script), read);
  assertEquals(await output(Deno.execPath(), "eval", `--env-file=${env}`, print), read);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("launchers() is `deno task`, and what npm put above it; never a login shell", async () => {
  const cases: [names: string[], above: number[]][] = [
    [["deno", "bash", "init"], [30]],
    [["deno", "sh", "npm exec (a) b"], [30, 29, 28]],
    [["deno", "npm run dev", "bash"], [30, 29]],
    [[], [30]], // where /proc cannot be read
  ];
  for (const [names, above] of cases) {
    const statOf = (pid: number) => {
      const name = names[30 - pid];
      return Promise.resolve(name ? `${pid} (${name}) S ${pid - 1} 42 42 0 -1` : "");
    };
    assertEquals(await launchers(30, statOf), above);
  }
});

Deno.test("untilReady() looks until nobody is named, says once who is late, and ends with the stop", async () => {
  const looks = [["api"], ["relay"], []];
  const look = () => Promise.resolve(looks.shift() ?? []);
  assertEquals(await untilReady(look, () => {}, new AbortController().signal), true);
  assertEquals(looks, []);

  const stop = new AbortController();
  const said: string[] = [];
  let late = 0;
  const lookLate = () => (++late === 3 && stop.abort(), Promise.resolve(["never"]));
  assertEquals(await untilReady(lookLate, (text) => said.push(text), stop.signal, -1), false);
  assertEquals(said.map((text) => text.split("; ")[1]), ["still waiting for never"]);
});

Deno.test("notReady() names whose process is not heard of, an earlier run's aside, and whose queue nobody consumes", () => {
  const topology = usualTopology();
  const running = PROCESSES.map(({ name }, pid) => ({ name, pid }));
  const queues = CONSUMERS.map(({ queue }) => {
    return { queue: topology.queues[queue].name, messages: 0, consumers: 1 };
  });
  const processes = running.map(liveProcess);
  const named = (more: Partial<StatusFigures>, broker: "up" | "down" = "up") => {
    const status = systemStatus(figures({ processes, queues, ...more }));
    return notReady({ ...status, broker }, topology, running);
  };
  const earlier = processes.with(1, liveProcess({ name: RELAY.name, pid: 999 }));
  const unheard = queues.with(-1, { queue: queues.at(-1)?.queue ?? "", messages: 0, consumers: 0 });
  assertEquals(named({}), []);
  assertEquals(named({ processes: earlier }), [RELAY.name]);
  assertEquals(named({ queues: unheard }), [CONSUMERS.at(-1)?.name]);
  assertEquals(named({ queues: null }), CONSUMERS.map(({ name }) => name));
  assertEquals(named({}, "down"), ["api"]);
});

const facts = {
  ORDERFLOW_API_URL: "http://127.0.0.1:8000",
  DATABASE_URL: "postgres://orderflow:sesame@127.0.0.1:5433/orderflow",
  AMQP_URL: "amqp://u:sesame@a:5672,amqp://u@b:5672",
  embedded: { database: true, broker: false },
  home: ".orderflow",
  status: "ORDERFLOW_HOME=/tmp/h2 deno task status",
  processes: ["api", "one", "two", "three"].map((name, i) => ({ name, pid: 100 + i })),
  startMs: 1234,
};

Deno.test("banner() tells URLs, what is embedded, every process and a line to try, and no password", () => {
  const text = banner(facts);
  const parts = [
    "postgres://orderflow:***@127.0.0.1:5433/orderflow (embedded, data in .orderflow/postgres)",
    "amqp://u:***@a:5672,amqp://u@b:5672 (as AMQP_URL says)",
    "api 100, one 101, two 102\n              three 103\n",
    "curl -i http://127.0.0.1:8000/orders -H",
    "See it      ORDERFLOW_HOME=/tmp/h2 deno task status\n",
  ];
  for (const part of parts) assertStringIncludes(text, part);
  assertEquals(text.includes("sesame"), false);
  const [lessons = ""] = /specs\/lessons\/\S+/.exec(text) ?? [];
  assert(Deno.statSync(new URL(`../../${lessons}`, import.meta.url)).isFile);
});
