import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { ORDER_STATUSES } from "../shared/order_status.ts";
import { formatView, PAGE_SIZES, parseView, START_VIEW, TABS, titleOf } from "./url_state.ts";

const read = (address: string) => parseView(new URL(address, "http://here").searchParams);

Deno.test("parseView() reads what formatView() wrote, for any view", () => {
  const view = fc.record({
    order: fc.option(fc.uuid()),
    event: fc.option(fc.uuid()),
    status: fc.option(fc.constantFrom(...ORDER_STATUSES)),
    search: fc.stringMatching(/^[0-9a-f-]{0,36}$/),
    limit: fc.constantFrom(...PAGE_SIZES),
    tab: fc.constantFrom(...TABS),
  }, { noNullPrototype: true });
  fc.assert(fc.property(view, (view) => assertEquals(read(formatView(view)), view)));
});

Deno.test("parseView() takes what it does not understand for not said, and never throws", () => {
  assertEquals(read("/?order=1&event=<b>&status=GONE&tab=secrets&limit=1000000"), START_VIEW);
  fc.assert(fc.property(fc.string(), (text) => {
    parseView(new URLSearchParams(text));
  }));
});

Deno.test("parseView() cleans a search to what an id can begin with", () => {
  assertEquals(read("/?search=01A2-xyz%25'").search, "01a2-");
});

Deno.test("formatView() leaves out what is as at the start", () => {
  assertEquals(formatView(START_VIEW), "/");
  assertEquals(formatView({ ...START_VIEW, status: "PAID", tab: "outbox" }), "/?tab=outbox&status=PAID");
});

Deno.test("titleOf() names the order or the tab in front", () => {
  const order = "019b7c00-0000-7000-8000-0000000012ab";
  assertEquals(titleOf(START_VIEW), "OrderFlow");
  assertEquals(titleOf({ ...START_VIEW, order }), "Order 019b7c00…12ab · OrderFlow");
  assertEquals(titleOf({ ...START_VIEW, order, tab: "dead-letters" }), "Dead letters · OrderFlow");
});
