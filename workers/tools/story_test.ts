import { assertEquals, assertStringIncludes } from "@std/assert";
import { eventually } from "../../specs/support/eventually.ts";
import { ask, call } from "../../specs/support/http.ts";
import { runTask } from "../../specs/support/run_task.ts";
import { shareTestSchema } from "../../specs/support/test_schema.ts";
import { startStack } from "../../specs/support/test_stack.ts";

shareTestSchema();

Deno.test("deno task story tells a refund in the words of GET /orders/:id/timeline?as=story, found by the beginning of its id", async () => {
  await using stack = await startStack({}, { apart: [] });
  const url = `--url=${stack.url}`;
  const none = await runTask("story", [url]);
  assertEquals([none.code, none.err], [1, "There is no order yet.\n"]);

  const { id } = await call(stack.url, "POST /ops/scenarios/enrollment-failure");
  const text = await eventually("the whole story", async () => {
    const story: string = await call(stack.url, `GET /orders/${id}/timeline?as=story`);
    return story.includes("published notification.sent") && story.includes("REFUNDED") ? story : null;
  });
  for (const title of ["An order was placed", "Payments charged the card", "Payments gave the money back"]) {
    assertStringIncludes(text, `  ${title}\n`);
  }
  assertStringIncludes(
    text,
    "One transaction: the refund, the inbox row for refund.requested, and refund.succeeded in the outbox.",
  );
  for (const args of [[id.slice(0, 24)], []]) {
    assertEquals(await runTask("story", [...args, url]), { code: 0, out: text, err: "" });
  }
  const unknown = await runTask("story", ["ffffffff", url]);
  assertEquals([unknown.code, unknown.err], [1, 'No order is named "ffffffff".\n']);
  assertEquals((await ask(stack.url, `GET /orders/${id}/timeline?as=poem`)).status, 400);
});
