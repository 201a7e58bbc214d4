import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { createTopicTrie } from "./topic_trie.ts";

/** The rule as RabbitMQ's documentation states it, in the plainest way. */
function matches(pattern: readonly string[], key: readonly string[]): boolean {
  const [word, ...rest] = pattern;
  if (word === undefined) return key.length === 0;
  if (word === "#") return matches(rest, key) || (key.length > 0 && matches(pattern, key.slice(1)));
  return key.length > 0 && (word === "*" || word === key[0]) && matches(rest, key.slice(1));
}

const words = (...choices: string[]) => fc.array(fc.constantFrom(...choices), { minLength: 1, maxLength: 6 });
const patterns = fc.array(words("a", "b", "*", "#"), { maxLength: 12 });

Deno.test("createTopicTrie matches as the rule says, for any patterns and key", () => {
  fc.assert(
    fc.property(patterns, words("a", "b", "c"), (all, key) => {
      const trie = createTopicTrie<string>();
      for (const pattern of all) trie.add(pattern.join("."), pattern.join("."));
      const found = new Set<string>();
      trie.match(key.join("."), found);
      const expected = all.filter((pattern) => matches(pattern, key)).map((pattern) => pattern.join("."));
      assertEquals([...found].sort(), [...new Set(expected)].sort());
    }),
    { numRuns: 3000 },
  );
});

Deno.test("createTopicTrie forgets what is removed, and only that", () => {
  fc.assert(fc.property(patterns, patterns, words("a", "b"), (kept, removed, key) => {
    const trie = createTopicTrie<string>();
    for (const pattern of kept) trie.add(pattern.join("."), "kept");
    for (const pattern of removed) trie.add(pattern.join("."), "removed");
    for (const pattern of removed) trie.remove(pattern.join("."), "removed");
    const found = new Set<string>();
    trie.match(key.join("."), found);
    assertEquals([...found], kept.some((pattern) => matches(pattern, key)) ? ["kept"] : []);
  }));
});

Deno.test("createTopicTrie answers soon for patterns with many # and long keys", () => {
  const trie = createTopicTrie<string>();
  trie.add(Array(30).fill("#").join(".a."), "many"); // tried in every combination, this would take for ever
  const found = new Set<string>();
  trie.match(`${Array(120).fill("a").join(".")}.b`, found);
  assertEquals([...found], ["many"]);
});
