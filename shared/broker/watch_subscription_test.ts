import { assertEquals } from "@std/assert";
import { eventually } from "../../specs/support/eventually.ts";
import { watchSubscription } from "./watch_subscription.ts";

Deno.test("watchSubscription() tells when the queue has no consumer twice in a row, and of nothing else", async () => {
  const answers = [1, 0, 1, 0, 2, 0, 0];
  let asked = 0;
  const forgottenAt: number[] = [];
  const end = watchSubscription(
    () => Promise.resolve(answers[asked++] ?? 1),
    () => forgottenAt.push(asked),
    1,
  );
  await eventually("all answers", () => asked >= answers.length);
  await eventually("the end", () => forgottenAt.length > 0);
  end();
  assertEquals(forgottenAt, [answers.length]);
});

Deno.test("watchSubscription() takes a question that fails for no answer", async () => {
  let asked = 0;
  let forgotten = 0;
  const end = watchSubscription(
    () => Promise.reject(new Error(`no channel ${asked++}`)),
    () => forgotten++,
    1,
  );
  await eventually("some questions", () => asked > 5);
  end();
  assertEquals(forgotten, 0);
});

Deno.test("watchSubscription() takes a question without an answer for a subscription that is gone", async () => {
  const answer = Promise.withResolvers<number>();
  let asked = 0;
  let forgotten = 0;
  const end = watchSubscription(
    () => {
      asked++;
      return answer.promise;
    },
    () => forgotten++,
    1,
  );
  await eventually("word of it", () => forgotten > 0);
  end();
  assertEquals(asked, 1, "a question was put while the last one was open");
  answer.resolve(1);
});
