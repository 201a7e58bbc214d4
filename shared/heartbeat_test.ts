import { assert, assertEquals } from "@std/assert";
import { eventually } from "../specs/support/eventually.ts";
import { testLog } from "../specs/support/test_log.ts";
import { shareTestSchema, testSchema } from "../specs/support/test_schema.ts";
import { createCounts, keepBeating } from "./heartbeat.ts";
import { connect } from "./sql/connect.ts";
import { listHeartbeats } from "./sql/heartbeats.ts";
import { VERSION } from "./version.ts";

shareTestSchema();

Deno.test("createCounts() adds up, knows when it last did, and tells that there is news", () => {
  const counts = createCounts(["published", "refused"]);
  assertEquals(counts.read(), { counts: { published: 0, refused: 0 }, lastBatchAt: null });
  const before = counts.news;
  counts.add({ published: 2 });
  counts.add({ published: 3, retries: 1 });
  assert(before.aborted);
  const { counts: sums, lastBatchAt } = counts.read();
  assertEquals(sums, { published: 5, refused: 0, retries: 1 });
  assert(lastBatchAt instanceof Date);
  assert(!counts.news.aborted);
});

Deno.test("keepBeating() says at once that the process is there, later what it counted, and goodbye when it stops", async () => {
  await using db = await testSchema();
  const sql = db.as("orderflow_relay");
  const stop = new AbortController();
  const counts = createCounts(["published"]);
  const beating = keepBeating({ sql, process: "outbox-relay", counts, log: testLog }, stop.signal);
  const [first] = await eventually("the first heartbeat", async () => {
    const seen = await listHeartbeats(db.sql);
    return seen.length > 0 && seen;
  });
  assertEquals([first?.process, first?.pid, first?.counts], ["outbox-relay", Deno.pid, { published: 0 }]);
  assertEquals([first?.version, first?.lastBatchAt], [VERSION, null]);
  counts.add({ published: 4 });
  const next = await eventually("the count", async () => {
    const [seen] = await listHeartbeats(db.sql);
    return seen?.counts.published === 4 && seen;
  });
  assertEquals(next.instance, first?.instance);
  assert(next.lastBatchAt instanceof Date);
  stop.abort();
  await beating;
  assertEquals(await listHeartbeats(db.sql), []);
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
