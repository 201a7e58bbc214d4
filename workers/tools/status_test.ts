import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { stripVTControlCharacters } from "node:util";
import { z } from "zod";
import { findTroubles, frameOf, statusLines } from "./status.ts";
import { AT, figures, liveProcess, systemStatus } from "./testdata/statuses.ts";
import { QUEUES } from "../../shared/topology.ts";
import { PROCESSES } from "../dev/processes.ts";
import { freePort } from "../dev/services.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { call } from "../../specs/support/http.ts";
import { readOutput, runTask, taskCommand } from "../../specs/support/run_task.ts";
import { ORDER } from "../../specs/support/test_events.ts";
import { shareTestSchema } from "../../specs/support/test_schema.ts";
import { startStack } from "../../specs/support/test_stack.ts";
import { whySchema } from "../../shared/ops/answers.ts";
import { type SystemStatus, systemStatusSchema } from "../../shared/ops/live.ts";
import { VERSION } from "../../shared/process/metrics.ts";

Deno.test("frameOf() writes over the old lines, never clears the screen, and says how many lines, wrapped ones counted, do not fit", () => {
  const shown = frameOf(["one", "\x1b[31mtwo\x1b[0m"], { columns: 20, rows: 2 });
  assertEquals(shown, "\x1b[Hone\x1b[K\r\n\x1b[31mtwo\x1b[0m\x1b[K\x1b[J");
  const cases: [rows: number, shown: string[]][] = [
    [5, ["one", "0123456789ab", "three", "four"]],
    [4, ["one", "0123456789ab", "… 2 more l"]],
    [3, ["one", "… 3 more l"]],
  ];
  for (const [rows, lines] of cases) {
    const frame = frameOf(["one", "0123456789ab", "three", "four"], { columns: 10, rows });
    assertEquals(stripVTControlCharacters(frame).split("\r\n"), lines);
  }
});

const view = { url: "http://127.0.0.1:8000", columns: Infinity, isColoured: false };
const troublesOf = (status: SystemStatus) =>
  findTroubles(status, (task, isOfApi = true) => `deno task ${task}${isOfApi ? " --url" : ""}`);
const [PAYMENTS, ORDERS] = ["payments.order-created.v1", "orders.payment-events.v1"] as const;

Deno.test("statusLines() show what needs attention, with what to do, who is gone, what waits, is sent again or armed", () => {
  const later = (seconds: number) => new Date(Date.parse(AT) + seconds * 1000).toISOString();
  const broken = systemStatus(figures({
    outbox: { pending: 7, oldestSeconds: 95 },
    queues: [{ queue: PAYMENTS, messages: 1, consumers: 0 }, { queue: ORDERS, messages: 0, consumers: 1 }],
    processes: [
      liveProcess({ name: "payments-order-created", isStale: true, seenAt: later(-64) }),
      liveProcess({ name: "payments-order-created", clockAheadMs: -90_000 }),
    ],
    deadLetters: { [PAYMENTS]: 1, [ORDERS]: 12 },
    retries: { [PAYMENTS]: 2 },
    holds: [{ part: "relay", since: AT, until: later(90), steps: 0, because: null }],
    orders: { PENDING: 2, COMPLETED: 998 },
    latency: { p50: 24.4, p99: 81 },
    rates: { orders: 12.34, events: 0, processed: 0 },
    replays: [{ id: "r1", total: 5, sent: 1, lastError: "no route" }],
    faults: [{ point: "provider.slow", consumer: PAYMENTS, times: 2 }],
  }));
  const redrive = (consumer: string) =>
    `look at them with deno task redrive --consumer=${consumer} --dry-run --url`;
  assertEquals(statusLines(broken, troublesOf(broken), view).slice(1), [
    "database up   broker up   faults on",
    "Needs attention:",
    "  7 events waited up to 1 min 35 s in the outbox; does the broker take them? " +
    "/ops/outbox?published=false has the last error",
    "  The relay is not running: nothing is published; start one with deno task worker:outbox-relay",
    "  The consumer payments-order-created has a copy that is silent since 1 min 4 s; " +
    "process 7 on 127.0.0.1 was killed, or is stuck",
    "  Nobody consumes payments.order-created, where 1 message waits; " +
    "its process runs, and subscribes again by itself: start it anew where it does not",
    "  The consumer orders-payment-events is not running; start one with deno task worker:orders-payment-events",
    "  The clock of payments-order-created (process 7 on 127.0.0.1) is 1 min 30 s behind the database's; " +
    "set the wrong one, by NTP for example",
    "  The relay is held until 12:01 UTC; let it go on with DELETE /ops/holds/relay",
    `  1 dead letter of payments.order-created to be decided on; ${redrive(PAYMENTS)}`,
    `  12 dead letters of orders.payment-events to be decided on; ${redrive(ORDERS)}`,
    "",
    "PROCESS                 INSTANCE  HOST       PID  VERSION    UP   BEAT  BATCH  COUNTS",
    "payments-order-created  0190f3c1  127.0.0.1    7  1.2.3    gone  1 min   none",
    "payments-order-created  0190f3c1  127.0.0.1    7  1.2.3     1 h  2.0 s   none",
    "",
    "QUEUE                      MESSAGES  CONSUMERS  RETRIES  LETTERS",
    "payments.order-created.v1         1          0        2        1",
    "orders.payment-events.v1          0          1        0       12",
    "outbox    7 waiting, the oldest for 1 min 35 s",
    "orders    of the newest 1000: COMPLETED 998, PENDING 2; 12.3/s come in",
    "latency   half of them ended within 24 ms, 99 % within 81 ms",
    "replay    r1: 1 of 5 messages sent, no route",
    "faults    2 x provider.slow at payments.order-created.v1",
  ]);
});

Deno.test("findTroubles() finds none where all is busy, and says what is away", () => {
  const busy = figures({
    outbox: { pending: 5000, oldestSeconds: 29 },
    queues: [{ queue: PAYMENTS, messages: 900, consumers: 3 }],
    retries: { [PAYMENTS]: 2 },
    replays: [{ id: "r", total: 5, sent: 1, lastError: "no route" }],
    faults: [{ point: "provider.slow", consumer: null, times: 1 }],
  });
  const processes = PROCESSES.map(({ name }) => liveProcess({ name }));
  const noBroker = figures({ queues: null, processes, retries: { [PAYMENTS]: 2 } });
  const database = "The database cannot be reached: nothing goes on until it is back";
  const broker = "The broker cannot be reached: events wait in the outbox";
  const cases: [Partial<SystemStatus>, string[]][] = [
    [{ figures: busy }, []],
    [{ database: "down", broker: "down" }, [database, broker]],
    [{}, ["The database does not answer in time: there are no figures"]],
    [{ broker: "down", figures: noBroker }, [`${broker}; they go on when it is back`]],
  ];
  for (const [more, troubles] of cases) {
    const status = { ...systemStatus(null), ...more };
    assertEquals(troublesOf(status), troubles);
    const attention = troubles.length > 0 ? "Needs attention:" : "Everything is in order.";
    const lines = statusLines(status, troubles, view);
    assertEquals(lines.slice(2, 3 + troubles.length), [attention, ...troubles.map((line) => `  ${line}`)]);
    if (!status.figures) assertEquals(lines.length, 3 + troubles.length);
  }
  const unknown = `${PAYMENTS}         ?          ?        2        0`;
  assertEquals(statusLines(systemStatus(noBroker), [], view).filter((line) => line.includes("?")), [unknown]);
});

Deno.test("statusLines() is this, for a system at rest", () => {
  assertEquals(statusLines(systemStatus(figures()), [], view), [
    "OrderFlow 1.2.3 at http://127.0.0.1:8000, 2026-11-22T12:00:00.000Z",
    "database up   broker up   faults off",
    "Everything is in order.",
    "",
    "PROCESS                 INSTANCE  HOST       PID  VERSION   UP   BEAT  BATCH  COUNTS",
    "outbox-relay            0190f3c1  127.0.0.1    7  1.2.3    1 h  2.0 s   none",
    "payments-order-created  0190f3c1  127.0.0.1    7  1.2.3    1 h  2.0 s  1 min  processed 250, batches 4",
    "",
    "QUEUE                      MESSAGES  CONSUMERS  RETRIES  LETTERS",
    "payments.order-created.v1         0          1        0        0",
    "outbox    0 waiting",
    "orders    none yet",
  ]);
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
  assertEquals(coloured.map(stripVTControlCharacters), plain);
  assertEquals(plain.filter((line) => line.includes("\x1b")), []);
  const red = coloured.flatMap((line, i) => line.startsWith("\x1b[31m") ? [plain[i]] : []);
  assertEquals(red, ["Needs attention:", "  trouble", plain[6]]);
});

shareTestSchema();

const env = { OPS_TOKEN: "a-token-of-enough-characters" };
const toldSchema = systemStatusSchema.extend({ attention: z.array(z.string()) });

Deno.test("deno task status ends with 0 while all runs, with 2 when something is killed, stopped or put aside, with 1 or 64 where it cannot ask", async () => {
  await using stack = await startStack(env, { apart: ["outbox-relay"] });
  const status = (...args: string[]) => runTask("status", [...args, `--url=${stack.url}`], { env });
  const told = async () => {
    const { code, out, err } = await status("--json");
    return { code, err, ...toldSchema.parse(JSON.parse(out)) };
  };
  const well = await eventually("all processes", async () => {
    const status = await told();
    return status.code === 0 && status;
  }, 30_000);
  assertEquals([well.err, well.database, well.attention], ["", "up", []]);
  const { processes = [] } = well.figures ?? {};
  assertEquals(new Map(processes.map(({ name, pid }) => [name, pid])), stack.pids());
  assertEquals([...new Set(processes.map(({ version }) => version))], [VERSION]);
  const shown = await status();
  assertEquals([shown.code, shown.err], [0, ""]);
  assertStringIncludes(shown.out, "\nEverything is in order.\n");

  await stack.stop("payments-order-created");
  const { id } = await call(stack.url, "POST /orders", ORDER);
  const why = await eventually("the order to be unheard of", async () => {
    const { code, out } = await status(id, "--json");
    const why = whySchema.parse(JSON.parse(out));
    return code === 2 && why.cause === "no-consumer" && why;
  });
  const out = [`Order ${id}: PENDING`, why.sentence, `Since ${why.since}.`, why.action, ""].join("\n");
  assertEquals(await status(id.slice(0, 35)), { code: 2, out, err: "" });

  await stack.kill("outbox-relay");
  await stack.db.sql`
    update heartbeats set started_at = started_at - interval '1 minute', seen_at = seen_at - interval '1 minute'
    where process = 'outbox-relay'`; // as a minute later
  await stack.db.sql`
    insert into dead_letters (id, consumer, body, reason, detail, attempts, first_failed_at, last_failed_at)
    values (gen_random_uuid(), 'somebody', 'x', 'invalid', 'x', 1, now(), now())`;
  const wanted = [
    "The relay is silent since ",
    "The consumer payments-order-created is not running; ",
    "1 dead letter of somebody to be decided on; ",
  ];
  const ill = await eventually("what needs attention", async () => {
    const status = await told();
    return status.attention.length === wanted.length && status;
  });
  assertEquals(ill.code, 2);
  assertEquals(ill.attention.map((trouble, i) => trouble.slice(0, wanted[i]?.length)), wanted);
  const shownIll = await status();
  assertEquals(shownIll.code, 2);
  assertStringIncludes(shownIll.out, "\nNeeds attention:\n  The relay is silent since ");

  const refused: [args: string[], code: number, err: string][] = [
    [[id, "two", `--url=${stack.url}`], 64, "One order at a time"],
    [["--watch", "--json"], 64, "--json prints one object"],
    [["--url=http://127.0.0.1:1"], 1, "Cannot reach the API at http://127.0.0.1:1: "],
    [["--url=http://192.0.2.1:8000"], 1, 'see "ops" in deno.json'],
    [["--json", `--url=${stack.url}`], 1, "OPS_TOKEN"],
  ];
  for (const [args, code, err] of refused) {
    const told = await runTask("status", args);
    assertEquals([told.code, told.out], [code, ""]);
    assertStringIncludes(told.err, err);
  }
});

Deno.test("deno task status --watch prints the state again, outlives the API, and ends with 0 on Ctrl-C", async () => {
  const port = freePort("127.0.0.1");
  const serve = (handler: () => Response | Promise<Response>) =>
    Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, handler);
  let requests = 0;
  const api = serve(() => {
    requests++;
    return Response.json({ ...systemStatus(null), database: "down" });
  });
  const child = taskCommand("status", ["--watch", `--url=http://127.0.0.1:${port}`]).spawn();
  const { text, ended } = readOutput(child.stdout);
  await eventually("two looks", () => requests >= 2);
  await api.shutdown();
  await eventually("a look at nothing", () => text().includes("Cannot reach the API at http://127.0.0.1:"));
  const [asked, over] = [Promise.withResolvers<void>(), Promise.withResolvers<Response>()];
  const silent = serve(() => (asked.resolve(), over.promise));
  await asked.promise;
  child.kill("SIGINT"); // in the middle of a look
  assertEquals((await child.status).code, 0);
  over.resolve(new Response());
  await Promise.all([ended, child.stderr.cancel(), silent.shutdown()]);
  assertEquals(/abort/i.test(text()), false, text());
  const looks = text().split("\n\n").filter((look) => look.startsWith("OrderFlow 1.2.3 at "));
  assert(looks.length >= 2, text());
  assertStringIncludes(looks[0] ?? "", "Needs attention:\n  The database cannot be reached");
});
