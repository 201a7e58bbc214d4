import { assertEquals, assertThrows } from "@std/assert";
import { type Insertion, stepsOf, withInsertion } from "./recipe_steps.ts";

const recipe = (block: string) =>
  `# A document\n\n## Add it\n\n${block}\n\n## Another section\n\nRun:\n\n\`\`\`sh\nno\n\`\`\`\n`;
const insertion = (where: "before" | "after", at: string, text: string): Insertion => ({
  kind: "insert",
  path: "a.ts",
  where,
  at,
  text,
});

Deno.test("stepsOf() reads what the paragraph before each block says, and no further than the section", () => {
  const steps = stepsOf(
    recipe(
      "**One.** Why. New file\n`a/b.ts`:\n\n```ts\nx\n```\n\nIn `a.md`, after `` `c`, `d` ``:\n\n```text\n| c |\n```\n\n" +
        "**Last.** Run:\n\n```sh\ndeno fmt\ndeno task ok\n```",
    ),
    "Add it",
  );
  assertEquals(steps, [
    { kind: "new", path: "a/b.ts", text: "x\n" },
    { kind: "insert", path: "a.md", where: "after", at: "`c`, `d`", text: "| c |\n" },
    { kind: "run", commands: ["deno fmt", "deno task ok"] },
  ]);
});

Deno.test("stepsOf() refuses a block without a place, and a section that is not there", () => {
  assertThrows(() => stepsOf(recipe("Such as:\n\n```ts\nx\n```"), "Add it"), Error, "Such as:");
  assertThrows(() => stepsOf(recipe(""), "Add that"), Error, "Add that");
});

Deno.test("withInsertion() puts lines beside the one that has the text, as far indented as that is", () => {
  assertEquals(withInsertion("a\n  b\nc\n", insertion("before", "b", "x\n  y\n")), "a\n  x\n    y\n  b\nc\n");
  assertEquals(
    withInsertion("a\n  b\nc\n", insertion("after", "b", "    x\n\n    y\n")),
    "a\n  b\n  x\n\n  y\nc\n",
  );
});

Deno.test("withInsertion() refuses a text that no line has, or more than one", () => {
  assertThrows(() => withInsertion("a\nb\n", insertion("after", "c", "x\n")), Error, "has it in 0");
  assertThrows(() => withInsertion("ab\nb\n", insertion("after", "b", "x\n")), Error, "has it in 2");
});
