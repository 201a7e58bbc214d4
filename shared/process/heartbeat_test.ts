import { assert, assertEquals, assertRejects } from "@std/assert";
import { newHeartbeat } from "../../specs/support/test_events.ts";
import { eventually } from "../../specs/support/eventually.ts";
import { testClock } from "../../specs/support/test_clock.ts";
import { testLog } from "../../specs/support/test_log.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import {
  beat,
  checkClock,
  clockAheadMs,
  createCounts,
  isWrong,
  keepBeating,
  listHeartbeats,
} from "./heartbeat.ts";
import { connect } from "../sql/connect.ts";
import { ConfigError } from "./config.ts";
import { VERSION } from "./metrics.ts";

shareTestSchema();

Deno.test("keepBeating() says at once that the process is there, later what it counted, and goodbye when it stops", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_relay");
  const stop = new AbortController();
  const counts = createCounts(["published"]);
  const beating = keepBeating({ sql, process: "outbox-relay", counts, log: testLog }, stop.signal);
  const seen = async () => (await listHeartbeats(db.as("orderflow_ops")))[0];
  const first = await eventually("the first heartbeat", seen);
  const { instance, startedAt, seenAt, ageMs, clockAheadMs: _, ...said } = first;
  const about = { process: "outbox-relay", pid: Deno.pid, host: "127.0.0.1", version: VERSION };
  assertEquals(said, { ...about, lastBatchAt: null, counts: { published: 0 } });
  assert(startedAt <= seenAt && ageMs >= 0 && ageMs < 60_000);
  await beat(db.sql, newHeartbeat({ process: "api", startedAt }));
  for (const published of [1, 3]) counts.add({ published });
  const [api, relay, ...others] = await eventually("the count", async () => {
    const listed = await listHeartbeats(db.sql);
    return listed[1]?.counts.published === 4 && listed;
  });
  assertEquals([api?.process, relay?.instance, relay?.startedAt, others], ["api", instance, startedAt, []]);
  assert(relay?.lastBatchAt instanceof Date);
  stop.abort();
  await beating;
  assertEquals((await listHeartbeats(db.sql)).map(({ process }) => process), ["api"]);
});

Deno.test("keepBeating() says once that the clock is wrong, and shows by how much", async () => {
  await using db = await testSchema();
  const warnings: unknown[] = [];
  const log = Object.create(testLog, {
    warning: { value: (_: string, facts: unknown) => warnings.push(facts) },
  });
  const stop = new AbortController();
  using clock = testClock();
  clock.aheadMs = 60_000;
  const counts = createCounts();
  const beating = keepBeating({ sql: db.as("orderflow_relay"), process: "x", counts, log }, stop.signal);
  const aheadMs = await eventually("the second heartbeat", async () => {
    return (await listHeartbeats(db.sql))[0]?.clockAheadMs;
  });
  assert(aheadMs > 50_000 && aheadMs <= 60_000, `${aheadMs}`);
  stop.abort();
  await beating;
  assertEquals(warnings, [{ secondsAheadOfDatabase: 60 }]);
});

Deno.test("keepBeating() neither fails nor holds up the end of a process whose database is away", async () => {
  const sql = connect("postgres://127.0.0.1:1/none", { name: "test", role: null, max: 1 });
  const stop = new AbortController();
  const beating = keepBeating({ sql, process: "x", counts: createCounts(), log: testLog }, stop.signal);
  await new Promise((resolve) => setTimeout(resolve, 0));
  stop.abort();
  await beating;
  await sql.end({ timeout: 1 });
});

Deno.test("beat() forgets who has been silent for ten minutes, and listHeartbeats() does not show them", async () => {
  await using db = await testSchema();
  const [silent, quiet, alive] = [newHeartbeat(), newHeartbeat(), newHeartbeat()];
  for (const each of [silent, quiet]) await beat(db.sql, each);
  const age = (instance: string, minutes: number) =>
    db.sql`update heartbeats set seen_at = now() - ${minutes}::int * interval '1 minute' where instance = ${instance}`;
  await age(silent.instance, 11);
  await age(quiet.instance, 9);
  assertEquals((await listHeartbeats(db.sql)).map(({ instance }) => instance), [quiet.instance]);
  await beat(db.sql, alive);
  const rows = await db.sql`select instance from heartbeats`;
  assertEquals(rows.map(({ instance }) => instance).toSorted(), [quiet.instance, alive.instance].toSorted());
});

Deno.test("clockAheadMs() says no more than is certain: an answer that takes long tells little", () => {
  const cases: [sent: number, database: number, answered: number, ahead: number][] = [
    [100, 105, 110, 0],
    [100, 90, 110, 10],
    [100, 130, 110, -20],
    [100, 30_000, 60_000, 0],
  ];
  for (const [sent, database, answered, ahead] of cases) {
    assertEquals(clockAheadMs(sent, database, answered), ahead);
  }
  assertEquals([5000, -5000, 5001, -5001].map(isWrong), [false, false, true, true]);
});

Deno.test("checkClock() lets no process begin whose clock is off by more than everything is kept", async () => {
  await using db = await testSchema();
  using clock = testClock();
  const check = (days: number) => {
    clock.aheadMs = days * 86_400_000;
    return checkClock(db.url, 14);
  };
  for (const days of [0, 13, -13]) await check(days);
  await assertRejects(() => check(15), ConfigError, "15.0 days ahead of");
  await assertRejects(() => check(-20), ConfigError, "20.0 days behind");
});
