import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { renderToString } from "preact-render-to-string";
import { BodyView, diffLines, laidOut, visible } from "./message_dialog.tsx";

const MARKUP = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;

Deno.test("BodyView shows JSON as JSON, null and false too, and what is none as text, whatever it holds", () => {
  const cases = [
    ["null", "null"],
    ['{"a":false}', "false"],
    [JSON.stringify({ [MARKUP]: [MARKUP] }), "onerror"],
    [`${MARKUP}\u0000\u202e`, "Not JSON."],
    [`${MARKUP}\u0000\u202e`, "\\u0000\\u202e"],
    ["�", "Neither JSON nor UTF-8"],
    ["", "(empty)"],
  ];
  for (const [body = "", shown = ""] of cases) {
    const html = renderToString(<BodyView body={body} />);
    assertStringIncludes(html, shown);
    assert(!html.includes("<img") && !html.includes("<script"), html);
  }
});

Deno.test("BodyView ends: of what is long it shows the beginning, and what is deep is not laid out", () => {
  const body = `${"[".repeat(2000)}${"]".repeat(2000)}`;
  assertEquals(laidOut(body), body);
  const html = renderToString(<BodyView body={JSON.stringify(Array.from({ length: 9000 }, (_, i) => i))} />);
  assertStringIncludes(html, "characters more");
  assert(html.length < 25_000, `${html.length}`);
});

Deno.test("visible() leaves letters, newlines and tabs alone", () => {
  assertEquals(visible("Ünï\n\tcode 漢字"), "Ünï\n\tcode 漢字");
  assertEquals(visible("a\u202eb\u0007"), "a\\u202eb\\u0007");
});

Deno.test("diffLines() has every line of both texts in order, and marks what an edit has changed", () => {
  const cases = [
    ["a b c", "a b c", " a  b  c"],
    ["a b c d", "a x c d", " a -b +x  c  d"],
    ["a b c d e", "a x c y e", " a -b +x  c -d +y  e"],
    ["a b c d", "a x d", " a -b -c +x  d"],
    ["a b", "a b c", " a  b +c"],
    ["a a", "a", " a -a"],
  ];
  for (const [before = "", after = "", expected] of cases) {
    const lines = diffLines(before.replaceAll(" ", "\n"), after.replaceAll(" ", "\n"));
    assertEquals(lines.map((line) => line.join("")).join(" "), expected);
  }
});
