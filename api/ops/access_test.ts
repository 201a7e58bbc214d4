import { assert } from "@std/assert";
import { isSame } from "./access.ts";

const TOKEN = "a-token-of-sixteen";

Deno.test("isSame() tells any two texts apart, whatever they have in common", () => {
  for (const text of [TOKEN, "", "tökén"]) assert(isSame(text, text));
  const others = ["", " ", TOKEN.slice(0, -1), TOKEN.slice(1), `${TOKEN}x`, `x${TOKEN}`, `${TOKEN}\0`];
  const changed = [...TOKEN].map((_, i) => `${TOKEN.slice(0, i)}#${TOKEN.slice(i + 1)}`);
  for (const other of [...others, ...changed, TOKEN.toUpperCase()]) {
    assert(!isSame(other, TOKEN), JSON.stringify(other));
    assert(!isSame(TOKEN, other), JSON.stringify(other));
  }
});
