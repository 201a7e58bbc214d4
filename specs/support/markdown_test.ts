import { assertEquals } from "@std/assert";
import { anchorsOf, fencedBlocks, headingsOf, linksOf, sectionOf } from "./markdown.ts";

const text = `# Title

Some [prose](a.md#b-c) and \`code\`.

## First, \`decide()\` & run

\`\`\`sh
echo '# no heading' # [no](link)
\`\`\`

\`\`\`text unordered
one
\`\`\`

Words.

\`\`\`text
two
\`\`\`

## First, \`decide()\` & run

The end.
`;

Deno.test("fencedBlocks() tells which block stands right behind another", () => {
  assertEquals(fencedBlocks(text), [
    { info: "sh", text: "echo '# no heading' # [no](link)\n", followsBlock: false },
    { info: "text unordered", text: "one\n", followsBlock: true },
    { info: "text", text: "two\n", followsBlock: false },
  ]);
});

Deno.test("headings, sections, links and anchors come from the prose alone", () => {
  assertEquals(headingsOf(text, 1), ["Title"]);
  assertEquals(headingsOf(text, 2), ["First, `decide()` & run", "First, `decide()` & run"]);
  assertEquals(linksOf(text), ["a.md#b-c"]);
  assertEquals([...anchorsOf(text)], ["title", "first-decide--run", "first-decide--run-1"]);
  assertEquals(sectionOf("# A\n\n## B\n\nx\n\n## C\n\ny\n", "B").trim(), "x");
  assertEquals(sectionOf(text, "Nothing"), "");
});
