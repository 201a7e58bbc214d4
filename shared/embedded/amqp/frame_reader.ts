import { AmqpError } from "./amqp_error.ts";
import { type ByteReader, byteReader } from "./byte_reader.ts";

/** Frame types (AMQP 0-9-1, section 4.2.3). */
export const FRAME = { method: 1, header: 2, body: 3, heartbeat: 8 } as const;

/** The octet every frame ends with. */
export const FRAME_END = 0xce;

/** What a frame adds to its payload: type, channel and size before it, the end octet after it. */
export const FRAME_OVERHEAD = 8;

/** A frame whose payload lies in the reader's own buffer: use it before the next read, copy what must stay. */
export type Frame = { readonly type: number; readonly channel: number; readonly payload: ByteReader };

/** Splits what a socket delivers into frames, in one buffer that is read into again and again. */
export type FrameReader = {
  /** Free room to read from the socket into, at least one byte. */
  room(): Uint8Array<ArrayBuffer>;
  /** Takes in the first `length` bytes of the last {@linkcode FrameReader.room}. */
  fill(length: number): void;
  /** The first `length` buffered bytes, or `undefined` while fewer have come: for the protocol header. */
  take(length: number): Uint8Array<ArrayBuffer> | undefined;
  /**
   * The next whole frame without stepping over it, or `undefined` while it is still on its way.
   *
   * Throws {@linkcode AmqpError} 501 on a bad type, end octet, or a size over frame-max.
   */
  peek(): Frame | undefined;
  /** Steps over the frame last peeked at. */
  drop(): void;
  /** Forgets everything buffered, for a peer whose bytes no longer mean anything. */
  discard(): void;
  /** Sets the negotiated frame-max: bytes of a frame, overhead included. */
  setFrameMax(frameMax: number): void;
};

const INITIAL_BYTES = 16 * 1024;

/** A reader that refuses frames longer than `frameMax` bytes, and never buffers more than two such frames. */
export function createFrameReader(frameMax: number): FrameReader {
  let buffer = byteReader(new Uint8Array(INITIAL_BYTES));
  let start = 0;
  let filled = 0;
  /** Bytes that the frame being received needs in the buffer; known, and checked, once its size is. */
  let wanted = 0;

  function makeRoom(): void {
    if (start === filled) start = filled = 0;
    // A reader that keeps up reads 16 KiB at a time; one that found its buffer full gets longer reads.
    const full = filled - start === buffer.bytes.byteLength;
    const size = Math.max(wanted, full ? Math.min(filled * 2, frameMax * 2) : 0, buffer.bytes.byteLength);
    if (size === buffer.bytes.byteLength) {
      buffer.bytes.copyWithin(0, start, filled);
    } else {
      const grown = new Uint8Array(size);
      grown.set(buffer.bytes.subarray(start, filled));
      buffer = byteReader(grown);
    }
    filled -= start;
    start = 0;
  }

  return {
    room() {
      if (start > 0 || filled === buffer.bytes.byteLength || wanted > buffer.bytes.byteLength) makeRoom();
      return buffer.bytes.subarray(filled);
    },
    fill(length) {
      filled += length;
    },
    take(length) {
      if (filled - start < length) return undefined;
      start += length;
      return buffer.bytes.slice(start - length, start);
    },
    peek() {
      const available = filled - start;
      if (available < 7) return undefined;
      const { view } = buffer;
      const type = view.getUint8(start);
      const size = view.getUint32(start + 3);
      checkFrameStart(type, size, frameMax);
      wanted = size + FRAME_OVERHEAD;
      if (available < wanted) return undefined;
      const end = start + 7 + size;
      if (view.getUint8(end) !== FRAME_END) throw new AmqpError(501, `frame does not end with ${FRAME_END}`);
      const payload = { bytes: buffer.bytes, view, at: start + 7, end };
      return { type, channel: view.getUint16(start + 1), payload };
    },
    drop() {
      start += wanted;
      wanted = 0;
    },
    discard() {
      start = filled = wanted = 0;
    },
    setFrameMax(negotiated) {
      frameMax = negotiated;
    },
  };
}

function checkFrameStart(type: number, size: number, frameMax: number): void {
  if (type !== FRAME.method && type !== FRAME.header && type !== FRAME.body && type !== FRAME.heartbeat) {
    throw new AmqpError(501, `unknown frame type ${type}`);
  }
  if (size + FRAME_OVERHEAD > frameMax) {
    throw new AmqpError(501, `frame of ${size + FRAME_OVERHEAD} bytes exceeds the frame-max of ${frameMax}`);
  }
}
