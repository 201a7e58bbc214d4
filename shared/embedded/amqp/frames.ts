import {
  AmqpError,
  type ByteReader,
  byteReader,
  type ByteWriter,
  reserve,
  write,
  writeBytes,
} from "./bytes.ts";
import { type MethodArguments, type MethodName, writeMethod } from "./methods.ts";

/** Frame types (section 4.2.3). */
export const FRAME = { method: 1, header: 2, body: 3, heartbeat: 8 } as const;

/** The class of all content, as content headers name it. */
export const BASIC_CLASS = 60;

/** The octet that every frame ends with. */
const FRAME_END = 0xce;
/** What a frame adds to its payload: type, channel and size before it, the end octet after it. */
const FRAME_OVERHEAD = 8;
const INITIAL_BYTES = 16 * 1024;

/** A frame whose payload lies in the reader's own buffer: use it before the next read, copy what must stay. */
export type Frame = { readonly type: number; readonly channel: number; readonly payload: ByteReader };

/** Splits what a socket delivers into frames, in one buffer that is read into again and again. */
export type FrameReader = {
  /** Longest frame to be taken, in bytes, overhead included. No more than two such frames are buffered. */
  frameMax: number;
  buffer: ByteReader;
  start: number;
  filled: number;
  /** Bytes that the frame being received needs in the buffer; known, and checked, once its size is. */
  wanted: number;
};

/** A reader of frames up to `frameMax` bytes. */
export function createFrameReader(frameMax: number): FrameReader {
  return { frameMax, buffer: byteReader(new Uint8Array(INITIAL_BYTES)), start: 0, filled: 0, wanted: 0 };
}

/** Free room to read from the socket into, at least one byte; tell `received` how much of it was filled. */
export function roomForMore(reader: FrameReader): Uint8Array<ArrayBuffer> {
  const { buffer, start, filled, wanted, frameMax } = reader;
  const capacity = buffer.bytes.byteLength;
  if (start > 0 || filled === capacity || wanted > capacity) {
    // A reader that keeps up reads 16 KiB at a time; one that found its buffer full gets longer reads.
    const isFull = filled - start === capacity;
    const size = Math.max(wanted, isFull ? Math.min(filled * 2, frameMax * 2) : 0, capacity);
    if (size > capacity) {
      const grown = new Uint8Array(size);
      grown.set(buffer.bytes.subarray(start, filled));
      reader.buffer = byteReader(grown);
    } else if (start < filled) {
      buffer.bytes.copyWithin(0, start, filled);
    }
    reader.filled -= start;
    reader.start = 0;
  }
  return reader.buffer.bytes.subarray(reader.filled);
}

/** Takes in the first `length` bytes of the room given last. */
export function received(reader: FrameReader, length: number): void {
  reader.filled += length;
}

/** The next `length` bytes, or undefined while fewer have come: for the protocol header. */
export function takeBytes(reader: FrameReader, length: number): Uint8Array<ArrayBuffer> | undefined {
  if (reader.filled - reader.start < length) return undefined;
  reader.start += length;
  return reader.buffer.bytes.slice(reader.start - length, reader.start);
}

/** Takes the next whole frame; undefined while it is on its way. Errors: 501 on a bad type, end octet or size. */
export function takeFrame(reader: FrameReader): Frame | undefined {
  const { start, frameMax, buffer: { bytes, view } } = reader;
  const available = reader.filled - start;
  if (available < 7) return undefined;
  const type = view.getUint8(start);
  const length = view.getUint32(start + 3) + FRAME_OVERHEAD;
  if (type !== FRAME.method && type !== FRAME.header && type !== FRAME.body && type !== FRAME.heartbeat) {
    throw new AmqpError(501, `unknown frame type ${type}`);
  }
  if (length > frameMax) {
    throw new AmqpError(501, `frame of ${length} bytes exceeds the frame-max of ${frameMax}`);
  }
  reader.wanted = length;
  if (available < length) return undefined;
  const end = start + length - 1;
  if (view.getUint8(end) !== FRAME_END) throw new AmqpError(501, `frame does not end with ${FRAME_END}`);
  reader.start += length;
  reader.wanted = 0;
  return { type, channel: view.getUint16(start + 1), payload: { bytes, view, at: start + 7, end } };
}

/** Forgets what is buffered, for a peer whose bytes no longer mean anything. */
export function discardBuffered(reader: FrameReader): void {
  reader.start = reader.filled = reader.wanted = 0;
}

/** What of a message goes over the wire after its method: raw properties (flags included) and the body's pieces. */
export type Content = {
  readonly properties: Uint8Array<ArrayBuffer>;
  readonly body: readonly Uint8Array<ArrayBuffer>[];
  readonly bodySize: number;
};

/** Writes a method frame. */
export function writeMethodFrame<N extends MethodName>(
  writer: ByteWriter,
  channel: number,
  name: N,
  args: MethodArguments<N>,
): void {
  const start = beginFrame(writer, FRAME.method, channel);
  writeMethod(writer, name, args);
  endFrame(writer, start);
}

/** Writes a content header frame, and as many body frames of at most `frameMax` bytes as the body takes. */
export function writeContentFrames(
  writer: ByteWriter,
  channel: number,
  { properties, body, bodySize }: Content,
  frameMax: number,
): void {
  const start = beginFrame(writer, FRAME.header, channel);
  write.short(writer, BASIC_CLASS);
  write.short(writer, 0);
  write.longlong(writer, bodySize);
  writeBytes(writer, properties);
  endFrame(writer, start);
  const most = frameMax - FRAME_OVERHEAD;
  for (const piece of body) {
    for (let offset = 0; offset < piece.byteLength; offset += most) {
      const bodyStart = beginFrame(writer, FRAME.body, channel);
      writeBytes(writer, piece.byteLength <= most ? piece : piece.subarray(offset, offset + most));
      endFrame(writer, bodyStart);
    }
  }
}

/** Writes a heartbeat frame. */
export function writeHeartbeatFrame(writer: ByteWriter): void {
  endFrame(writer, beginFrame(writer, FRAME.heartbeat, 0));
}

function beginFrame(writer: ByteWriter, type: number, channel: number): number {
  write.octet(writer, type);
  write.short(writer, channel);
  return reserve(writer, 4);
}

function endFrame(writer: ByteWriter, sizeAt: number): void {
  writer.view.setUint32(sizeAt, writer.at - sizeAt - 4);
  write.octet(writer, FRAME_END);
}
