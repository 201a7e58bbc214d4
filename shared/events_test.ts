import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { amountSchema, EVENT_TYPES, eventJsonSchemas, makeEvent, parseEvent } from "./events.ts";

Deno.test("amountSchema takes positive decimals that fit numeric(12,2), with two places, and nothing else", () => {
  for (const [given, kept] of Object.entries({ "49.9": "49.90", "1": "1.00", "0.01": "0.01" })) {
    assertEquals(amountSchema.parse(given), kept);
  }
  fc.assert(fc.property(fc.integer({ min: 1, max: 999_999_999_999 }), (cents) => {
    const text = `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, "0")}`;
    assertEquals(amountSchema.parse(text), text);
  }));
  // deno-fmt-ignore
  const bad = [
    "", "0", "0.00", "-1", "+1", "1.", ".5", "1.234", "1e3", "01", "10000000000", " 1", "1 ", "1,5", "NaN", "١", 49.9, null,
    undefined, {}, true,
  ];
  for (const amount of bad) {
    assertEquals(amountSchema.safeParse(amount).success, false, JSON.stringify(amount));
  }
});

const id = "01890a5d-ac96-774b-bcce-b302099a8057";
const cause = { correlationId: "c-1", traceparent: null };
const { event: created } = makeEvent(
  "order.created",
  { orderId: id, userId: id, courseId: "00000000-0000-0000-0000-000000000101", amount: "49.90" },
  cause,
  new Date("2026-01-02T03:04:05.678Z"),
);

const read = (body: string) => parseEvent(new TextEncoder().encode(body));

Deno.test("parseEvent() reads back what makeEvent() made, without the fields that a later producer may have added", () => {
  const later = { ...created, more: 1, data: { ...created.data, more: 2 } };
  for (const body of [created, later]) {
    assertEquals(read(JSON.stringify(body)), { ok: true, event: created, aggregateId: id });
  }
});

Deno.test("parseEvent() tells why a body is no event", () => {
  const cases: [unknown, string, string][] = [
    ["{", "not JSON", "JSON"],
    [JSON.stringify({ ...created, version: 2 }), "unknown version", "version 2"],
    [JSON.stringify({ ...created, type: "order.lost" }), "unknown type", "order.lost"],
    [
      JSON.stringify({ ...created, data: { ...created.data, amount: "-1" } }),
      "invalid payload",
      "data.amount",
    ],
    [JSON.stringify({ ...created, eventId: "x" }), "invalid payload", "eventId"],
    ["null", "invalid payload", "body"],
    ["[]", "invalid payload", "body"],
  ];
  for (const [body, reason, detail] of cases) {
    const parsed = read(String(body));
    assert(!parsed.ok);
    assertEquals(parsed.reason, reason);
    assertStringIncludes(parsed.detail, detail);
  }
});

Deno.test("parseEvent() still says what it could read of an event that is not valid", () => {
  const parsed = read(JSON.stringify({ ...created, version: 2, correlationId: 7 }));
  assert(!parsed.ok);
  assertEquals(parsed.about, {
    eventId: created.eventId,
    type: "order.created",
    aggregateId: id,
    correlationId: null,
  });
  const garbage = parseEvent(new Uint8Array([0xff]));
  assert(!garbage.ok);
  assertEquals(garbage.about, { eventId: null, type: null, aggregateId: null, correlationId: null });
});

Deno.test("parseEvent() never throws, whatever the body", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (body) => assertEquals(read(body).ok, false)),
  );
  fc.assert(fc.property(fc.object(), (data) => {
    read(JSON.stringify({ ...created, data }));
  }));
});

Deno.test("eventJsonSchemas() has a schema for every type, with its data", () => {
  const schemas = eventJsonSchemas();
  assertEquals(Object.keys(schemas), [...EVENT_TYPES]);
  assertStringIncludes(JSON.stringify(schemas["payment.succeeded"]), "paymentId");
});
