import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { runTask } from "../support/run_task.ts";
import { testBroker } from "../support/test_broker.ts";
import { shareTestSchema, testSchema } from "../support/test_schema.ts";
import { type BenchRow, benchTable, isReached, medianRows } from "./bench.ts";
import { hopRows, watchWires } from "./cost.ts";
import { usedBetween } from "./services.ts";
import { acceptRows } from "./speed.ts";

shareTestSchema();

const rowsSchema = z.array(z.object({ what: z.string(), unit: z.string(), ours: z.number() }));

Deno.test("deno task bench measures the part that it is told, and prints one JSON value", async () => {
  await using db = await testSchema();
  await using broker = await testBroker();
  const env = { DATABASE_URL: db.url, AMQP_URL: broker.url };
  const { code, out, err } = await runTask("bench", ["--tiny", "--json", "accept"], { env });
  assertEquals(code, 0, err);
  const rows = rowsSchema.parse(JSON.parse(out));
  assert(rows.length > 0 && rows.every(({ what }) => what.startsWith("accept, ")), out);
  assertStringIncludes(err, "accept: 16 connections: warming up");
  const { code: usage, err: why } = await runTask("bench", ["accept", "speed"]);
  assertEquals(usage, 64);
  assertStringIncludes(why, '"speed" is no part: accept, relay, ');
});

const row: BenchRow = { what: "accept", unit: "/s", ours: 1500, beside: 1000, goal: { atLeast: 1 } };

Deno.test("benchTable() has a line for each row, with its ratio and whether that is enough", () => {
  const rows: BenchRow[] = [
    row,
    { ...row, ours: 1000, goal: null, note: "generator: 20 %" },
    { ...row, what: "idle", unit: "%", ours: 3.25, beside: null, goal: { atMost: 3 } },
  ];
  assertEquals(
    benchTable(rows),
    [
      "what    OrderFlow  beside it  ratio  to reach",
      "accept   1,500 /s   1,000 /s   1.50       ≥ 1  reached",
      "accept   1,000 /s   1,000 /s   1.00            generator: 20 %",
      "idle       3.25 %                         ≤ 3  NOT reached",
    ].join("\n"),
  );
  assertEquals(isReached({ ...row, ours: 1000 }), true, "a bound that is met exactly");
});

Deno.test("medianRows() takes of each line the run in the middle, by its ratio", () => {
  const runs = [900, 2000, 1200].map((ours) => [{ ...row, ours }]);
  assertEquals([medianRows(runs).map(({ ours }) => ours), medianRows([])], [[1200], []]);
});

Deno.test("accepting is compared by the medians of the rounds: more orders, and a lower p99", () => {
  const round = (perSecond: number, p99: number) => ({ perSecond, p50: p99 / 2, p99, cpuShare: 0.25 });
  const rows = acceptRows(64, 2, {
    ours: [round(900, 80), round(4000, 10), round(4200, 12)],
    naive: [round(2000, 20), round(1900, 18), round(100, 500)],
  });
  assertEquals(rows.map(({ what, ours, beside }) => [what, ours, beside]), [
    ["accept, 64 connections: orders", 4000, 1900],
    ["accept, 64 connections: p50", 6, 10],
    ["accept, 64 connections: p99", 12, 20],
  ]);
  assertEquals(rows.map(isReached), [true, null, true]);
  assertEquals(rows[0]?.note, "the load generator took 25 % of a core, the naive client 25 %");
});

const stat = (pid: number, program: string, parent: number, user: number, system: number) =>
  `${pid} (${program}) S ${parent} 1 1 0 -1 4194560 1 2 3 4 ${user} ${system} 0 0 20 0 1 0 100 1000 512 10\n`;

Deno.test("usedBetween() tells our processes, the broker and the others apart, new ones and odd names included", () => {
  const before = stat(10, "deno", 1, 100, 0) + stat(11, "deno", 10, 100, 0) + stat(12, "deno", 10, 100, 0) +
    stat(20, "postgres", 1, 100, 0);
  const after = stat(10, "deno", 1, 110, 0) + stat(11, "deno", 10, 200, 0) + "cat: no such file\n" +
    stat(12, "deno", 10, 100, 50) + stat(20, "postgres", 1, 100, 0) + stat(21, "postgres", 20, 300, 0) +
    stat(30, "beam.smp", 1, 5, 5) + stat(31, "a (b) c", 1, 7, 0);
  const used = usedBetween(before, after, new Map([["api", 11], ["gone", 99]]), 10);
  const hundredths = Object.fromEntries(
    [...used].map(([name, seconds]) => [name, Math.round(seconds * 100)]),
  );
  assertEquals(hundredths, { api: 100, gone: 0, benchmark: 10, broker: 60, postgres: 300, others: 7 });
});

const bytes = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const message = (type: string, body: string) => `${type}\0\0\0${String.fromCharCode(body.length + 4)}${body}`;
const SYNC = "S\0\0\0\x04";
const ANSWER = bytes("C....Z....");
const NOTIFIED = bytes("A....");
const prepare = (name: string, sql: string) => message("P", `${name}\0${sql}\0`);
const execute = (name: string) => message("B", `\0${name}\0......`) + message("E", "....") + SYNC;
const frame = (method: string) => `\x01\0\x01\0\0\0\x09\0\x3c\0${method}.....\xce`;
const [PUBLISH, DELIVER] = [frame("\x28"), frame("\x3c")];

/** A watch, and the connections of three processes. */
function wires() {
  const watch = watchWires();
  const database = (name: string) => {
    const tap = watch.database();
    tap.sent(bytes(`....user\0me\0application_name\0orderflow ${name}\0\0`));
    tap.received(ANSWER);
    return tap;
  };
  const broker = (name: string) => {
    const tap = watch.broker();
    tap.sent(bytes(`AMQP.... connection_nameS\0\0\0\x0forderflow ${name}\x0ccapabilitiesF`));
    return tap;
  };
  const api = database("api");
  const [relay, listening, publishing] = [
    database("outbox-relay"),
    database("outbox-relay"),
    broker("outbox-relay"),
  ];
  const [seats, consuming] = [database("seats.v1"), broker("seats.v1")];
  watch.take();
  return { watch, api, relay, listening, publishing, seats, consuming };
}

Deno.test("what leaves before an answer comes is one round trip, in one write or in two; a heartbeat is none", () => {
  const { watch, api, relay } = wires();
  relay.sent(bytes(`${message("Q", "begin\0")}${execute("s1")}`));
  relay.received(ANSWER);
  relay.received(ANSWER);
  api.sent(bytes(execute("s1")));
  api.received(ANSWER);
  api.sent(bytes(message("X", "")));
  const { roundTrips, statements } = watch.take();
  assertEquals([...roundTrips], [["outbox-relay", 1], ["api", 1]]);
  assertEquals(statements, 3);
  api.sent(bytes(prepare("h1", "insert into heartbeats values ($1)") + execute("h1")));
  api.received(ANSWER);
  const next = watch.take();
  assertEquals([next.roundTrips.size, next.statements, next.heartbeats, next.hops.size], [0, 0, 1, 0]);
});

Deno.test("hops are counted along the way of an order: database, notification, delivery", () => {
  const { watch, api, relay, listening, publishing, seats, consuming } = wires();
  api.sent(bytes(execute("s1")));
  api.received(ANSWER);
  listening.received(NOTIFIED); // 1, by the commit that the API is told of at the same time
  relay.sent(bytes(execute("claim")));
  relay.received(ANSWER); // 2
  publishing.sent(bytes(`${PUBLISH}${PUBLISH}`));
  relay.sent(bytes(execute("mark")));
  relay.received(ANSWER); // beside the order's way
  consuming.received(bytes(DELIVER)); // 3
  seats.sent(bytes(execute("seat")));
  seats.received(ANSWER); // 4
  const { hops, publishes, deliveries } = watch.take();
  assertEquals(hops.get("seats.v1"), 4);
  assertEquals([publishes, deliveries], [2, 1]);
});

Deno.test("the lines have what most orders do, and the commit of a heartbeat is none of an order", () => {
  const order = (trips: number) => ({
    roundTrips: new Map([["api", 1], ["test.1a2b.seats.v1", trips]]),
    statements: 9,
    heartbeats: 2,
    publishes: 4,
    deliveries: 5,
    hops: new Map([["seats.v1", 12]]),
    writes: 16,
  });
  const rows = hopRows([order(4), order(3), order(3), order(40)], "seats.v1");
  // Round trips, statements, commits, publishes, deliveries, hops in a row.
  assertEquals(rows.map(({ ours }) => ours), [4, 9, 14, 4, 5, 12]);
  assertEquals(rows[0]?.note, "api 1, seats.v1 3");
});
