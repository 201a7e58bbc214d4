import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { ORDER_STATUSES } from "../shared/order_status.ts";
import { formatView, LISTS, PAGE_SIZES, PANELS, parseView, START_VIEW, titleOf } from "./url_state.ts";

const read = (address: string) => parseView(new URL(address, "http://here").searchParams);

Deno.test("parseView() reads what formatView() wrote, for any view", () => {
  const text = fc.stringMatching(/^[\x21-\x7e]{0,36}$/);
  const id = fc.option(fc.uuid());
  const view = fc.record({
    tab: fc.constantFrom("orders" as const, "messages" as const),
    order: id,
    beat: fc.option(fc.integer({ min: 1, max: 99 })),
    played: fc.option(fc.stringMatching(/^[a-z-]{1,20}$/)),
    status: fc.option(fc.constantFrom(...ORDER_STATUSES)),
    search: text,
    limit: fc.constantFrom(...PAGE_SIZES),
    list: fc.constantFrom(...LISTS),
    type: text,
    consumer: text,
    reason: text,
    pattern: text,
    about: text,
    cursor: text,
    panel: fc.constantFrom(...PANELS),
    event: id,
    letter: id,
    set: id,
  }, { noNullPrototype: true });
  fc.assert(fc.property(view, (view) => assertEquals(read(formatView(view)), view)));
});

Deno.test("parseView() takes what it does not understand for not said, and never throws", () => {
  const ids = "order=1&event=<b>&played=<b>&beat=-1";
  assertEquals(read(`/?${ids}&status=GONE&tab=secrets&list=x&limit=1000000&panel=all`), START_VIEW);
  fc.assert(fc.property(fc.string(), (text) => void parseView(new URLSearchParams(text))));
});

Deno.test("formatView() leaves out what is as at the start; titleOf() names what is in front", () => {
  const order = "019b7c00-0000-7000-8000-0000000012ab";
  assertEquals(formatView(START_VIEW), "/");
  assertEquals(formatView({ ...START_VIEW, status: "PAID", beat: 7 }), "/?beat=7&status=PAID");
  assertEquals(titleOf(START_VIEW), "OrderFlow");
  assertEquals(titleOf({ ...START_VIEW, order, beat: 7 }), "Order 019b7c00…12ab, beat 7 · OrderFlow");
  assertEquals(titleOf({ ...START_VIEW, order, tab: "messages" }), "Messages · OrderFlow");
});
