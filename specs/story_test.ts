/**
 * Four orders that look alike from outside, late and COMPLETED, and whose stories say why, through the real stack.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type BeatCause, toldStorySchema } from "../shared/ops/answers.ts";
import { eventually } from "./support/eventually.ts";
import { shareTestSchema } from "./support/test_schema.ts";
import { startStack } from "./support/test_stack.ts";

shareTestSchema();

/** By scenario: the causes of all beats that have one, in their order, and the sentence that names it. */
const STORIES: Record<string, { causes: BeatCause[]; says: string }> = {
  "provider-slow": { causes: ["slow", "slow"], says: "Its consumer had it for 2." },
  "crash-before-commit": {
    causes: ["crashed", "crashed"],
    says: "that worker crashed, was stopped, or lost its connection",
  },
  "delayed-delivery": { causes: ["delayed"], says: "s in its queue: the broker held it back" },
  "lost-message": { causes: ["lost", "lost"], says: "The broker had lost it: it was sent " },
};

Deno.test("a slow consumer, a worker that crashed, a delayed broker and a lost message have stories of their own", async () => {
  await using stack = await startStack({
    FAULTS_ENABLED: "true",
    PAYMENT_PROVIDER_TIMEOUT_MS: "3000", // a slow provider takes 2 s
    OUTBOX_RECONCILE_INTERVAL_MS: "100",
    OUTBOX_RECONCILE_AFTER_MS: "8000", // longer than whatever is only slow
  }, { revive: true, apart: ["payments-order-created"] });
  const play = async (name: string) => {
    const response = await fetch(`${stack.url}/ops/scenarios/${name}`, { method: "POST" });
    assertEquals(response.status, 201);
    const { id }: { id: string } = await response.json();
    return id;
  };
  // One after the other, as far as a crash would take along what others have under way.
  const crashed = await play("crash-before-commit");
  const beatsOf = async (id: string) => {
    const answer = await fetch(`${stack.url}/ops/orders/${id}/timeline?as=beats`);
    const { order, beats = [] } = toldStorySchema.parse(await answer.json());
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
    const { causes, says } = STORIES[name] ?? { causes: [], says: "" };
    assertEquals(unusual.map(({ cause }) => cause), causes, name);
    assertStringIncludes(unusual.map(({ text }) => text).join("\n"), says, name);
    assert(unusual.every(({ eventType }) => eventType === "order.created"), name);
  }
});
