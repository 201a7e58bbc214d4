import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { renderToString } from "preact-render-to-string";
import { BodyView, JsonView, visible } from "./json_view.tsx";

const MARKUP = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;

Deno.test("JsonView shows markup in keys and values as text", () => {
  const html = renderToString(<JsonView value={{ [MARKUP]: MARKUP, list: [MARKUP] }} />);
  assert(!html.includes("<img") && !html.includes("<script"), html);
  assertEquals(html.split("&lt;img").length - 1, 3);
});

Deno.test("BodyView shows a body that is no JSON as text, whatever it holds", () => {
  const html = renderToString(<BodyView body={`${MARKUP}\u0000\u202e`} />);
  assert(!html.includes("<img") && !html.includes("<script"), html);
  assertStringIncludes(html, "Not JSON.");
  assertStringIncludes(html, "\\u0000\\u202e");
  assertStringIncludes(renderToString(<BodyView body="�" />), "Neither JSON nor UTF-8");
  assertStringIncludes(renderToString(<BodyView body="" />), "(empty)");
});

Deno.test("BodyView shows JSON as JSON, null and false too", () => {
  assertStringIncludes(renderToString(<BodyView body="null" />), "null");
  assertStringIncludes(renderToString(<BodyView body='{"a":false}' />), "false");
});

Deno.test("JsonView ends: of what is long it shows the beginning, and what is deep is not laid out", () => {
  let deep: unknown = "end";
  for (let i = 0; i < 5000; i++) deep = [deep];
  const html = renderToString(<JsonView value={{ deep, long: Array.from({ length: 5000 }, (_, i) => i) }} />);
  assertStringIncludes(html, "characters more");
  assert(html.length < 25_000, `${html.length}`);
});

Deno.test("visible() leaves letters, newlines and tabs alone", () => {
  assertEquals(visible("Ünï\n\tcode 漢字"), "Ünï\n\tcode 漢字");
  assertEquals(visible("a\u202eb\u0007"), "a\\u202eb\\u0007");
});
