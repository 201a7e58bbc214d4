// Four orders that look alike from outside, late and COMPLETED, and whose stories say why, through the real stack.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type BeatCause, toldStorySchema } from "../shared/ops/answers.ts";
import { eventually } from "./support/eventually.ts";
import { ask, call } from "./support/http.ts";
import { settled } from "./support/ledger.ts";
import { runTask } from "./support/run_task.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack } from "./support/test_stack.ts";

shareTestSchema();

/** By scenario: what made it late, and the sentence that names it. */
const STORIES: Record<string, { cause: BeatCause; says: string }> = {
  "crash-before-commit": {
    cause: "crashed",
    says: "that worker crashed, was stopped, or lost its connection",
  },
  "provider-slow": { cause: "slow", says: "Its consumer had it for 2." },
  "delayed-delivery": { cause: "delayed", says: "s in its queue: the broker held it back" },
  "lost-message": { cause: "lost", says: "The broker had lost it: it was sent " },
};

Deno.test("a slow consumer, a worker that crashed, a delayed broker and a lost message have stories of their own, which deno task story tells", async () => {
  await using stack = await startStack({
    FAULTS_ENABLED: "true",
    PAYMENT_PROVIDER_TIMEOUT_MS: "5000", // a slow provider takes 2 s, and more on a busy machine
    OUTBOX_RECONCILE_INTERVAL_MS: "100",
    OUTBOX_RECONCILE_AFTER_MS: "8000", // longer than whatever is only slow
  }, { revive: true, apart: ["payments-order-created"] });
  const { url } = stack;
  const tell = (...args: string[]) => runTask("story", [...args, `--url=${url}`]);
  assertEquals(await tell(), { code: 1, out: "", err: "There is no order yet.\n" });
  const beatsOf = async (id: string) => {
    const told = await call(url, `GET /ops/orders/${id}/timeline?as=beats`);
    const { order, beats = [] } = toldStorySchema.parse(told);
    return order.status === "COMPLETED" ? beats : null;
  };
  const play = async (name: string) => {
    const { id } = await call(url, `POST /ops/scenarios/${name}`);
    return { name, id, beats: await eventually(`${name} to be completed`, () => beatsOf(id), 60_000) };
  };
  // One after the other, as far as a crash would take along what others have under way.
  const [first = "", ...others] = Object.keys(STORIES);
  const crashed = await play(first);
  for (const { name, beats } of [crashed, ...await Promise.all(others.map(play))]) {
    const unusual = beats.filter(({ cause }) => cause !== undefined && cause !== "late");
    const { cause, says } = STORIES[name] ?? {};
    assert(unusual.some((beat) => beat.cause === cause), name); // on a busy machine others are there as well
    assertStringIncludes(unusual.map(({ text }) => text).join("\n"), says ?? "?", name);
    assert(unusual.every(({ eventType }) => eventType === "order.created"), name);
  }

  await settled(stack);
  const before = await beatsOf(crashed.id) ?? [];
  const published = before.find(({ kind }) => kind === "published");
  await call(url, `POST /ops/outbox/${published?.eventId}/republish`);
  const again = await eventually("the repeat to be told of", async () => {
    const beats = await beatsOf(crashed.id);
    return beats?.at(-1)?.kind === "absorbed" && beats.at(-2)?.kind === "sent-again" && beats;
  });
  assertEquals(again.slice(0, before.length), before, "what is sent again rewrites nothing");
  assertEquals(again.slice(-2).map(({ kind, cause }) => [kind, cause]), [
    ["sent-again", "again"],
    ["absorbed", "again"],
  ]);

  const text: string = await call(url, `GET /orders/${crashed.id}/timeline?as=story`);
  for (const { title } of again) assertStringIncludes(text, `  ${title}\n`);
  assertEquals(await tell(crashed.id.slice(0, 24)), { code: 0, out: text, err: "" });
  const newest = await tell();
  assertEquals([newest.code, newest.err, newest.out.startsWith("Order ")], [0, "", true]);
  assertEquals(await tell("ffffffff"), { code: 1, out: "", err: 'No order is named "ffffffff".\n' });
  assertEquals((await ask(url, `GET /orders/${crashed.id}/timeline?as=poem`)).status, 400);
});
