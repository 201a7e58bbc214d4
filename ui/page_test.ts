import { assert, assertEquals } from "@std/assert";
import { renderLogin, renderPage } from "./page.tsx";
import { HELD_UP, REFUNDED, testId, testOrder, testPage, testPulse } from "./testdata/stories.ts";
import { START_VIEW } from "./url_state.ts";

const MARKUP = `</script><img src=x onerror=alert(1)>"'&`;

Deno.test("renderPage() shows the orders as links with status, amount and age, without any script", () => {
  const html = renderPage(
    testPage({ pulse: testPulse([testOrder({ status: "PAID", amount: "1234.50" })], 12_000) }),
  );
  assert(html.startsWith("<!doctype html>"));
  assert(html.includes(`href="/?order=${testId(1)}"`));
  for (const word of ["PAID", "1,234.50", "12 s ago", "Course with a seat"]) {
    assert(html.includes(word), word);
  }
});

Deno.test("renderPage() says where the lessons are, and how many", () => {
  const [, count, path = ""] = /(\w+) lessons, <code>(.*?)<\/code>/.exec(renderPage(testPage({}))) ?? [];
  const lessons = Array.from(
    Deno.readDirSync(new URL(`../${path}/../`, import.meta.url)),
    ({ name }) => name,
  );
  assertEquals([count, lessons.filter((name) => /^\d\d-.*\.md$/.test(name)).length], ["twelve", 12]);
  assert(lessons.includes("README.md") && path.endsWith("/README.md"), path);
});

Deno.test("renderPage() tells the selected order's story, without any script", () => {
  const view = { ...START_VIEW, order: REFUNDED.order.id };
  const html = renderPage(testPage({ view, story: REFUNDED }));
  for (
    const words of [
      "order.created waited 4 ms in the outbox",
      "Compensation",
      "REFUND_IN_PROGRESS after 35 ms",
    ]
  ) {
    assert(html.includes(words), words);
  }
  const heldUp = renderPage(testPage({ view, story: HELD_UP }));
  assert(heldUp.includes("held up by a dead letter") && heldUp.includes("dead letter: retries exhausted"));
});

Deno.test("renderPage() filters by a form that works without any script", () => {
  const html = renderPage(testPage({ view: { ...START_VIEW, status: "PAID", search: "01ab" } }));
  assert(/<form[^>]*method="get"[^>]*action="\/"/.test(html));
  assert(
    html.includes('value="01ab"') && /<option selected value="PAID"|<option value="PAID" selected/.test(html),
  );
});

Deno.test("renderPage() never lets a value become markup, in the page or in its state", () => {
  const order = testOrder({ correlationId: MARKUP });
  const story = {
    order,
    timeline: [{
      at: order.createdAt,
      kind: "dead-letter" as const,
      eventId: null,
      eventType: MARKUP,
      traceId: MARKUP,
      consumer: MARKUP,
      reason: MARKUP,
      deadLetterId: testId(9),
    }],
  };
  const view = { ...START_VIEW, order: order.id };
  const html = renderPage(
    testPage({ view, story, pulse: testPulse([order]), orders: { orders: [order], nextCursor: null } }),
  );
  assert(!html.includes("<img"), "an element came out of a value");
  assertEquals(html.split("</script>").length - 1, 2); // the state and the island
  const state = /<script type="application\/json" id="state">(.*?)<\/script>/s.exec(html)?.[1] ?? "";
  assert(!state.includes("<"));
  assertEquals(JSON.parse(state).story.order.correlationId, MARKUP);
});

Deno.test("renderPage() has no inline style or script, which the content security policy forbids", () => {
  const view = { ...START_VIEW, order: REFUNDED.order.id };
  for (const tab of ["order", "machine", "outbox", "inbox", "dead-letters", "replay", "faults"] as const) {
    const html = renderPage(testPage({ view: { ...view, tab }, story: REFUNDED }));
    assert(!/\sstyle=/.test(html), tab);
    assert(!/\son\w+=/.test(html), tab);
  }
});

Deno.test("renderPage() says so where there is no such order, and where there are no orders", () => {
  const missing = renderPage(testPage({ view: { ...START_VIEW, order: testId(7) } }));
  assert(missing.includes(`There is no order ${testId(7)}`));
  const none = renderPage(testPage({ pulse: testPulse([]), orders: { orders: [], nextCursor: null } }));
  assert(none.includes("No orders yet"));
});

Deno.test("renderLogin() asks for the token in a form, and says when it was wrong", () => {
  const html = renderLogin({ failed: false });
  assert(/<form[^>]*method="post"[^>]*action="\/login"/.test(html) && html.includes('name="token"'));
  assert(!html.includes("not the token"));
  assert(renderLogin({ failed: true }).includes("not the token"));
});
