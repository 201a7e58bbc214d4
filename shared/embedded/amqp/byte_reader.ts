import { AmqpError } from "./amqp_error.ts";

/** A cursor over bytes that belong to someone else; nothing is read past `end`. */
export type ByteReader = {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;
  /** Offset of the next byte to read. */
  at: number;
  /** Offset just past the last byte that may be read. */
  end: number;
};

const utf8 = new TextDecoder();

/** A reader over all of `bytes`. */
export function byteReader(bytes: Uint8Array<ArrayBuffer>): ByteReader {
  return {
    bytes,
    view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    at: 0,
    end: bytes.byteLength,
  };
}

/**
 * Steps over `length` bytes and answers with the offset they begin at.
 *
 * Throws {@linkcode AmqpError} 502 when fewer are left.
 */
export function skip(reader: ByteReader, length: number): number {
  const start = reader.at;
  if (length > reader.end - start) {
    throw new AmqpError(
      502,
      `field of ${length} bytes exceeds the ${reader.end - start} bytes that are left`,
    );
  }
  reader.at = start + length;
  return start;
}

/** Reads an unsigned octet. */
export function readUint8(reader: ByteReader): number {
  return reader.view.getUint8(skip(reader, 1));
}

/** Reads an unsigned 16-bit number. */
export function readUint16(reader: ByteReader): number {
  return reader.view.getUint16(skip(reader, 2));
}

/** Reads an unsigned 32-bit number. */
export function readUint32(reader: ByteReader): number {
  return reader.view.getUint32(skip(reader, 4));
}

/**
 * Reads an unsigned 64-bit number as a JavaScript number.
 *
 * Throws {@linkcode AmqpError} 502 above 2^53 - 1: no tag or size of ours gets there.
 */
export function readUint64(reader: ByteReader): number {
  const value = readUint32(reader) * 0x1_0000_0000 + readUint32(reader);
  if (value > Number.MAX_SAFE_INTEGER) throw new AmqpError(502, `64-bit number ${value} is out of range`);
  return value;
}

/** Reads a short string (section 4.2.5.3): one length octet, then UTF-8. */
export function readShortString(reader: ByteReader): string {
  const length = readUint8(reader);
  const start = skip(reader, length);
  return decodeText(reader, start, length);
}

/** Copies the next `length` bytes out. */
export function readBytes(reader: ByteReader, length: number): Uint8Array<ArrayBuffer> {
  const start = skip(reader, length);
  return reader.bytes.slice(start, start + length);
}

/** Text of `length` bytes at `start`. Names and keys are short ASCII: a loop beats the decoder's call there. */
export function decodeText(reader: ByteReader, start: number, length: number): string {
  if (length > 40) return utf8.decode(reader.bytes.subarray(start, start + length));
  let text = "";
  for (let offset = start; offset < start + length; offset++) {
    const code = reader.view.getUint8(offset);
    if (code > 127) return utf8.decode(reader.bytes.subarray(start, start + length));
    text += String.fromCharCode(code);
  }
  return text;
}
