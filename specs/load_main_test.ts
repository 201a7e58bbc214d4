import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { v7 as uuidv7 } from "uuid";
import { SCENARIO_USER } from "../shared/scenarios.ts";
import { type Sql, uuids } from "../shared/sql/connect.ts";
import { readFlags, UsageError } from "../workers/tools/command.ts";
import { awaitEnds, endOf, LOAD_FLAGS, loadOptions, type LoadReport } from "./load_main.ts";
import { runTask } from "./support/run_task.ts";
import { shareTestSchema, testSchema } from "./support/test_schema.ts";

shareTestSchema();

const insertOrders = (sql: Sql, ids: readonly string[]) =>
  sql`insert into orders (id, user_id, course_id, amount, correlation_id, created_at, updated_at)
      select id, ${SCENARIO_USER}, ${SCENARIO_USER}, 49.90, 'load-test', now(), now()
      from unnest(${uuids(ids)}::text::uuid[]) as id`;

/** An API that accepts every order under the next of `ids`, as long as there are some, or a new one. */
function startApi(ids: string[] = []) {
  let orders = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    await request.body?.cancel();
    orders++;
    return Response.json({ id: ids.pop() ?? uuidv7() }, { status: 201 });
  });
  const flag = `--url=http://127.0.0.1:${server.addr.port}`;
  return { flag, orders: () => orders, [Symbol.asyncDispose]: () => server.shutdown() };
}

Deno.test("deno task load ends with 0 when all orders were created and prints one JSON value, and with 1 where the API is away", async () => {
  await using api = startApi();
  const flags = ["--no-wait", "--orders=20", "--connections=2"];
  const machine = await runTask("load", [...flags, api.flag, "--json"]);
  assertEquals([machine.code, machine.err, api.orders()], [0, "", 20]);
  const report: LoadReport = JSON.parse(machine.out);
  assertEquals([report.orders, report.end], [20, null]);
  const human = await runTask("load", [...flags, api.flag]);
  assertEquals([human.code, human.err], [0, ""]);
  assertStringIncludes(human.out, "20 orders over 2 connections: ");
  const away = await runTask("load", [...flags, "--json", "--url=http://127.0.0.1:1"]);
  assertEquals([away.code, away.out], [1, ""]);
  assertStringIncludes(away.err, "127.0.0.1:1");
});

Deno.test("deno task load sees every order end, by the time in the table and however many there are", async () => {
  await using db = await testSchema();
  const ids = Array.from({ length: 2500 }, () => uuidv7());
  await insertOrders(db.sql, ids);
  await db.sql`update orders set status = case id when ${ids[0] ?? ""} then 'REFUNDED' else 'COMPLETED' end,
               updated_at = now() + interval '1 hour'`;
  await using api = startApi([...ids]);
  const flags = [`--database=${db.url}`, api.flag, "--orders=2500", "--json"];
  const { code, out, err } = await runTask("load", flags);
  assertEquals(code, 0, err);
  const { end }: LoadReport = JSON.parse(out);
  assertEquals(end?.statuses, { COMPLETED: 2499, REFUNDED: 1 });
  assertEquals(Math.round((end?.latency.p50 ?? 0) / 3_600_000), 1);
});

Deno.test("an order that does not end in time is named, with what became of it", async () => {
  await using db = await testSchema();
  const [stored, unknown] = [uuidv7(), uuidv7()];
  await insertOrders(db.sql, [stored]);
  await db.sql`update orders set status = 'PAID'`;
  const ends = (id: string) => awaitEnds({ sinceMs: new Map([[id, Date.now()]]) }, db.sql, 20);
  const open = `1 of 1 orders have not ended in time; the oldest, ${stored}, is PAID`;
  await assertRejects(() => ends(stored), Error, open);
  await assertRejects(() => ends(unknown), Error, "is not in the table orders of --database");
});

Deno.test("the end counts from the first request to the last end, whichever order has them", () => {
  const sinceMs = new Map([["a", 1000], ["b", 900], ["c", 1100]]);
  const ended = (id: string, endedMs: number, status = "COMPLETED") => ({ id, status, endedMs });
  assertEquals(endOf({ sinceMs }, [ended("b", 1900), ended("c", 2400), ended("a", 1010, "PAYMENT_FAILED")]), {
    seconds: 1.5,
    perSecond: 2,
    statuses: { COMPLETED: 2, PAYMENT_FAILED: 1 },
    latency: { p50: 1000, p99: 1300 },
  });
});

Deno.test("the running system stands in for a URL that is not given, and no database is needed where nobody waits", () => {
  const database = "postgres://postgres@127.0.0.1:5432/orderflow";
  const read = (args: string[], inEnvironment?: string) => {
    const { flags } = readFlags(args, LOAD_FLAGS) ?? {};
    assert(flags);
    return loadOptions(flags, inEnvironment, () => "http://127.0.0.1:8501");
  };
  const { url, database: seen, orders } = read([], database);
  assertEquals({ url, seen, orders }, { url: "http://127.0.0.1:8501", seen: database, orders: 2000 });
  const given = read(["--no-wait", "--url=http://[::1]:80", "--rate=70"], database);
  assertEquals([given.url, given.database, given.rate], ["http://[::1]:80", null, 70]);
  const without = () => read(["--json"]);
  assertThrows(without, UsageError, "give --database or DATABASE_URL, or --no-wait");
  for (const flag of ["--url=https://127.0.0.1", "--database=mysql://x"]) {
    assertThrows(() => read([flag]), UsageError, "URL");
  }
});
