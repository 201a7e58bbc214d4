/**
 * Four orders that look alike from outside, late and COMPLETED, and whose stories say why, through the real stack.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type BeatCause, toldStorySchema } from "../shared/ops/answers.ts";
import { eventually } from "./support/eventually.ts";
import { callApi } from "./support/http.ts";
import { settled } from "./support/ledger.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack } from "./support/test_stack.ts";

shareTestSchema();

/** By scenario: what made it late, and the sentence that names it. */
const STORIES: Record<string, { cause: BeatCause; says: string }> = {
  "provider-slow": { cause: "slow", says: "Its consumer had it for 2." },
  "crash-before-commit": {
    cause: "crashed",
    says: "that worker crashed, was stopped, or lost its connection",
  },
  "delayed-delivery": { cause: "delayed", says: "s in its queue: the broker held it back" },
  "lost-message": { cause: "lost", says: "The broker had lost it: it was sent " },
};

Deno.test("a slow consumer, a worker that crashed, a delayed broker and a lost message have stories of their own", async () => {
  await using stack = await startStack({
    FAULTS_ENABLED: "true",
    PAYMENT_PROVIDER_TIMEOUT_MS: "5000", // a slow provider takes 2 s, and more on a busy machine
    OUTBOX_RECONCILE_INTERVAL_MS: "100",
    OUTBOX_RECONCILE_AFTER_MS: "8000", // longer than whatever is only slow
  }, { revive: true, apart: ["payments-order-created"] });
  const play = async (name: string) => {
    const { id }: { id: string } = await callApi("POST", `${stack.url}/ops/scenarios/${name}`);
    return id;
  };
  // One after the other, as far as a crash would take along what others have under way.
  const crashed = await play("crash-before-commit");
  const beatsOf = async (id: string) => {
    const told = await callApi("GET", `${stack.url}/ops/orders/${id}/timeline?as=beats`);
    const { order, beats = [] } = toldStorySchema.parse(told);
    return order.status === "COMPLETED" ? beats : null;
  };
  const ofCrash = await eventually("the crashed one to be completed", () => beatsOf(crashed), 60_000);
  const others = ["provider-slow", "delayed-delivery", "lost-message"];
  const ids = await Promise.all(others.map(async (name) => [name, await play(name)] as const));
  const stories = await Promise.all(ids.map(async ([name, id]) => {
    return [name, await eventually(`${name} to be completed`, () => beatsOf(id), 60_000)] as const;
  }));
  for (const [name, beats] of [["crash-before-commit", ofCrash] as const, ...stories]) {
    const unusual = beats.filter(({ cause }) => cause !== undefined && cause !== "late");
    const { cause, says } = STORIES[name] ?? {};
    assert(unusual.some((beat) => beat.cause === cause), name); // on a busy machine others are there as well
    assertStringIncludes(unusual.map(({ text }) => text).join("\n"), says ?? "?", name);
    assert(unusual.every(({ eventType }) => eventType === "order.created"), name);
  }

  await settled(stack);
  const before = await beatsOf(crashed) ?? [];
  const published = before.find(({ kind }) => kind === "published");
  await callApi("POST", `${stack.url}/ops/outbox/${published?.eventId}/republish`);
  const again = await eventually("the repeat to be told of", async () => {
    const beats = await beatsOf(crashed);
    return beats?.at(-1)?.kind === "absorbed" && beats.at(-2)?.kind === "sent-again" && beats;
  });
  assertEquals(again.slice(0, before.length), before, "what is sent again rewrites nothing");
  assertEquals(again.slice(-2).map(({ kind, cause }) => [kind, cause]), [
    ["sent-again", "again"],
    ["absorbed", "again"],
  ]);
});
