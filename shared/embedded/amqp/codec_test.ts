import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  AmqpError,
  byteReader,
  type ByteWriter,
  byteWriter,
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

/** What `write` writes, into a buffer that grows again and again. */
function written(fill: (writer: ByteWriter) => void): Uint8Array<ArrayBuffer> {
  const writer = byteWriter(1);
  fill(writer);
  return writtenBytes(writer).slice();
}

Deno.test("readTable() reads what writeTable() wrote, and skipTable() steps over it", () => {
  const list: Field[] = ["ž", -7, 2 ** 53 - 1, true, false, null, new Date(1_796_000_000_000), []];
  const table: FieldTable = new Map<string, Field>([["list", list], ["inner", new Map([["list", list]])]]);
  const bytes = written((writer) => writeTable(writer, table));
  const [reader, skipper] = [byteReader(bytes), byteReader(bytes)];
  assertEquals(readTable(reader), table);
  skipTable(skipper);
  assertEquals([reader.at, skipper.at], [reader.end, reader.end]);
});

Deno.test("skipTable() refuses tables nested deeper than 32, however short", () => {
  const nested = (depth: number): FieldTable => new Map(depth === 0 ? [] : [["t", nested(depth - 1)]]);
  const skip = (depth: number) =>
    skipTable(byteReader(written((writer) => writeTable(writer, nested(depth)))));
  skip(32);
  assertThrows(() => skip(33), AmqpError, "nested deeper than 32");
});

Deno.test("withHeaders() replaces a header of the same name, and repeats none", () => {
  const properties = (table: FieldTable) =>
    written((writer) => {
      write.short(writer, 0x2000); // headers only
      writeTable(writer, table);
    });
  const [given, replaced] = [new Map([["a", 1], ["b", 2]]), new Map([["b", 3]])];
  assertEquals(withHeaders(properties(given), replaced), properties(new Map([["a", 1], ["b", 3]])));
});

Deno.test("writeMethodFrame() cuts short strings at a character", () => {
  const reason = "ž".repeat(200);
  const frame = written((writer) => frames.writeMethodFrame(writer, 0, "connection.blocked", { reason }));
  assertEquals(frames.readMethod(byteReader(frame.slice(7))).args, { reason: "ž".repeat(127) });
});

Deno.test("takeFrame() finds the same frames however the bytes are cut", async () => {
  const bytes = written((writer) => {
    for (let index = 0; index < 30; index++) {
      frames.writeMethodFrame(writer, index, "basic.ack", { deliveryTag: index, multiple: true });
      frames.writeFrame(writer, frames.FRAME.heartbeat);
      const body = [new Uint8Array(index * 400).fill(index)];
      const content = { properties: new Uint8Array([0, 0]), body, bodySize: index * 400 };
      frames.writeContentFrames(writer, index, content, 4096);
    }
  });
  const framesOf = async (size: number) => {
    const reader = frames.createFrameReader(4096);
    const seen: number[][] = [];
    for (let offset = 0; offset < bytes.length; offset += size) {
      const part = bytes.subarray(offset, offset + size);
      const read = (room: Uint8Array) => Promise.resolve(room.set(part) ?? part.length);
      await frames.readMore(reader, { read });
      for (let frame = frames.takeFrame(reader); frame; frame = frames.takeFrame(reader)) {
        const { type, channel, payload: { bytes, at, end } } = frame;
        seen.push([type, channel, ...bytes.subarray(at, end)]);
      }
    }
    return seen;
  };
  const expected = await framesOf(4096);
  assertEquals(expected.filter(([type]) => type === frames.FRAME.method).length, 30);
  assert(expected.every(({ length }) => length <= 4096));
  for (const size of [1, 2, 7, 8, 9, 100, 1023, 4095]) {
    assertEquals(await framesOf(size), expected, `${size} bytes`);
  }
});

Deno.test("createOutgoing() sends what one turn writes in one write, and leaves nothing behind at any end of a write", async () => {
  for (let gap = 0; gap < 30; gap++) { // so one falls into the end of the write before
    const writes: number[][] = [];
    const takeAll = (bytes: Uint8Array) => Promise.resolve(writes.push([...bytes]) && bytes.length);
    const out = frames.createOutgoing({ write: takeAll }, () => {}, () => {});
    for (const byte of [1, 2]) {
      for (const part of [byte, byte + 10]) {
        out.write((writer) => write.octet(writer, part));
      }
      for (let turn = 0; turn < gap; turn++) await undefined;
    }
    for (let turn = 0; turn < 100; turn++) await undefined;
    assertEquals(
      [out.pendingBytes(), writes.flat()],
      [0, [1, 11, 2, 12]],
      `${gap} turns between writes`,
    );
    if (gap > 20) assertEquals(writes, [[1, 11], [2, 12]]);
  }
});
