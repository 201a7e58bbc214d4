import { assertEquals, assertStringIncludes } from "@std/assert";
import { auditSchema } from "../../shared/ops/answers.ts";
import { databaseAddresses } from "../../shared/process/database_url.ts";
import { insertHistory } from "../../specs/support/test_events.ts";
import { runTask } from "../../specs/support/run_task.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";

shareTestSchema();

/** The task, which may reach the database of the test besides. */
function audit(url: string, args: string[] = []) {
  return runTask("audit", args, { env: { DATABASE_URL: url }, net: databaseAddresses(url) });
}

Deno.test("deno task audit ends with 0 where every promise holds, and with 2 where one is broken, and names the order", async () => {
  await using db = await testSchema();
  const id = await insertHistory(db.sql, "COMPLETED");
  const well = await audit(db.url, ["--grace=0"]);
  assertEquals([well.code, well.err], [0, ""]);
  assertStringIncludes(well.out, "1 orders and 4 events at ");
  assertStringIncludes(well.out, "Every promise holds.");

  await db.sql`delete from outbox_events where type = 'notification.sent'`;
  const check = "notification without notification.sent";
  const ill = await audit(db.url);
  assertEquals(ill.code, 2);
  assertStringIncludes(ill.out, `${check}:\n  order ${id}: order COMPLETED,`);
  assertStringIncludes(ill.out, "1 violation.");
  const { ok, checks } = auditSchema.parse(JSON.parse((await audit(db.url, ["--json"])).out));
  const found = checks.flatMap(({ check, violations }) => violations.map(({ orderId }) => [check, orderId]));
  assertEquals([ok, found], [false, [[check, id]]]);
});

Deno.test("deno task audit ends with 1 where it cannot run", async () => {
  const away = await audit("postgres://nobody:x@127.0.0.1:1/none");
  assertEquals([away.code, away.out], [1, ""]);
  assertStringIncludes(away.err, "Cannot audit: ");
});
