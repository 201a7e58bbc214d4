import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { topicMatches } from "./broker.ts";

/** The rule as RabbitMQ's documentation states it, in the plainest way. */
function matches(pattern: readonly string[], key: readonly string[]): boolean {
  const [word, ...rest] = pattern;
  if (word === undefined) return key.length === 0;
  if (word === "#") return matches(rest, key) || (key.length > 0 && matches(pattern, key.slice(1)));
  return key.length > 0 && (word === "*" || word === key[0]) && matches(rest, key.slice(1));
}

Deno.test("topicMatches() matches as the rule says, for any pattern and key", () => {
  const words = (...choices: string[]) =>
    fc.array(fc.constantFrom(...choices), { minLength: 1, maxLength: 7 });
  fc.assert(
    fc.property(words("a", "b", "*", "#"), words("a", "b", "c"), (pattern, key) => {
      assertEquals(topicMatches(pattern.join("."), key.join(".")), matches(pattern, key));
    }),
    { numRuns: 5000 },
  );
});

Deno.test("topicMatches() answers soon for a pattern with many # and a long key", () => {
  const pattern = Array(30).fill("#").join(".a."); // tried in every combination, this would take for ever
  assert(topicMatches(pattern, `${Array(120).fill("a").join(".")}.b`));
});
