import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  AmqpError,
  byteReader,
  type ByteWriter,
  byteWriter,
  checkProperties,
  type Field,
  type FieldTable,
  readTable,
  skipTable,
  withHeaders,
  write,
  writeTable,
  writtenBytes,
} from "./bytes.ts";
import * as frames from "./frames.ts";
import { readMethod, writeMethod } from "./methods.ts";

const shortText = fc.string({ unit: "grapheme", maxLength: 20 });
const tables = fc.letrec<{ field: Field; table: FieldTable }>((tie) => ({
  field: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.oneof(shortText, fc.maxSafeInteger(), fc.boolean(), fc.constant(null)),
    fc.nat(2 ** 31).map((seconds) => new Date(seconds * 1000)),
    fc.array(tie("field"), { maxLength: 4 }),
    tie("table"),
  ),
  table: fc.array(fc.tuple(shortText, tie("field")), { maxLength: 5 }).map((fields) => new Map(fields)),
}));

/** What `write` writes, into a buffer that grows again and again. */
function written(fill: (writer: ByteWriter) => void): Uint8Array<ArrayBuffer> {
  const writer = byteWriter(1);
  fill(writer);
  return writtenBytes(writer).slice();
}

/** Whether `read` succeeds on honest bytes of which one is changed, and the end cut off; it may fail with a 502 only. */
function takesDamage(
  bytes: Uint8Array<ArrayBuffer>,
  damage: number[],
  read: (reader: ReturnType<typeof byteReader>) => unknown,
) {
  const [at = 0, byte = 0, cut = 0] = damage;
  const copy = bytes.slice();
  copy[at % copy.length] = byte;
  try {
    read(byteReader(copy.slice(0, cut % (copy.length + 1))));
    return true;
  } catch (error) {
    assert(error instanceof AmqpError && error.code === 502, String(error));
    return false;
  }
}

const damages = fc.tuple(fc.nat(), fc.nat(255), fc.nat()).map((numbers) => [...numbers]);

Deno.test("readTable() reads what writeTable() wrote, agrees with skipTable() on damage, and fails with 502 only", () => {
  const property = fc.property(tables.table, damages, (table, damage) => {
    const bytes = written((writer) => writeTable(writer, table));
    const reader = byteReader(bytes);
    assertEquals(readTable(reader), table);
    assertEquals(reader.at, reader.end);
    assertEquals(takesDamage(bytes, damage, readTable), takesDamage(bytes, damage, skipTable));
  });
  fc.assert(property, { numRuns: 1000 });
});

Deno.test("skipTable() refuses tables nested deeper than 32, however short", () => {
  const nested = (depth: number): FieldTable => new Map(depth === 0 ? [] : [["t", nested(depth - 1)]]);
  const skip = (depth: number) =>
    skipTable(byteReader(written((writer) => writeTable(writer, nested(depth)))));
  skip(32);
  assertThrows(() => skip(33), AmqpError, "nested deeper than 32");
});

Deno.test("writeMethod() packs bits, and cuts short strings at a character", () => {
  const ack = written((writer) => writeMethod(writer, "basic.ack", { deliveryTag: 258, multiple: true }));
  assertEquals([...ack], [0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 1, 2, 1]);
  const reason = "ž".repeat(200);
  const blocked = written((writer) => writeMethod(writer, "connection.blocked", { reason }));
  assertEquals(readMethod(byteReader(blocked)).args, { reason: "ž".repeat(127) });
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
  const there = Object.entries(bits).filter(([, value]) => value !== undefined);
  return written((writer) => {
    write.short(writer, there.reduce((flags, [bit]) => flags + 2 ** Number(bit), 0));
    if (contentType !== undefined) write.shortstr(writer, contentType);
    if (headers) writeTable(writer, headers);
    write.octet(writer, 2);
    if (expiration !== undefined) write.shortstr(writer, expiration);
    if (timestamp !== undefined) write.longlong(writer, timestamp);
    if (appId !== undefined) write.shortstr(writer, appId);
  });
}

Deno.test("checkProperties() finds the expiration; withHeaders() changes what it is told to, and not a byte else", () => {
  const added: FieldTable = new Map([["added", "here"]]);
  fc.assert(fc.property(arbitraryProperties, damages, (properties, damage) => {
    const { expiration, ...others } = properties;
    assertEquals(checkProperties(byteReader(encoded(properties))), { expiration, userId: undefined });
    takesDamage(encoded(properties), damage, checkProperties);
    const headers = new Map([...properties.headers ?? [], ...added]);
    const extended = withHeaders(encoded(properties), added);
    assertEquals(extended, encoded({ ...properties, headers }));
    const again = withHeaders(extended, added, { dropExpiration: true }); // replaced, not repeated
    assertEquals(again, encoded({ ...others, headers }));
  }));
});

function feed(reader: frames.FrameReader, bytes: Uint8Array): number[][] {
  const seen: number[][] = [];
  for (let offset = 0; offset < bytes.byteLength;) {
    const room = frames.roomForMore(reader);
    const part = bytes.subarray(offset, offset + room.byteLength);
    room.set(part);
    reader.filled += part.byteLength;
    offset += part.byteLength;
    for (let frame = frames.takeFrame(reader); frame; frame = frames.takeFrame(reader)) {
      const { type, channel, payload: { bytes, at, end } } = frame;
      seen.push([type, channel, ...bytes.subarray(at, end)]);
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
  assertEquals(expected.filter(([type]) => type === frames.FRAME.method).length, 30);
  assert(expected.every(({ length }) => length <= 4096));
  const cuts = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 });
  const property = fc.property(cuts, (cuts) => {
    const reader = frames.createFrameReader(4096);
    const seen: number[][] = [];
    for (let offset = 0, turn = 0; offset < bytes.length; turn++) {
      const end = offset + (cuts[turn % cuts.length] ?? 1);
      seen.push(...feed(reader, bytes.subarray(offset, end)));
      offset = end;
    }
    assertEquals(seen, expected);
  });
  fc.assert(property, { numRuns: 30 });
});

Deno.test("takeFrame() refuses a frame above frame-max as soon as its size is told", () => {
  const reader = frames.createFrameReader(4096);
  const begin = new Uint8Array([1, 0, 1, 0xff, 0xff, 0xff, 0xff]);
  assertThrows(() => feed(reader, begin), AmqpError, "FRAME_ERROR - frame of 4294967303 bytes exceeds");
});

/** A socket that takes what is written, and the writes it took. */
function fakeSocket() {
  const writes: number[][] = [];
  return { writes, write: (bytes: Uint8Array) => Promise.resolve(writes.push([...bytes]) && bytes.length) };
}

Deno.test("createOutgoing() sends what one turn writes in one write, and leaves nothing behind at any end of a write", async () => {
  for (let gap = 0; gap < 30; gap++) { // so one falls into the end of the write before
    const socket = fakeSocket();
    const out = frames.createOutgoing(socket, () => {}, () => {});
    for (const byte of [1, 2]) {
      for (const part of [byte, byte + 10]) {
        write.octet(out.writer(), part);
        out.flushSoon();
      }
      for (let turn = 0; turn < gap; turn++) await undefined;
    }
    for (let turn = 0; turn < 100; turn++) await undefined;
    assertEquals(
      [out.pendingBytes(), socket.writes.flat()],
      [0, [1, 11, 2, 12]],
      `${gap} turns between writes`,
    );
    if (gap > 20) assertEquals(socket.writes, [[1, 11], [2, 12]]);
  }
});

Deno.test("createOutgoing() reports a failed socket once, and drops what is written afterwards", async () => {
  let errors = 0;
  const socket = { write: () => Promise.reject(new Error("gone")) };
  const out = frames.createOutgoing(socket, () => {}, () => errors++);
  for (let round = 0; round < 3; round++) {
    write.octet(out.writer(), 1);
    out.flushSoon();
    await out.drained();
  }
  assertEquals([errors, out.pendingBytes()], [1, 0]);
});
