import { assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";
import { insertHistory } from "../specs/support/order_history.ts";
import { shareTestSchema, testSchema } from "../specs/support/test_schema.ts";
import { addressOf } from "./dev/child_command.ts";

shareTestSchema();

const root = fileURLToPath(new URL("..", import.meta.url));

/** Runs the task's script under its permission set, which may reach the database of the test besides. */
async function audit(url: string, args: string[] = [], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-q",
      "--no-prompt",
      "-P=audit",
      `--allow-net=${addressOf(url)}`,
      "workers/audit_main.ts",
      ...args,
    ],
    cwd: root,
    env: { DATABASE_URL: url, NO_COLOR: "1", ...env },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

Deno.test("deno task audit ends with 0 where every promise holds", async () => {
  await using db = await testSchema();
  await insertHistory(db.sql, "COMPLETED");
  const { code, out, err } = await audit(db.url, ["--grace=0"]);
  assertEquals([code, err], [0, ""]);
  assertStringIncludes(out, "1 orders and 4 events at ");
  assertStringIncludes(out, "Every promise holds.");
});

Deno.test("deno task audit ends with 1 where a promise is broken, and names the order", async () => {
  await using db = await testSchema();
  const id = await insertHistory(db.sql, "COMPLETED");
  await db.sql`delete from outbox_events where type = 'notification.sent'`;
  const { code, out } = await audit(db.url);
  assertEquals(code, 1);
  assertStringIncludes(out, `notification without notification.sent:\n  order ${id}: order COMPLETED,`);
  assertStringIncludes(out, "1 violations.");
});

Deno.test("deno task audit ends with 2 where it cannot run, and with 78 for a wrong configuration", async () => {
  await using db = await testSchema();
  const away = await audit("postgres://nobody:x@127.0.0.1:1/none");
  assertEquals(away.code, 2);
  assertStringIncludes(away.err, "Cannot audit: ");
  const grace = await audit(db.url, ["--grace=soon"]);
  assertEquals(grace.code, 2);
  assertStringIncludes(grace.err, '--grace takes whole seconds, from 0 to 99999, not "soon"');
  const config = await audit(db.url, [], { DATABASE_ROLES: "perhaps" });
  assertEquals(config.code, 78);
  assertStringIncludes(config.err, "DATABASE_ROLES");
});
