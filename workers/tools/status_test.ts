import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { findTroubles as troublesOf, frameOf, statusLines } from "./status.ts";
import { AT, figures, liveProcess, systemStatus } from "./testdata/statuses.ts";
import { QUEUES } from "../../shared/topology.ts";
import { PROCESSES } from "../dev/processes.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { runTask, taskCommand } from "../../specs/support/run_task.ts";
import { shareTestSchema } from "../../specs/support/test_schema.ts";
import { startStack } from "../../specs/support/test_stack.ts";
import type { SystemStatus } from "../../shared/ops/live.ts";
import { VERSION } from "../../shared/process/metrics.ts";
import { readOutput } from "../../specs/support/read_output.ts";

Deno.test("frameOf() writes each line over the old one, and never clears the whole screen", () => {
  assertEquals(
    frameOf(["one", "\x1b[31mtwo\x1b[0m"], { columns: 20, rows: 5 }),
    "\x1b[Hone\x1b[K\r\n\x1b[31mtwo\x1b[0m\x1b[K\x1b[J",
  );
});

Deno.test("frameOf() leaves away what does not fit, wrapped lines counted, and says so", () => {
  const lines = ["one", "0123456789ab", "three", "four"];
  const shown = (rows: number) =>
    frameOf(lines, { columns: 10, rows }).replaceAll("\x1b[K", "").split("\r\n").slice(1);
  assertEquals(shown(5), ["0123456789ab", "three", "four\x1b[J"]);
  assertEquals(shown(4), ["0123456789ab", "… 2 more l\x1b[J"]);
  assertEquals(shown(3), ["… 3 more l\x1b[J"]);
});

const findTroubles = (status: SystemStatus) =>
  troublesOf(status, ["outbox-relay", "payments-order-created"], (task) => `deno task ${task}`);

Deno.test("findTroubles() has nothing to say of a system that is busy, retries, replays, and has faults armed", () => {
  const busy = figures({
    outbox: { pending: 5000, oldestSeconds: 29 },
    queues: [{ queue: "payments.order-created.v1", messages: 900, consumers: 3 }],
    retries: { "payments.order-created.v1": 2 },
    replays: [{ id: "r", total: 5, sent: 1, lastError: "no route" }],
    faults: [{ point: "provider.slow", consumer: null, times: 1 }],
  });
  assertEquals(findTroubles(systemStatus(busy)), []);
});

Deno.test("findTroubles() names each thing that needs attention, with what to do", () => {
  const broken = figures({
    outbox: { pending: 7, oldestSeconds: 95 },
    queues: [
      { queue: "payments.order-created.v1", messages: 1, consumers: 0 },
      { queue: "orders.payment-events.v1", messages: 0, consumers: 1 },
    ],
    processes: [
      liveProcess({
        name: "payments-order-created",
        isStale: true,
        seenAt: new Date(Date.parse(AT) - 64_000).toISOString(),
      }),
    ],
    deadLetters: { "payments.order-created.v1": 1, "orders.payment-events.v1": 12 },
  });
  const redrive = (consumer: string) =>
    `look at them with deno task redrive --consumer=${consumer} --dry-run`;
  assertEquals(findTroubles(systemStatus(broken)), [
    "payments-order-created (process 7 on 127.0.0.1) has been silent for 1 min 4 s: it was killed, or is stuck",
    "no outbox-relay runs: start one with deno task worker:outbox-relay",
    "nobody consumes payments.order-created.v1, where 1 message waits",
    "7 events wait in the outbox, the oldest for 1 min 35 s: is the relay running, and does the broker take it? " +
    "/ops/outbox?published=false has its last error",
    `1 dead letter of payments.order-created.v1: ${redrive("payments.order-created.v1")}`,
    `12 dead letters of orders.payment-events.v1: ${redrive("orders.payment-events.v1")}`,
  ]);
});

Deno.test("findTroubles() says which service is away, and where there are no figures", () => {
  const database = "the database cannot be reached: nothing goes on until it is back";
  const broker = "the broker cannot be reached: events wait in the outbox until it is back";
  const slow = "the database does not answer in time: there are no figures";
  assertEquals(findTroubles({ ...systemStatus(null), database: "down" }), [database]);
  assertEquals(findTroubles({ ...systemStatus(null), database: "down", broker: "down" }), [
    database,
    broker,
  ]);
  assertEquals(findTroubles(systemStatus(null)), [slow]);
  const away = { ...systemStatus(figures({ queues: null })), broker: "down" as const };
  assertEquals(findTroubles(away), [broker]);
});

const view = { url: "http://127.0.0.1:8000", columns: Infinity, isColoured: false };

Deno.test("statusLines() is this, for a system at rest", () => {
  assertEquals(statusLines(systemStatus(figures()), [], view), [
    "OrderFlow 1.2.3 at http://127.0.0.1:8000, 2026-11-22T12:00:00.000Z",
    "database up   broker up   faults off",
    "Everything is in order.",
    "",
    "PROCESS                 INSTANCE  HOST       PID  VERSION   UP  BEAT  BATCH  COUNTS",
    "outbox-relay            0190f3c1  127.0.0.1    7  1.2.3    1 h   2 s   none",
    "payments-order-created  0190f3c1  127.0.0.1    7  1.2.3    1 h   2 s  1 min  processed 250, batches 4",
    "",
    "QUEUE                      MESSAGES  CONSUMERS  RETRIES  LETTERS",
    "payments.order-created.v1         0          1        0        0",
    "outbox    0 waiting",
    "orders    none yet",
  ]);
});

Deno.test("statusLines() shows who is gone, what waits, what is sent again and what is armed", () => {
  const busy = figures({
    processes: [liveProcess({ isStale: true })],
    outbox: { pending: 3, oldestSeconds: 61.5 },
    queues: null,
    retries: { "payments.order-created.v1": 2 },
    deadLetters: { "orders.payment-events.v1": 1 },
    orders: { PENDING: 2, COMPLETED: 998 },
    latency: { p50: 24.4, p99: 81 },
    rates: { orders: 12.34, events: 0, processed: 0 },
    replays: [{ id: "r1", total: 5, sent: 1, lastError: "no route" }],
    faults: [{ point: "provider.slow", consumer: "payments.order-created.v1", times: 2 }],
  });
  const lines = statusLines({ ...systemStatus(busy), broker: "down" }, ["first", "second"], view);
  assertEquals(lines.slice(1), [
    "database up   broker down   faults on",
    "Needs attention:",
    "  first",
    "  second",
    "",
    "PROCESS       INSTANCE  HOST       PID  VERSION    UP  BEAT  BATCH  COUNTS",
    "outbox-relay  0190f3c1  127.0.0.1    7  1.2.3    gone   2 s   none",
    "",
    "QUEUE                      MESSAGES  CONSUMERS  RETRIES  LETTERS",
    "payments.order-created.v1         ?          ?        2        0",
    "orders.payment-events.v1          ?          ?        0        1",
    "outbox    3 waiting, the oldest for 1 min 1 s",
    "orders    of the newest 1000: COMPLETED 998, PENDING 2; 12.3/s come in",
    "latency   half of them ended within 24 ms, 99 % within 81 ms",
    "replay    r1: 1 of 5 messages sent, no route",
    "faults    2 x provider.slow at payments.order-created.v1",
  ]);
  const away = statusLines({ ...systemStatus(null), database: "down" }, ["gone"], view);
  assertEquals(away.slice(1), ["database down   broker up", "Needs attention:", "  gone"]);
});

Deno.test("statusLines() of the whole system fits 80 columns of 24 lines and 60 columns: columns go first, then the last is cut", () => {
  const names = PROCESSES.map(({ name }) => name);
  const counts = { processed: 123_456, batches: 4321, duplicates: 12, retries: 3 };
  const status = systemStatus(figures({
    processes: names.map((name) => liveProcess({ name, counts, pid: 1_234_567, lastBatchAt: AT })),
    queues: Object.values(QUEUES).map(({ name }) => ({ queue: name, messages: 12_345, consumers: 1 })),
    orders: { COMPLETED: 900, REFUNDED: 50, PAYMENT_FAILED: 40, PENDING: 10 },
    latency: { p50: 24, p99: 81 },
    faults: [],
  }));
  const at = (columns: number) => statusLines(status, [], { ...view, columns });
  assert(at(80).length <= 24, at(80).join("\n"));
  for (const columns of [120, 100, 80, 60, 40]) {
    for (const line of at(columns)) assert(line.length <= columns, `${columns}: ${line}`);
  }
  const shown = (columns: number, line: number) => at(columns)[line]?.split(/ {2,}/);
  assertEquals(shown(80, 4), ["PROCESS", "PID", "UP", "BEAT", "BATCH", "COUNTS"]);
  assertEquals(shown(60, 4), ["PROCESS", "UP", "BEAT", "COUNTS"]);
  assertEquals(shown(60, 12)?.[0], "notifications-final-events");
  assertEquals(shown(60, 14), ["QUEUE", "MESSAGES", "RETRIES", "LETTERS"]);
});

Deno.test("statusLines() uses colours only where it may: red for what needs attention", () => {
  const status = systemStatus(figures({ processes: [liveProcess({ isStale: true })] }));
  const plain = statusLines(status, ["trouble"], view);
  const coloured = statusLines(status, ["trouble"], { ...view, isColoured: true });
  // deno-lint-ignore no-control-regex -- the escape character is what colours start with
  assertEquals(coloured.map((line) => line.replaceAll(/\x1b\[\d+m/g, "")), plain);
  assert(plain.every((line) => !line.includes("\x1b")));
  assertEquals(coloured.filter((line) => line.startsWith("\x1b[31m")), [
    "\x1b[31mNeeds attention:\x1b[0m",
    "\x1b[31m  trouble\x1b[0m",
    `\x1b[31m${plain[6]}\x1b[0m`,
  ]);
});

shareTestSchema();

const token = "a-token-of-enough-characters";
const env = { OPS_TOKEN: token };
const toldSchema = z.object({
  database: z.string(),
  attention: z.array(z.string()),
  figures: z.object({
    processes: z.array(z.object({ name: z.string(), version: z.string(), pid: z.int() })),
  }),
});

Deno.test("deno task status ends with 0 while all runs, with 2 and the reason when something is killed, stopped or put aside", async () => {
  await using stack = await startStack(env, { apart: ["outbox-relay"] });
  const url = `--url=${stack.url}`;
  const told = async () => {
    const { code, out, err } = await runTask("status", ["--json", url], { env });
    return { code, err, ...toldSchema.parse(JSON.parse(out)) };
  };
  const well = await eventually("all processes", async () => {
    const status = await told();
    return status.code === 0 && status;
  }, 30_000);
  assertEquals([well.err, well.database, well.attention], ["", "up", []]);
  const { processes } = well.figures;
  assertEquals(new Map(processes.map(({ name, pid }) => [name, pid])), stack.pids());
  assertEquals([...new Set(processes.map(({ version }) => version))], [VERSION]);
  const shown = await runTask("status", [url], { env });
  assertEquals([shown.code, shown.err], [0, ""]);
  for (const line of shown.out.split("\n")) assert(!line.includes("\x1b"), line);
  const line = shown.out.split("\n").find((line) => line.startsWith("outbox-relay ")) ?? "";
  assert(line.includes(` ${VERSION} `) && / [0-9]+ s +none/.test(line), shown.out);
  assertStringIncludes(shown.out, "\nEverything is in order.\n");

  const relayPid = stack.pids().get("outbox-relay");
  await stack.kill("outbox-relay");
  await stack.db.sql`
    update heartbeats set started_at = started_at - interval '1 minute', seen_at = seen_at - interval '1 minute'
    where process = 'outbox-relay'`; // as a minute later
  await stack.stop("payments-order-created");
  await stack.db.sql`
    insert into dead_letters (id, consumer, body, reason, detail, attempts, first_failed_at, last_failed_at)
    values (gen_random_uuid(), 'somebody', 'x', 'invalid', 'x', 1, now(), now())`;
  const { paymentsOrderCreated } = stack.broker.topology.queues;
  const wanted = [
    `outbox-relay (process ${relayPid} on 127.0.0.1) has been silent for 1 min`,
    "no payments-order-created runs: start one with deno task worker:payments-order-created",
    `nobody consumes ${paymentsOrderCreated.name}, where 0 messages wait`,
    "1 dead letter of somebody: look at them with deno task redrive --consumer=somebody --dry-run",
  ];
  const ill = await eventually("what needs attention", async () => {
    const status = await told();
    return status.attention.length === wanted.length && status;
  });
  assertEquals(ill.code, 2);
  ill.attention.forEach((trouble, i) => assertStringIncludes(trouble, wanted[i] ?? ""));
  const { code, out } = await runTask("status", [url], { env });
  assertEquals(code, 2);
  assertStringIncludes(out, "\nNeeds attention:\n  outbox-relay (process ");

  const refused = await runTask("status", ["--json", url]);
  assertEquals([refused.code, refused.out], [1, ""]);
  assertStringIncludes(refused.err, "OPS_TOKEN");
});

Deno.test("deno task status --watch prints the state again, outlives the API, and ends with 0 on Ctrl-C", async () => {
  let requests = 0;
  const figures = null;
  const status = { at: new Date().toISOString(), version: "1.2.3", database: "down", broker: "up", figures };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    requests++;
    return Response.json(status);
  });
  const child = taskCommand("status", ["--watch", `--url=http://127.0.0.1:${server.addr.port}`]).spawn();
  const output = readOutput(child.stdout);
  await eventually("two looks", () => requests >= 2);
  await server.shutdown();
  await eventually(
    "a look at nothing",
    () => output.text().includes("Cannot reach the API at http://127.0.0.1:"),
  );
  child.kill("SIGINT");
  assertEquals((await child.status).code, 0);
  await output.ended;
  await child.stderr.cancel();
  const printed = output.text();
  const looks = printed.split("\n\n");
  assert(looks.filter((look) => look.startsWith("OrderFlow 1.2.3 at ")).length >= 2, printed);
  assertStringIncludes(printed, "  the database cannot be reached");
});

Deno.test("deno task status ends with 1 where the API is away, or on another machine", async () => {
  const away = await runTask("status", ["--url=http://127.0.0.1:1"]);
  assertEquals([away.code, away.out], [1, ""]);
  assertStringIncludes(away.err, "Cannot reach the API at http://127.0.0.1:1: ");
  assertStringIncludes(away.err, "Start it with deno task dev");
  const elsewhere = await runTask("status", ["--url=http://192.0.2.1:8000"]);
  assertEquals([elsewhere.code, elsewhere.out], [1, ""]);
  assertStringIncludes(elsewhere.err, 'see "ops" in deno.json');
  const both = await runTask("status", ["--watch", "--json"]);
  assertEquals([both.code, both.out], [64, ""]);
});
