/**
 * Numbers, texts and bytes as AMQP 0-9-1 lays them out (section 4.2.5): a cursor to read with, a buffer to write to.
 *
 * @module
 */

/** Reply codes of AMQP 0-9-1 (section 1.8, plus RabbitMQ's 312 and 313) that are sent, and how each reply text begins. */
const REPLY_CODES = {
  320: "CONNECTION_FORCED",
  403: "ACCESS_REFUSED",
  404: "NOT_FOUND",
  405: "RESOURCE_LOCKED",
  406: "PRECONDITION_FAILED",
  501: "FRAME_ERROR",
  502: "SYNTAX_ERROR",
  503: "COMMAND_INVALID",
  504: "CHANNEL_ERROR",
  505: "UNEXPECTED_FRAME",
  506: "RESOURCE_ERROR",
  530: "NOT_ALLOWED",
  540: "NOT_IMPLEMENTED",
  541: "INTERNAL_ERROR",
} as const;

/**
 * An error that the peer is told of: with a code from 403 to 406 it closes the channel that it happened on, with any other
 * the connection (section 1.2). `detail` follows the code's name in the reply text, as RabbitMQ words it.
 */
export class AmqpError extends Error {
  override readonly name = "AmqpError";

  constructor(readonly code: keyof typeof REPLY_CODES, detail: string) {
    super(`${REPLY_CODES[code]} - ${detail}`);
  }

  get closesConnection(): boolean {
    return this.code < 403 || this.code > 406;
  }
}

/** A cursor over bytes that belong to someone else: `at` is the next one to read, nothing is read from `end` on. */
export type ByteReader = { bytes: Uint8Array<ArrayBuffer>; view: DataView; at: number; end: number };

/** A growing buffer; `at` is the number of bytes written so far. */
export type ByteWriter = { bytes: Uint8Array<ArrayBuffer>; view: DataView; at: number };

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** A reader over all of `bytes`. */
export function byteReader(bytes: Uint8Array<ArrayBuffer>): ByteReader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { bytes, view, at: 0, end: bytes.byteLength };
}

/** Steps over `length` bytes and answers with the offset they begin at. Errors: `AmqpError` 502 when fewer are left. */
export function skip(reader: ByteReader, length: number): number {
  const start = reader.at;
  const left = reader.end - start;
  if (length > left) {
    throw new AmqpError(502, `field of ${length} bytes exceeds the ${left} bytes that are left`);
  }
  reader.at = start + length;
  return start;
}

/** The text of `length` bytes at `start`. Names and keys are short ASCII: a loop beats the decoder's call there. */
export function decodeText(reader: ByteReader, start: number, length: number): string {
  let text = "";
  for (let offset = start; length <= 40 && offset < start + length; offset++) {
    const code = reader.view.getUint8(offset);
    if (code > 127) break;
    text += String.fromCharCode(code);
  }
  return text.length === length ? text : decoder.decode(reader.bytes.subarray(start, start + length));
}

/**
 * Reads a value of the type that AMQP calls so: unsigned numbers of 1, 2, 4 and 8 bytes, UTF-8 after its length in 1 byte
 * and in 4.
 *
 * Errors: as `skip`; 502 for a number above 2^53 - 1 as well, where no tag or size of ours gets.
 */
export const read = {
  octet: (reader: ByteReader): number => reader.view.getUint8(skip(reader, 1)),
  short: (reader: ByteReader): number => reader.view.getUint16(skip(reader, 2)),
  long: (reader: ByteReader): number => reader.view.getUint32(skip(reader, 4)),
  longlong(reader: ByteReader): number {
    const value = read.long(reader) * 0x1_0000_0000 + read.long(reader);
    if (value > Number.MAX_SAFE_INTEGER) throw new AmqpError(502, `64-bit number ${value} is out of range`);
    return value;
  },
  shortstr(reader: ByteReader): string {
    const length = read.octet(reader);
    return decodeText(reader, skip(reader, length), length);
  },
  longstr(reader: ByteReader): string {
    const length = read.long(reader);
    return decodeText(reader, skip(reader, length), length);
  },
};

/** An empty writer with room for `capacity` bytes. */
export function byteWriter(capacity = 256): ByteWriter {
  const bytes = new Uint8Array(capacity);
  return { bytes, view: new DataView(bytes.buffer), at: 0 };
}

/** The bytes written so far, as a view that later writes may change. */
export function writtenBytes(writer: ByteWriter): Uint8Array<ArrayBuffer> {
  return writer.bytes.subarray(0, writer.at);
}

/**
 * Makes room for `length` more bytes and answers with the offset they begin at. Look at `bytes` and `view` only
 * afterwards: both are new ones when the buffer had to grow.
 */
export function reserve(writer: ByteWriter, length: number): number {
  const start = writer.at;
  const needed = start + length;
  if (needed > writer.bytes.byteLength) {
    const grown = new Uint8Array(Math.max(needed, writer.bytes.byteLength * 2));
    grown.set(writer.bytes.subarray(0, start));
    writer.bytes = grown;
    writer.view = new DataView(grown.buffer);
  }
  writer.at = needed;
  return start;
}

/**
 * Writes a value of the type that AMQP calls so; a `longlong` takes safe integers, a `shortstr` is cut at a character's edge
 * to the 255 bytes that its length can tell.
 */
export const write = {
  octet(writer: ByteWriter, value: number): void {
    const start = reserve(writer, 1);
    writer.view.setUint8(start, value);
  },
  short(writer: ByteWriter, value: number): void {
    const start = reserve(writer, 2);
    writer.view.setUint16(start, value);
  },
  long(writer: ByteWriter, value: number): void {
    const start = reserve(writer, 4);
    writer.view.setUint32(start, value);
  },
  longlong(writer: ByteWriter, value: number): void {
    const start = reserve(writer, 8);
    writer.view.setUint32(start, Math.floor(value / 0x1_0000_0000));
    writer.view.setUint32(start + 4, value % 0x1_0000_0000);
  },
  shortstr(writer: ByteWriter, text: string): void {
    const start = reserve(writer, 1 + Math.min(text.length, 255) * 3);
    const room = writer.bytes.subarray(start + 1, Math.min(writer.at, start + 256));
    const { written } = encoder.encodeInto(text, room);
    writer.view.setUint8(start, written);
    writer.at = start + 1 + written;
  },
  longstr(writer: ByteWriter, text: string): void {
    writeSized(writer, () => writeBytes(writer, encoder.encode(text)));
  },
};

/** Writes bytes as they are. */
export function writeBytes(writer: ByteWriter, bytes: Uint8Array): void {
  const start = reserve(writer, bytes.byteLength);
  writer.bytes.set(bytes, start);
}

/** Writes what `body` writes after its own length in four bytes: long strings, tables, arrays. */
export function writeSized(writer: ByteWriter, body: () => void): void {
  const start = reserve(writer, 4);
  body();
  writer.view.setUint32(start, writer.at - start - 4);
}
