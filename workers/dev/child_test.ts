import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  addressOf,
  type Child,
  childEnvironment,
  createPrinter,
  denoArguments,
  joinAddress,
  keepRunning,
  restartDelayMs,
  serviceName,
} from "./child.ts";
import { API, CONSUMERS, metricsPorts, misspelt, readSettings, RELAY } from "./processes.ts";
import { ConfigError, VARIABLES } from "../../shared/process/config.ts";
import { EXIT_CONFIG } from "../../shared/process/run.ts";
import { signalChild } from "../../shared/process/stop.ts";

Deno.test("childEnvironment() passes on OrderFlow's variables and Deno's, a LOG_FORMAT that somebody chose, and nothing else", () => {
  const inherited = {
    PATH: "/bin",
    HOME: "/home/me",
    DENO_DIR: "/cache",
    OPS_TOKEN: "sixteen characters",
    PORT: "8000",
    HOST: "", // empty counts as unset
    AWS_SECRET_ACCESS_KEY: "secret",
    PGPASSWORD: "secret",
  };
  assertEquals(childEnvironment(inherited, { PORT: "8001", DATABASE_URL: "postgres://x" }), {
    PATH: "/bin",
    HOME: "/home/me",
    DENO_DIR: "/cache",
    OPS_TOKEN: "sixteen characters",
    PORT: "8001",
    DATABASE_URL: "postgres://x",
    LOG_FORMAT: "pretty",
    ORDERFLOW_SUPERVISED: "1",
  });
});

Deno.test("childEnvironment() passes on what Deno's telemetry is told, serviceName() says whose it is", () => {
  const otel = { OTEL_DENO: "true", OTEL_SERVICE_NAME: "shop", LOG_FORMAT: "json" };
  const { ORDERFLOW_SUPERVISED: _, ...passed } = childEnvironment(otel, serviceName(API));
  assertEquals(passed, { ...otel, OTEL_SERVICE_NAME: "orderflow-api" });
});

Deno.test("addressOf() knows the ports of the protocols", () => {
  const urls = [
    "postgres://u:p@127.0.0.1:5433/x",
    "postgresql://db.example/x",
    "amqp://localhost",
    "amqps://mq.example",
  ];
  assertEquals(urls.map(addressOf), [
    "127.0.0.1:5433",
    "db.example:5432",
    "localhost:5672",
    "mq.example:5671",
  ]);
  assertEquals(addressOf("amqp://[::1]:5673"), "[::1]:5673");
});

Deno.test("joinAddress() puts an IPv6 address in brackets", () => {
  assertEquals([joinAddress("0.0.0.0", 80), joinAddress("::", 80)], ["0.0.0.0:80", "[::]:80"]);
});

Deno.test("denoArguments() runs a process under its permission set, with the addresses told", () => {
  assertEquals(
    denoArguments(API, ["a:1", "[::1]:2"]).join(" "),
    "run -q --no-prompt --cached-only --v8-flags=--max-semi-space-size=8,--max-old-space-size=256 -P=api --allow-net=a:1,[::1]:2 api/main.ts",
  );
});

Deno.test("createPrinter() never mixes the lines of two streams, nor breaks a character in two", async () => {
  const written: string[] = [];
  const printer = createPrinter(["a", "b"], false, async (bytes) => {
    await Promise.resolve();
    written.push(new TextDecoder().decode(bytes));
  });
  const [euro, rest] = [
    new TextEncoder().encode("5 €").slice(0, 4),
    new TextEncoder().encode("5 €").slice(4),
  ];
  const chunks = (...parts: (string | Uint8Array<ArrayBuffer>)[]) =>
    ReadableStream.from(
      parts.map((part) => typeof part === "string" ? new TextEncoder().encode(part) : part),
    );
  await Promise.all([
    printer.stream("a", chunks("first ", "half\nsec", "ond\n")),
    printer.stream("b", chunks(euro, rest, "\nno line end")),
  ]);
  await printer.line("a", "two\nlines");
  const lines = written.join("").split("\n");
  assertEquals(lines.filter((line) => line.startsWith("a")), [
    "a | first half",
    "a | second",
    "a | two",
    "a | lines",
  ]);
  assertEquals(lines.filter((line) => line.startsWith("b")), ["b | 5 €", "b | no line end"]);
  assertEquals(lines.length, 7);
});

Deno.test("createPrinter() cuts a line that does not end, and puts each name in a colour of its own", async () => {
  const written: string[] = [];
  const printer = createPrinter(["api", "relay"], true, (bytes) => {
    written.push(new TextDecoder().decode(bytes));
    return Promise.resolve();
  });
  await printer.stream(
    "relay",
    ReadableStream.from([new TextEncoder().encode(`${"x".repeat(40_000)}\r\nrest`)]),
  );
  await printer.line("api", "line");
  const prefix = "\x1b[33mrelay | \x1b[0m";
  const lines = written.join("").trimEnd().split("\n");
  assertEquals(lines.slice(0, 4).map((line) => line.replace(prefix, "").length), [16_384, 16_384, 7232, 4]);
  assertEquals(lines[4], "\x1b[36mapi   | \x1b[0mline");
});

Deno.test("restartDelayMs() doubles from 200 ms up to 5 s", () => {
  assertEquals([1, 2, 3, 4, 5, 6, 50].map(restartDelayMs), [200, 400, 800, 1600, 3200, 5000, 5000]);
});

Deno.test("keepRunning() starts a process again when it ends, and stops it permanently", async () => {
  const seen: string[] = [];
  const { promise: restarted, resolve } = Promise.withResolvers<void>();
  const scripts = ["exit 3", "sleep 60"];
  const kept = keepRunning({
    start: () => shell(scripts.shift() ?? "exit 0"),
    onEnd: (how, delayMs) => seen.push(`${how}, ${delayMs}`),
    onRestart: () => resolve(),
    onWrongConfiguration: () => seen.push("wrong configuration"),
  });
  await restarted;
  await kept.stop(5000);
  assertEquals(seen, ["ended with code 3, 200"]);
  assertEquals(scripts, []);
});

Deno.test("keepRunning() restarts at once on demand, cutting a pause short", async () => {
  const { promise: ended, resolve: onEnd } = Promise.withResolvers<void>();
  let restarts = 0;
  const { promise: restarted, resolve: onRestart } = Promise.withResolvers<void>();
  const scripts = ["exit 1", "sleep 60", "sleep 60"];
  const kept = keepRunning({
    start: () => shell(scripts.shift() ?? "exit 0"),
    onEnd: () => onEnd(),
    onRestart: () => {
      if (++restarts === 2) onRestart();
      else kept.restart(5000);
    },
    onWrongConfiguration: () => {},
  });
  await ended;
  await kept.restart(5000);
  await restarted;
  await kept.stop(5000);
  assertEquals(restarts, 2);
});

Deno.test("keepRunning() does not start again what says that its configuration is wrong", async () => {
  const { promise: wrong, resolve } = Promise.withResolvers<void>();
  let starts = 0;
  const kept = keepRunning({
    start: () => (starts++, shell(`exit ${EXIT_CONFIG}`)),
    onEnd: () => {},
    onRestart: () => {},
    onWrongConfiguration: resolve,
  });
  await wrong;
  await kept.stop(5000);
  assertEquals(starts, 1);
});

Deno.test("keepRunning() kills a process that does not stop when asked", async () => {
  const deaf = new Deno.Command("/bin/sh", {
    args: ["-c", "trap '' TERM; echo deaf; exec sleep 60"],
    stdout: "piped",
  }).spawn();
  const output = deaf.stdout.getReader();
  await output.read(); // by now it ignores the signal
  const kept = keepRunning({
    start: () => ({ pid: deaf.pid, ended: deaf.status, signal: (name) => signalChild(deaf, name) }),
    onEnd: () => {},
    onRestart: () => {},
    onWrongConfiguration: () => {},
  });
  await kept.stop(300);
  assertEquals((await deaf.status).signal, "SIGKILL");
  await output.cancel();
});

Deno.test("readSettings() embeds what has no URL, and has faults on by default, other than a process by itself", () => {
  const settings = readSettings({ DATABASE_URL: " ", AMQP_URL: "amqp://mq.example", PORT: "0" });
  assertEquals([settings.databaseUrl, settings.amqpUrl, settings.port], [null, "amqp://mq.example", 0]);
  assertEquals([settings.faultsEnabled, readSettings({ FAULTS_ENABLED: "false" }).faultsEnabled], [
    true,
    false,
  ]);
  assertEquals(VARIABLES.FAULTS_ENABLED.parse(undefined), false);
});

Deno.test("readSettings() names every variable at fault, of whichever process", () => {
  const error = assertThrows(
    () => readSettings({ PORT: "x", CONSUMER_BATCH_SIZE: "0", AMQP_URL: "no" }),
    ConfigError,
  );
  for (const name of ["PORT", "CONSUMER_BATCH_SIZE", "AMQP_URL"]) assertStringIncludes(error.message, name);
});

Deno.test("misspelt() finds names that nobody reads and that look like a known one, and no others", () => {
  const text = `
OUTBOX_PUBLISHR_ENABLED=false
# LOG_LEVL=debug
export Port=8001
DATABASE_URL=postgres://x
ORDERFLOW_HOM=/tmp/x
OTEL_DENO=true
COMPOSE_PROFILES=app
HOSTNAME=box`;
  assertEquals(misspelt(text), [
    ["OUTBOX_PUBLISHR_ENABLED", "OUTBOX_PUBLISHER_ENABLED"],
    ["Port", "PORT"],
    ["ORDERFLOW_HOM", "ORDERFLOW_HOME"],
  ]);
});

Deno.test("metricsPorts() counts up from the first port, takes free ones for 0, none for null, and never too few", () => {
  const ports = metricsPorts(9464, () => 0);
  assertEquals(
    [RELAY, ...CONSUMERS].map((spec) => ports.get(spec)),
    [RELAY, ...CONSUMERS].map((_, i) => 9464 + i),
  );
  let next = 20_000;
  assertEquals([...metricsPorts(0, () => next++).values()].at(-1), 20_000 + CONSUMERS.length);
  assertEquals(metricsPorts(null, () => 0).size, 0);
  const last = 65_535 - CONSUMERS.length;
  assertEquals(metricsPorts(last, () => 0).size, 1 + CONSUMERS.length);
  assertThrows(() => metricsPorts(last + 1, () => 0), ConfigError, `METRICS_PORT is ${last + 1}`);
});

function shell(script: string): Child {
  const child = new Deno.Command("/bin/sh", { args: ["-c", `${script}`] }).spawn();
  return { pid: child.pid, ended: child.status, signal: (name) => signalChild(child, name) };
}
