import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AmqpError } from "./amqp_error.ts";
import { byteWriter, writtenBytes } from "./byte_writer.ts";
import { createFrameReader, FRAME, type FrameReader } from "./frame_reader.ts";
import { writeContentFrames, writeHeartbeatFrame, writeMethodFrame } from "./frame_writer.ts";

type Seen = { type: number; channel: number; payload: number[] };

function readAll(reader: FrameReader): Seen[] {
  const seen: Seen[] = [];
  for (let frame = reader.peek(); frame; frame = reader.peek()) {
    const { bytes, at, end } = frame.payload;
    seen.push({ type: frame.type, channel: frame.channel, payload: [...bytes.subarray(at, end)] });
    reader.drop();
  }
  return seen;
}

function feed(reader: FrameReader, bytes: Uint8Array): void {
  for (let offset = 0; offset < bytes.byteLength;) {
    const room = reader.room();
    const part = bytes.subarray(offset, offset + room.byteLength);
    room.set(part);
    reader.fill(part.byteLength);
    offset += part.byteLength;
  }
}

Deno.test("createFrameReader finds the same frames however the bytes are cut", () => {
  const writer = byteWriter(1);
  for (let index = 0; index < 30; index++) {
    writeMethodFrame(writer, index, "basic.ack", { deliveryTag: index, multiple: true });
    writeHeartbeatFrame(writer);
    const body = new Uint8Array(index * 400).fill(index);
    writeContentFrames(writer, index, {
      properties: new Uint8Array([0, 0]),
      body: [body],
      bodySize: body.length,
    }, 4096);
  }
  const bytes = writtenBytes(writer);
  const whole = createFrameReader(4096);
  const expected: Seen[] = [];
  for (let offset = 0; offset < bytes.length; offset += 1000) {
    feed(whole, bytes.subarray(offset, offset + 1000));
    expected.push(...readAll(whole));
  }
  assertEquals(expected.filter((frame) => frame.type === FRAME.method).length, 30);
  assert(expected.every((frame) => frame.payload.length <= 4096 - 8));
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }), (cuts) => {
      const reader = createFrameReader(4096);
      const seen: Seen[] = [];
      for (let offset = 0, turn = 0; offset < bytes.length; turn++) {
        const length = cuts[turn % cuts.length] ?? 1;
        feed(reader, bytes.subarray(offset, offset + length));
        offset += length;
        seen.push(...readAll(reader));
      }
      assertEquals(seen, expected);
    }),
    { numRuns: 30 },
  );
});

Deno.test("createFrameReader refuses a size above frame-max as soon as it is told, with 501", () => {
  const reader = createFrameReader(4096);
  feed(reader, new Uint8Array([1, 0, 1, 0xff, 0xff, 0xff, 0xff]));
  assertThrows(() => reader.peek(), AmqpError, "exceeds the frame-max of 4096");
  assert(reader.room().byteLength <= 16 * 1024, "nothing was allocated for it");
});

Deno.test("createFrameReader refuses an unknown frame type and a wrong end octet with 501", () => {
  const unknown = createFrameReader(4096);
  feed(unknown, new Uint8Array([9, 0, 0, 0, 0, 0, 0, 0xce]));
  assertThrows(() => unknown.peek(), AmqpError, "unknown frame type 9");
  const unended = createFrameReader(4096);
  feed(unended, new Uint8Array([8, 0, 0, 0, 0, 0, 0, 0]));
  assertThrows(() => unended.peek(), AmqpError, "FRAME_ERROR");
});
