import { assertEquals } from "@std/assert";
import { countBatch } from "./count_batch.ts";

Deno.test("countBatch() counts what was processed, absorbed, and is to come again or was given up", () => {
  const done = { kind: "done" } as const;
  const verdicts = [done, done, { kind: "duplicate" }, { kind: "failed", error: "x" }, {
    kind: "rejected",
    reason: "r",
    detail: "d",
  }, { kind: "early", awaits: "a" }] as const;
  assertEquals(countBatch(verdicts, 1, 1), {
    batches: 1,
    processed: 2,
    duplicates: 1,
    retries: 1,
    deadLetters: 1,
  });
});
