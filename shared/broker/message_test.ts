import { assertEquals } from "@std/assert";
import type { Channel, ConsumeMessage } from "amqplib";
import { Buffer } from "node:buffer";
import { orderCreated } from "../../specs/support/test_events.ts";
import { parseEvent } from "../events.ts";
import { receive } from "./message.ts";

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** What is received of a healthy event that happened `hours` ago, with whatever headers and properties. */
function received(
  headers: Record<string, unknown> = {},
  hours = 0,
  properties: Record<string, unknown> = {},
) {
  const { event } = orderCreated();
  const message = {
    fields: { deliveryTag: 1, redelivered: false, exchange: "orderflow.events", routingKey: event.type },
    properties: { ...properties, headers },
    content: Buffer.from(JSON.stringify(event)),
  } as unknown as ConsumeMessage;
  const now = new Date(Date.parse(event.occurredAt) + hours * 3_600_000);
  return receive({} as Channel, message, { parse: parseEvent, maxBytes: 65_536 }, now);
}

Deno.test("receive() takes a healthy event with whatever headers and properties somebody has given it", () => {
  const odd: unknown[] = [null, "1", "\0", -1, 1.5, NaN, 2 ** 60, true, [], [1], {}];
  for (const value of [...odd, { "!": "timestamp", value: 1 }, Buffer.from("x"), new Date()]) {
    const headers = { traceparent: value, "x-retries": value, "x-age-ms": value, "x-delivery-count": value };
    const properties = { replyTo: value, expiration: "0", priority: 255, messageId: value, type: value };
    const { parsed, traceparent, retryState, returns } = received(headers, 0, properties);
    assertEquals([parsed.ok, traceparent, retryState, returns], [true, null, { retries: 0, ageMs: 0 }, 0]);
  }
  const traces: [traceparent: unknown, tracestate: unknown, read: string | null][] = [
    [TRACEPARENT, "rojo=1,congo=t61", "rojo=1,congo=t61"],
    ["none", "rojo=1", null],
    [TRACEPARENT, "rojo\0", null],
    [TRACEPARENT, "x".repeat(513), null],
    [TRACEPARENT, 1, null],
  ];
  for (const [traceparent, tracestate, read] of traces) {
    assertEquals(received({ traceparent, tracestate }).tracestate, read);
  }
  const good = { traceparent: TRACEPARENT, "x-retries": 2, "x-age-ms": 5000 };
  const { traceparent, retryState } = received(good);
  assertEquals([traceparent, retryState], [TRACEPARENT, { retries: 2, ageMs: 5000 }]);
});

Deno.test("receive() takes for a possible repeat what is old, or from the future by this process's clock", () => {
  const hours = [0, 0.9, 2, -2];
  assertEquals(hours.map((ago) => received({}, ago).mayBeRepeat), [false, false, true, true]);
});
