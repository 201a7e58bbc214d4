import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AmqpError, byteReader, type ByteWriter, byteWriter, write, writtenBytes } from "./bytes.ts";
import { type Field, type FieldTable, readTable, skipTable, writeTable } from "./bytes.ts";
import * as frames from "./frames.ts";
import { readMethod, writeMethod } from "./methods.ts";
import { checkProperties, withHeaders } from "./bytes.ts";

const shortText = fc.string({ unit: "grapheme", maxLength: 20 });
const flag = fc.boolean();
const tables = fc.letrec<{ field: Field; table: FieldTable }>((tie) => ({
  field: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.oneof(shortText, fc.maxSafeInteger(), flag, fc.constant(null)),
    fc.nat(2 ** 31).map((seconds) => new Date(seconds * 1000)),
    fc.array(tie("field"), { maxLength: 4 }),
    tie("table"),
  ),
  table: fc.array(fc.tuple(shortText, tie("field")), { maxLength: 5 }).map((fields) => new Map(fields)),
}));
const junk = fc.uint8Array({ maxLength: 200 }).map((bytes) => new Uint8Array(bytes));

/** What `write` writes, into a buffer that grows again and again. */
function written(fill: (writer: ByteWriter) => void): Uint8Array<ArrayBuffer> {
  const writer = byteWriter(1);
  fill(writer);
  return writtenBytes(writer).slice();
}

/** Honest bytes with one changed, cut off somewhere. */
function damaged(honest: fc.Arbitrary<Uint8Array<ArrayBuffer>>): fc.Arbitrary<Uint8Array<ArrayBuffer>> {
  return fc.tuple(honest, fc.nat(), fc.nat(255), fc.nat()).map(([bytes, at, byte, cut]) => {
    const copy = bytes.slice();
    copy[at % copy.length] = byte;
    return copy.slice(0, cut % (copy.length + 1));
  });
}

/** Whether `read` succeeds; it may fail with these codes only. */
function succeeds(codes: readonly number[], read: () => unknown): boolean {
  try {
    read();
    return true;
  } catch (error) {
    assert(error instanceof AmqpError && codes.includes(error.code), String(error));
    return false;
  }
}

Deno.test("readTable() reads what writeTable() wrote", () => {
  fc.assert(fc.property(tables.table, (table) => {
    const reader = byteReader(written((writer) => writeTable(writer, table)));
    assertEquals(readTable(reader), table);
    assertEquals(reader.at, reader.end);
  }));
});

Deno.test("readTable() and skipTable() agree on any bytes, and fail with 502 only", () => {
  const honest = tables.table.map((table) => written((writer) => writeTable(writer, table)));
  fc.assert(
    fc.property(fc.oneof(damaged(honest), junk), (bytes) => {
      const [isRead, isSkipped] = [readTable, skipTable].map((f) =>
        succeeds([502], () => f(byteReader(bytes)))
      );
      assertEquals(isRead, isSkipped);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("skipTable() refuses tables nested deeper than 32, however short", () => {
  const nested = (depth: number): FieldTable => new Map(depth === 0 ? [] : [["t", nested(depth - 1)]]);
  const skip = (depth: number) =>
    skipTable(byteReader(written((writer) => writeTable(writer, nested(depth)))));
  skip(32);
  assertThrows(() => skip(33), AmqpError, "nested deeper than 32");
});

Deno.test("readMethod() reads what writeMethod() wrote: bits, numbers, texts, tables", () => {
  const bits = { passive: flag, durable: flag, exclusive: flag, autoDelete: flag, noWait: flag };
  const declare = fc.record({ ticket: fc.nat(65_535), queue: shortText, ...bits, arguments: tables.table }, {
    noNullPrototype: true,
  });
  const texts = { consumerTag: shortText, exchange: shortText, routingKey: shortText };
  const deliver = fc.record({ deliveryTag: fc.maxSafeNat(), redelivered: flag, ...texts }, {
    noNullPrototype: true,
  });
  fc.assert(fc.property(declare, deliver, (declare, deliver) => {
    const declared = byteReader(written((writer) => writeMethod(writer, "queue.declare", declare)));
    assertEquals(readMethod(declared), { name: "queue.declare", args: declare });
    const delivered = byteReader(written((writer) => writeMethod(writer, "basic.deliver", deliver)));
    assertEquals(readMethod(delivered), { name: "basic.deliver", args: deliver });
  }));
});

Deno.test("writeMethod() lays out basic.ack as the specification has it, and cuts short strings at a character", () => {
  const ack = written((writer) => writeMethod(writer, "basic.ack", { deliveryTag: 258, multiple: true }));
  assertEquals([...ack], [0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 1, 2, 1]);
  const reason = "ž".repeat(200);
  const blocked = written((writer) => writeMethod(writer, "connection.blocked", { reason }));
  assertEquals(readMethod(byteReader(blocked)).args, { reason: "ž".repeat(127) });
});

Deno.test("readMethod() fails on any other bytes with 502 or 540 only", () => {
  const flags = { noLocal: false, noAck: false, exclusive: false, noWait: false };
  const consume = { ticket: 0, queue: "queue", consumerTag: "tag", ...flags };
  const honest = written((writer) =>
    writeMethod(writer, "basic.consume", { ...consume, arguments: new Map([["x-queue-type", "quorum"]]) })
  );
  fc.assert(
    fc.property(fc.oneof(damaged(fc.constant(honest)), junk), (bytes) => {
      succeeds([502, 540], () => readMethod(byteReader(bytes)));
    }),
    { numRuns: 2000 },
  );
});

type Properties = {
  contentType?: string;
  headers?: FieldTable;
  expiration?: string;
  timestamp?: number;
  appId?: string;
};

const arbitraryProperties: fc.Arbitrary<Properties> = fc.record({
  contentType: fc.string({ maxLength: 20 }),
  headers: tables.table,
  expiration: fc.nat().map(String),
  timestamp: fc.nat(),
  appId: shortText,
}, { requiredKeys: [] });

function encoded(
  { contentType, headers, expiration, timestamp, appId }: Properties,
): Uint8Array<ArrayBuffer> {
  const bits = { 15: contentType, 13: headers, 12: "delivery-mode", 8: expiration, 6: timestamp, 3: appId };
  const flags = Object.entries(bits).filter(([, value]) => value !== undefined).map(([bit]) =>
    2 ** Number(bit)
  );
  return written((writer) => {
    write.short(writer, flags.reduce((sum, bit) => sum + bit));
    if (contentType !== undefined) write.shortstr(writer, contentType);
    if (headers) writeTable(writer, headers);
    write.octet(writer, 2);
    if (expiration !== undefined) write.shortstr(writer, expiration);
    if (timestamp !== undefined) write.longlong(writer, timestamp);
    if (appId !== undefined) write.shortstr(writer, appId);
  });
}

Deno.test("checkProperties() finds the expiration; on damaged properties it fails with 502 only", () => {
  fc.assert(fc.property(arbitraryProperties, (properties) => {
    const { expiration } = properties;
    assertEquals(checkProperties(byteReader(encoded(properties))), { expiration, userId: undefined });
  }));
  fc.assert(
    fc.property(damaged(arbitraryProperties.map(encoded)), (bytes) => {
      succeeds([502], () => checkProperties(byteReader(bytes)));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("withHeaders() changes what it is told to, and not a byte else", () => {
  const added: FieldTable = new Map([["added", "here"]]);
  fc.assert(fc.property(arbitraryProperties, (properties) => {
    const headers = new Map([...properties.headers ?? []].filter(([name]) => name !== "added"));
    const expected = { ...properties, headers: new Map([...headers, ...added]) };
    const extended = withHeaders(encoded({ ...properties, headers }), added);
    assertEquals(extended, encoded(expected));
    const { expiration: _expiration, ...others } = expected;
    const again = withHeaders(extended, added, { dropExpiration: true }); // replaced, not repeated
    assertEquals(again, encoded(others));
  }));
});

type Seen = { type: number; channel: number; payload: number[] };

function feed(reader: frames.FrameReader, bytes: Uint8Array): Seen[] {
  const seen: Seen[] = [];
  for (let offset = 0; offset < bytes.byteLength;) {
    const room = frames.roomForMore(reader);
    const part = bytes.subarray(offset, offset + room.byteLength);
    room.set(part);
    reader.filled += part.byteLength;
    offset += part.byteLength;
    for (let frame = frames.takeFrame(reader); frame; frame = frames.takeFrame(reader)) {
      const { type, channel, payload: { bytes, at, end } } = frame;
      seen.push({ type, channel, payload: [...bytes.subarray(at, end)] });
    }
  }
  return seen;
}

Deno.test("takeFrame() finds the same frames however the bytes are cut", () => {
  const bytes = written((writer) => {
    for (let index = 0; index < 30; index++) {
      frames.writeMethodFrame(writer, index, "basic.ack", { deliveryTag: index, multiple: true });
      frames.writeHeartbeatFrame(writer);
      const body = [new Uint8Array(index * 400).fill(index)];
      const content = { properties: new Uint8Array([0, 0]), body, bodySize: index * 400 };
      frames.writeContentFrames(writer, index, content, 4096);
    }
  });
  const expected = feed(frames.createFrameReader(4096), bytes);
  assertEquals(expected.filter(({ type }) => type === frames.FRAME.method).length, 30);
  assert(expected.every(({ payload }) => payload.length <= 4096 - 8));
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }), (cuts) => {
      const reader = frames.createFrameReader(4096);
      const seen: Seen[] = [];
      for (let offset = 0, turn = 0; offset < bytes.length; turn++) {
        const length = cuts[turn % cuts.length] ?? 1;
        seen.push(...feed(reader, bytes.subarray(offset, offset + length)));
        offset += length;
      }
      assertEquals(seen, expected);
    }),
    { numRuns: 30 },
  );
});

Deno.test("takeFrame() refuses what is no frame with 501, an excessive size as soon as it is told", () => {
  const cases = [
    { bytes: [1, 0, 1, 0xff, 0xff, 0xff, 0xff], message: "exceeds the frame-max of 4096" },
    { bytes: [9, 0, 0, 0, 0, 0, 0, 0xce], message: "unknown frame type 9" },
    { bytes: [8, 0, 0, 0, 0, 0, 0, 0], message: "FRAME_ERROR - frame does not end with 206" },
  ];
  for (const { bytes, message } of cases) {
    const reader = frames.createFrameReader(4096);
    assertThrows(() => feed(reader, new Uint8Array(bytes)), AmqpError, message);
    assert(frames.roomForMore(reader).byteLength <= 16 * 1024, "nothing was allocated for it");
  }
});
