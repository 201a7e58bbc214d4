import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { renderLogin, renderPage } from "./page.tsx";
import { testId, testOrder, testPage, testPulse, testStory } from "./testdata/page.ts";
import { LISTS, START_VIEW } from "./url_state.ts";

const MARKUP = `</script><img src=x onerror=alert(1)>"'&`;
const view = { ...START_VIEW, order: testId(1) };

Deno.test("renderPage() shows the orders as links with status, amount and age, and a form to filter them, without any script", () => {
  const order = testOrder({ status: "PAID", amount: "1234.50" });
  const html = renderPage(testPage({ pulse: testPulse(12_000, { orders: [order] }) }));
  assert(html.startsWith("<!doctype html>"));
  for (const words of [`href="/?order=${testId(1)}"`, "PAID", "1,234.50", "12 s ago", "Every part runs"]) {
    assertStringIncludes(html, words);
  }
  const filtered = renderPage(testPage({ view: { ...START_VIEW, status: "PAID", search: "01ab" } }));
  assert(/<form[^>]*action="\/"/.test(filtered) && filtered.includes('value="01ab"'));
  assert(/<option selected value="PAID"|<option value="PAID" selected/.test(filtered));
});

Deno.test("renderPage() says where the lessons are, and how many", () => {
  const [, count, path = ""] = /(\w+) lessons, <code>(.*?)<\/code>/.exec(renderPage(testPage())) ?? [];
  const folder = new URL(`../${path}/../`, import.meta.url);
  const lessons = Array.from(Deno.readDirSync(folder), ({ name }) => name);
  assertEquals([count, lessons.filter((name) => /^\d\d-.*\.md$/.test(name)).length], ["twelve", 12]);
  assert(lessons.includes("README.md") && path.endsWith("/README.md"), path);
});

Deno.test("renderPage() tells an order's story, beat by beat, without any script", () => {
  const html = renderPage(testPage({ view: { ...view, beat: 2 }, story: testStory() }));
  assertStringIncludes(html, "beat 2 of 3 · 4 ms after the order");
  assertStringIncludes(html, "The broker confirmed it, and put it into payments.order-created.");
  const titles = [
    "An order was placed",
    "The relay published order.created",
    "Payments gave up on order.created",
  ];
  for (const title of titles) assertStringIncludes(html, title);
  assertStringIncludes(html, `href="/?order=${testId(1)}&amp;beat=3"`);
  assertStringIncludes(html, "held up by a dead letter");
});

Deno.test("renderPage() never lets a value become markup, in the page or in its state", () => {
  const story = testStory({ correlationId: MARKUP });
  const beats = story.beats.map((beat) => ({ ...beat, title: MARKUP, text: MARKUP, eventType: MARKUP }));
  const html = renderPage(testPage({ view, story: { ...story, beats } }));
  assert(!html.includes("<img"), "an element came out of a value");
  assertEquals(html.split("</script>").length - 1, 2); // the state and the island
  const state = /<script type="application\/json" id="state">(.*?)<\/script>/s.exec(html)?.[1] ?? "";
  assert(!state.includes("<"));
  assertEquals(JSON.parse(state).story.order.correlationId, MARKUP);
});

Deno.test("renderPage() has no inline style or script, which the content security policy forbids", () => {
  const views = [view, ...LISTS.map((list) => ({ ...view, tab: "messages" as const, list }))];
  for (const each of views) {
    const html = renderPage(testPage({ view: each, story: testStory() }));
    assert(!/\sstyle=/.test(html) && !/\son\w+=/.test(html), each.list);
  }
});

Deno.test("renderPage() says so where there is no such order, and where there are no orders", () => {
  assertStringIncludes(renderPage(testPage({ view })), `There is no order ${testId(1)}`);
  assertStringIncludes(renderPage(testPage({ pulse: testPulse(0, { orders: [] }) })), "No orders yet");
});

Deno.test("renderLogin() asks for the token in a form that goes on where one was, and says when it was wrong", () => {
  const html = renderLogin({ failed: false, next: "/?order=1&beat=2", assets: null });
  assert(/<form[^>]*method="post"[^>]*action="\/login"/.test(html) && html.includes('name="token"'));
  assert(html.includes('value="/?order=1&amp;beat=2"') && !html.includes("not the token"));
  assertStringIncludes(renderLogin({ failed: true, next: "/", assets: null }), "not the token");
});
