import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { formatTraceparent, parseTraceparent, traceIdOf } from "./tracing.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

const hex = (digits: number) =>
  fc.stringMatching(new RegExp(`^[0-9a-f]{${digits}}$`)).filter((id) => !/^0*$/.test(id));
const contexts = fc.tuple(hex(32), hex(16), fc.integer({ min: 0, max: 255 }))
  .map(([traceId, spanId, traceFlags]) => ({ traceId, spanId, traceFlags }));

Deno.test("parseTraceparent() reads what formatTraceparent() writes", () => {
  fc.assert(fc.property(contexts, (context) => {
    const text = formatTraceparent(context);
    assertEquals([parseTraceparent(text), traceIdOf(text)], [context, context.traceId]);
  }));
});

Deno.test("parseTraceparent() keeps to the letter of the specification", () => {
  const context = { traceId: TRACE, spanId: SPAN, traceFlags: 1 };
  const cases: [text: string, read: unknown][] = [
    [`00-${TRACE}-${SPAN}-01`, context],
    [`00-${TRACE}-${SPAN}-00`, { ...context, traceFlags: 0 }],
    [`00-${TRACE}-${SPAN}-03`, { ...context, traceFlags: 3 }],
    [`cc-${TRACE}-${SPAN}-01`, context], // a later version
    [`cc-${TRACE}-${SPAN}-01-what-the-future-will-be`, context],
    [`cc-${TRACE}-${SPAN}-01.what`, null],
    [`cc-${TRACE}-${SPAN}-01-\0`, null], // no column holds it: its consumer would end at each delivery
    [`cc-${TRACE}-${SPAN}-01-a\nb`, null],
    [`cc-${TRACE}-${SPAN}-01-${"x".repeat(201)}`, null],
    [`00-${TRACE}-${SPAN}-01-more`, null],
    [`00-${TRACE}-${SPAN}-01\n`, null],
    [`ff-${TRACE}-${SPAN}-01`, null],
    [`00-${"0".repeat(32)}-${SPAN}-01`, null],
    [`00-${TRACE}-${"0".repeat(16)}-01`, null],
    [`00-${TRACE.toUpperCase()}-${SPAN}-01`, null],
    [`00-${TRACE}-${SPAN}`, null],
    [` 00-${TRACE}-${SPAN}-01`, null],
    ["", null],
  ];
  assertEquals(formatTraceparent(context), cases[0]?.[0]);
  for (const [text, read] of cases) assertEquals(parseTraceparent(text), read, JSON.stringify(text));
});
