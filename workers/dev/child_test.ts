import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import {
  addressesOf,
  type Child,
  childEnvironment,
  createPrinter,
  denoArguments,
  endChild,
  keepRunning,
  restartDelayMs,
} from "./child.ts";
import { API, CONSUMERS, metricsPorts, misspelt, readSettings, refuseCutValues, RELAY } from "./processes.ts";
import { ConfigError, VARIABLES } from "../../shared/process/config.ts";
import { EXIT_CONFIG } from "../../shared/process/run.ts";
import { signalChild } from "../../shared/process/stop.ts";
import { eventually } from "../../specs/support/eventually.ts";

Deno.test("childEnvironment() passes on OrderFlow's variables, Deno's and its telemetry's, and nothing else", () => {
  const passed = { PATH: "/bin", DENO_DIR: "/cache", OPS_TOKEN: "sixteen characters", OTEL_DENO: "true" };
  const kept = { AWS_SECRET_ACCESS_KEY: "secret", PGPASSWORD: "secret", HOST: "" }; // empty counts as unset
  const inherited = { ...passed, ...kept, PORT: "8000" };
  const set = { PORT: "8001", DATABASE_URL: "postgres://x" };
  const own = { LOG_FORMAT: "pretty", ORDERFLOW_SUPERVISED: "1" };
  assertEquals(childEnvironment(inherited, set), { ...passed, ...set, ...own });
  assertEquals(childEnvironment({ LOG_FORMAT: "json" }, {}).LOG_FORMAT, "json");
});

Deno.test("denoArguments() runs a process under its permission set, with the addresses of its services' URLs", () => {
  const services = { DATABASE_URL: "postgres://db", AMQP_URL: "amqp://a,amqps://b,amqp://[::1]:5673" };
  const env = { ...services, HOST: "::1", PORT: "80", METRICS_HOST: "0.0.0.0", METRICS_PORT: "" };
  const reached = ["db:5432", "a:5672", "b:5671", "[::1]:5673"];
  assertEquals(addressesOf(API, env), [...reached, "[::1]:80"]);
  assertEquals(addressesOf(RELAY, env), reached);
  assertEquals(addressesOf(RELAY, { ...env, METRICS_PORT: "1" }), [...reached, "0.0.0.0:1"]);
  assertEquals(
    denoArguments(API, ["a:1", "b:2"]).join(" "),
    "run -q --no-prompt --cached-only --v8-flags=--max-semi-space-size=8,--max-old-space-size=256 -P=api --allow-net=a:1,b:2 api/main.ts",
  );
  assertEquals(denoArguments(API, [], "/page").slice(-2), ["--allow-read=/page", "api/main.ts"]);
});

const encoder = new TextEncoder();
const chunks = (...parts: (string | Uint8Array<ArrayBuffer>)[]) =>
  ReadableStream.from(parts.map((part) => typeof part === "string" ? encoder.encode(part) : part));

/** A printer, and the lines that it has written. */
function printing(names: string[], coloured: boolean) {
  let written = "";
  let isWriting = false;
  const printer = createPrinter(names, coloured, async (bytes) => {
    if (isWriting) throw new Error("one write at a time");
    isWriting = true;
    await Promise.resolve();
    written += new TextDecoder().decode(bytes);
    isWriting = false;
  });
  return { printer, lines: () => written.trimEnd().split("\n") };
}

Deno.test("createPrinter() never mixes the lines of two streams, nor breaks a character in two", async () => {
  const { printer, lines } = printing(["a", "b"], false);
  const euro = encoder.encode("5 €");
  await Promise.all([
    printer.stream("a", chunks("first ", "half\nsec", "ond\r\n")),
    printer.stream("b", chunks(euro.slice(0, 4), euro.slice(4), "\nno line end")),
  ]);
  await printer.line("a", "two\nlines");
  const of = (name: string) => lines().filter((line) => line.startsWith(name));
  assertEquals(of("a"), ["a | first half", "a | second", "a | two", "a | lines"]);
  assertEquals(of("b"), ["b | 5 €", "b | no line end"]);
});

Deno.test("createPrinter() prints a line that does not end in pieces, and puts each name in a colour of its own", async () => {
  const { printer, lines } = printing(["api", "relay"], true);
  await printer.stream("relay", chunks("x".repeat(17_000), "x".repeat(100), "y\nrest"));
  await printer.line("api", "line");
  const texts = lines().map((line) => line.replace("\x1b[33mrelay | \x1b[0m", ""));
  assertEquals(texts.map((text) => text.length), [17_000, 101, 4, "\x1b[36mapi   | \x1b[0mline".length]);
  assertEquals(texts.at(-1), "\x1b[36mapi   | \x1b[0mline");
});

/** Keeps a shell running that does first one script, then the next. `seen` is what is said, but for process ids. */
function keepShell(...scripts: string[]) {
  const seen: string[] = [];
  const start = (): Child => {
    const script = scripts.shift() ?? "exit 0";
    const child = new Deno.Command("/bin/sh", { args: ["-c", script], stdout: "null" }).spawn();
    return { pid: child.pid, ended: child.status, signal: (name) => signalChild(child, name) };
  };
  const say = (what: string) => void seen.push(what.replace(/\d+\)/, "…)"));
  return { kept: keepRunning(start, say, () => say("wrong configuration")), seen, scripts };
}

const AGAIN = "started again (process …)";

Deno.test("keepRunning() starts a process again after a pause that grows, and stops it permanently", async () => {
  assertEquals([1, 2, 3, 5, 6, 50].map(restartDelayMs), [200, 400, 800, 3200, 5000, 5000]);
  const { kept, seen, scripts } = keepShell("exit 3", "sleep 60");
  await eventually("the second start", () => seen.length === 2);
  await kept.stop(5000);
  assertEquals([seen, scripts], [["ended with code 3; starting it again in 0.2 s", AGAIN], []]);
});

Deno.test("keepRunning() restarts at once on demand, cutting a pause short", async () => {
  const { kept, seen } = keepShell("exit 1", "sleep 60", "sleep 60");
  await eventually("the end", () => seen.length === 1);
  await kept.restart(5000);
  await eventually("the second start", () => seen.length === 2);
  await kept.restart(5000);
  await eventually("the third start", () => seen.length === 3);
  await kept.stop(5000);
  assertEquals(seen, ["ended with code 1; starting it again in 0.2 s", AGAIN, AGAIN]);
});

Deno.test("keepRunning() does not start again what says that its configuration is wrong", async () => {
  const { kept, scripts, seen } = keepShell(`exit ${EXIT_CONFIG}`, "not this one");
  await eventually("the end", () => seen.length === 1);
  await kept.stop(5000);
  assertEquals([seen, scripts], [["wrong configuration"], ["not this one"]]);
});

Deno.test("endChild() kills a process that does not stop when asked", async () => {
  const deaf = new Deno.Command("/bin/sh", {
    args: ["-c", "trap '' TERM; echo deaf; exec sleep 60"],
    stdout: "piped",
  }).spawn();
  const output = deaf.stdout.getReader();
  await output.read(); // by now it ignores the signal
  const child = { pid: deaf.pid, ended: deaf.status, signal: (name: Deno.Signal) => signalChild(deaf, name) };
  assertEquals((await endChild(child, 300)).signal, "SIGKILL");
  await output.cancel();
});

Deno.test("readSettings() embeds what has no URL, has faults on by default, and names every variable at fault", () => {
  const given = { DATABASE_URL: " ", AMQP_URL: "amqp://mq.example", PORT: "0" };
  const { DATABASE_URL, AMQP_URL, PORT, FAULTS_ENABLED } = readSettings(given);
  assertEquals([DATABASE_URL, AMQP_URL, PORT, FAULTS_ENABLED], [null, "amqp://mq.example", 0, true]);
  assertEquals(readSettings({ FAULTS_ENABLED: "false" }).FAULTS_ENABLED, false);
  assertEquals(VARIABLES.FAULTS_ENABLED.parse(undefined), false, "a process by itself has them off");
  const wrong = { PORT: "x", CONSUMER_BATCH_SIZE: "0", AMQP_URL: "no" };
  const { message } = assertThrows(() => readSettings(wrong), ConfigError);
  for (const name of Object.keys(wrong)) assertStringIncludes(message, name);
});

Deno.test("misspelt() finds names that nobody reads and that look like a known one, and no others", () => {
  const text = `
OUTBOX_PUBLISHR_ENABLED=false
# LOG_LEVL=debug
export Port=8001
PROT=8002
DATABASE_URL=postgres://x
ORDERFLOW_HOM=/tmp/x
COMPOSE_PROFILES=app
HOSTNAME=box`;
  assertEquals(misspelt(text), [
    ["OUTBOX_PUBLISHR_ENABLED", "OUTBOX_PUBLISHER_ENABLED"],
    ["Port", "PORT"],
    ["PROT", "PORT"],
    ["ORDERFLOW_HOM", "ORDERFLOW_HOME"],
  ]);
});

Deno.test("refuseCutValues() names a value in .env of which Deno reads but a part, and lets whole ones be", () => {
  const whole =
    `OPS_TOKEN='a#b$c'\nPORT=1 # not $2\nAMQP_URL="amqp://a#b"\nHOST=$HOME\n# LOG_LEVEL=#\nOTHER=a#b`;
  refuseCutValues(whole, { HOME: "x" });
  const cut = ["OPS_TOKEN=abcdefghijklmnop#def", "export OPS_TOKEN=#a", "OPS_TOKEN=a$b", 'OPS_TOKEN="a${b}"'];
  for (const line of cut) {
    const { message } = assertThrows(() => refuseCutValues(`PORT=1\n${line}\n`, {}), ConfigError);
    assertMatch(message, /^OPS_TOKEN in .env would .*: put it into single quotes, OPS_TOKEN='…'$/);
  }
});

Deno.test("metricsPorts() counts up from the first port, takes free ones for 0, none without one, and never too few", () => {
  let free = 20_000;
  const portsFrom = (first?: number) => {
    const ports = metricsPorts(first, () => free++);
    return [RELAY, ...CONSUMERS].map((spec) => ports.get(spec));
  };
  const counted = (first: number) => [RELAY, ...CONSUMERS].map((_, i) => first + i);
  assertEquals(portsFrom(9464), counted(9464));
  assertEquals(portsFrom(0), counted(20_000));
  assertEquals(portsFrom(), counted(0).map(() => undefined));
  const last = 65_535 - CONSUMERS.length;
  assertEquals(portsFrom(last), counted(last));
  assertThrows(() => portsFrom(last + 1), ConfigError, `METRICS_PORT is ${last + 1}`);
});
