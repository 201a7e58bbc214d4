/**
 * The two ends of a socket: what it delivers is split into frames, what is written leaves in as few writes as can be.
 *
 * @module
 */
import {
  AmqpError,
  type ByteReader,
  byteReader,
  type ByteWriter,
  byteWriter,
  write,
  writeBytes,
  writtenBytes,
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

/** A frame whose payload lies in the reader's own buffer: use it before the next read, copy what must stay. */
export type Frame = { readonly type: number; readonly channel: number; readonly payload: ByteReader };

/** Splits what a socket delivers into frames, in one buffer that is read into again and again. */
export type FrameReader = ReturnType<typeof createFrameReader>;

/** A reader of frames up to `frameMax` bytes, with room for two of them. */
export function createFrameReader(frameMax: number) {
  return {
    /** Longest frame to be taken, in bytes, overhead included. */
    frameMax,
    buffer: byteReader(new Uint8Array(frameMax * 2)),
    start: 0,
    /** Up to where the buffer is filled; who read from the socket moves it on. */
    filled: 0,
  };
}

/** Free room to read from the socket into once all whole frames are taken; `filled` is to be moved on by what came. */
export function roomForMore(reader: FrameReader): Uint8Array<ArrayBuffer> {
  const { buffer: { bytes }, start, filled } = reader;
  if (start > 0) {
    bytes.copyWithin(0, start, filled);
    reader.filled -= start;
    reader.start = 0;
  }
  return bytes.subarray(reader.filled);
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
  if (available < length) return undefined;
  const end = start + length - 1;
  if (view.getUint8(end) !== FRAME_END) throw new AmqpError(501, `frame does not end with ${FRAME_END}`);
  reader.start += length;
  return { type, channel: view.getUint16(start + 1), payload: { bytes, view, at: start + 7, end } };
}

/** What of a message goes over the wire after its method: raw properties (flags included) and the body's pieces. */
export type Content = {
  readonly properties: Uint8Array<ArrayBuffer>;
  readonly body: Uint8Array<ArrayBuffer>[];
  readonly bodySize: number;
};

/** Writes a method frame; arguments that are left out are 0, false or empty. */
export function writeMethodFrame<N extends MethodName>(
  writer: ByteWriter,
  channel: number,
  name: N,
  args: Partial<MethodArguments<N>>,
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
  write.short(writer, 0); // weight, unused
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

/** Answers with where the payload begins. */
function beginFrame(writer: ByteWriter, type: number, channel: number): number {
  write.octet(writer, type);
  write.short(writer, channel);
  write.long(writer, 0); // the size, once it is known
  return writer.at;
}

function endFrame(writer: ByteWriter, start: number): void {
  writer.view.setUint32(start - 4, writer.at - start);
  write.octet(writer, FRAME_END);
}

/**
 * Buffers for `socket`: everything written in one turn of the event loop leaves in one write. `onDrain` is called after each
 * write the socket took, `onError` once should it fail; after that everything written is dropped.
 */
export function createOutgoing(
  socket: { write(bytes: Uint8Array): Promise<number> },
  onDrain: () => void,
  onError: () => void,
) {
  let writer = byteWriter(1024);
  let inFlight = 0;
  let flushing: Promise<void> | undefined;
  let failed = false;

  async function flush(): Promise<void> {
    await undefined; // let the code that writes now finish first
    try {
      while (writer.at > 0 && !failed) {
        const bytes = writtenBytes(writer);
        writer = byteWriter(1024);
        for (inFlight = bytes.byteLength; inFlight > 0;) {
          inFlight -= await socket.write(bytes.subarray(bytes.byteLength - inFlight));
        }
        onDrain();
      }
    } catch {
      failed = true;
      inFlight = writer.at = 0;
      onError();
    }
    flushing = undefined; // at once after the last look at what is pending, or a write in between would be left
  }

  return {
    /** The buffer to write to; after writing, call `flushSoon`. */
    writer: () => writer,
    /** Sends what has been written once the running code is done, or after the write already under way. */
    flushSoon(): void {
      if (failed) writer.at = 0;
      else flushing ??= flush();
    },
    /** Bytes written but not yet taken by the socket. */
    pendingBytes: () => writer.at + inFlight,
    /** Resolves once nothing is pending, or the socket has failed. */
    drained: () => flushing ?? Promise.resolve(),
  };
}
