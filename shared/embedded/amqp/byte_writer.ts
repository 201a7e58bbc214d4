/** A growing byte buffer; `at` is the number of bytes written so far. */
export type ByteWriter = { bytes: Uint8Array<ArrayBuffer>; view: DataView; at: number };

const utf8 = new TextEncoder();

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

/** Writes an unsigned octet. */
export function writeUint8(writer: ByteWriter, value: number): void {
  const start = reserve(writer, 1);
  writer.view.setUint8(start, value);
}

/** Writes an unsigned 16-bit number. */
export function writeUint16(writer: ByteWriter, value: number): void {
  const start = reserve(writer, 2);
  writer.view.setUint16(start, value);
}

/** Writes an unsigned 32-bit number. */
export function writeUint32(writer: ByteWriter, value: number): void {
  const start = reserve(writer, 4);
  writer.view.setUint32(start, value);
}

/** Writes a safe integer as an unsigned 64-bit number. */
export function writeUint64(writer: ByteWriter, value: number): void {
  const start = reserve(writer, 8);
  writer.view.setUint32(start, Math.floor(value / 0x1_0000_0000));
  writer.view.setUint32(start + 4, value % 0x1_0000_0000);
}

/** Writes bytes as they are. */
export function writeBytes(writer: ByteWriter, bytes: Uint8Array): void {
  const start = reserve(writer, bytes.byteLength);
  writer.bytes.set(bytes, start);
}

/** Writes a short string, cut at a character's edge to the 255 bytes that its length octet can tell. */
export function writeShortString(writer: ByteWriter, text: string): void {
  const start = reserve(writer, 1 + Math.min(text.length, 255) * 3);
  const room = writer.bytes.subarray(start + 1, Math.min(writer.at, start + 256));
  const { written } = utf8.encodeInto(text, room);
  writer.view.setUint8(start, written);
  writer.at = start + 1 + written;
}

/** Writes `body` after its own length in 32 bits: long strings, tables, arrays (section 4.2.5). */
export function writeSized(writer: ByteWriter, body: () => void): void {
  const start = reserve(writer, 4);
  body();
  writer.view.setUint32(start, writer.at - start - 4);
}

/** Writes a long string of UTF-8. */
export function writeLongString(writer: ByteWriter, text: string): void {
  const encoded = utf8.encode(text);
  writeUint32(writer, encoded.byteLength);
  writeBytes(writer, encoded);
}
