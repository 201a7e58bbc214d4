import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { amountSchema, makeEvent, parseEvent } from "./events.ts";

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

Deno.test("parseEvent() tells why a body is no event, and what it could read of it", () => {
  const about = { eventId: created.eventId, type: "order.created", aggregateId: id, correlationId: "c-1" };
  const anonymous = { ...about, correlationId: null };
  const nothing = { eventId: null, type: null, aggregateId: null, correlationId: null };
  const spoilt = (more: object) => JSON.stringify({ ...created, ...more });
  const cases: [body: string, reason: string, detail: string, about: object][] = [
    ["{", "not JSON", "JSON", nothing],
    [spoilt({ version: 2, correlationId: 7 }), "unknown version", "version 2", anonymous],
    [spoilt({ type: "order.lost" }), "unknown type", "order.lost", { ...about, type: "order.lost" }],
    [spoilt({ data: { ...created.data, amount: "-1" } }), "invalid payload", "data.amount", about],
    [spoilt({ eventId: "x" }), "invalid payload", "eventId", { ...about, eventId: null }],
    ["null", "invalid payload", "body", nothing],
    ["[]", "invalid payload", "body", nothing],
  ];
  for (const [body, reason, detail, about] of cases) {
    const parsed = read(body);
    assert(!parsed.ok);
    assertEquals([parsed.reason, parsed.about], [reason, about]);
    assertStringIncludes(parsed.detail, detail);
  }
  const parsed = parseEvent(new Uint8Array([0xff]));
  assertEquals(parsed, { ok: false, reason: "not JSON", detail: "the body is not UTF-8", about: nothing });
});

Deno.test("parseEvent() never throws, whatever the body", () => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (body) => assertEquals(read(body).ok, false)));
  fc.assert(fc.property(fc.object(), (data) => void read(JSON.stringify({ ...created, data }))));
});
