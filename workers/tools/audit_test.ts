import { assertEquals, assertStringIncludes } from "@std/assert";
import { auditSchema } from "../../shared/ops/answers.ts";
import { insertHistory } from "../../specs/support/test_events.ts";
import { runTask } from "../../specs/support/run_task.ts";
import { shareTestSchema, testSchema } from "../../specs/support/test_schema.ts";
import { addressOf } from "../dev/child.ts";

shareTestSchema();

/** The task, which may reach the database of the test besides. */
function audit(url: string, args: string[] = []) {
  return runTask("audit", args, { env: { DATABASE_URL: url }, net: [addressOf(url)] });
}

Deno.test("deno task audit ends with 0 where every promise holds", async () => {
  await using db = await testSchema();
  await insertHistory(db.sql, "COMPLETED");
  const { code, out, err } = await audit(db.url, ["--grace=0"]);
  assertEquals([code, err], [0, ""]);
  assertStringIncludes(out, "1 orders and 4 events at ");
  assertStringIncludes(out, "Every promise holds.");
});

Deno.test("deno task audit ends with 2 where a promise is broken, and names the order", async () => {
  await using db = await testSchema();
  const id = await insertHistory(db.sql, "COMPLETED");
  await db.sql`delete from outbox_events where type = 'notification.sent'`;
  const { code, out } = await audit(db.url);
  assertEquals(code, 2);
  assertStringIncludes(out, `notification without notification.sent:\n  order ${id}: order COMPLETED,`);
  assertStringIncludes(out, "1 violation.");
  const { ok, checks } = auditSchema.parse(JSON.parse((await audit(db.url, ["--json"])).out));
  const found = checks.flatMap(({ check, violations }) => violations.map(({ orderId }) => [check, orderId]));
  assertEquals([ok, found], [false, [["notification without notification.sent", id]]]);
});

Deno.test("deno task audit ends with 1 where it cannot run", async () => {
  const away = await audit("postgres://nobody:x@127.0.0.1:1/none");
  assertEquals([away.code, away.out], [1, ""]);
  assertStringIncludes(away.err, "Cannot audit: ");
});
