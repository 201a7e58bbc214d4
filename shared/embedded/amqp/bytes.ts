// What AMQP 0-9-1 lays out in bytes (section 4.2.5): numbers and texts, field tables, the properties of a message.

/** Reply codes that are sent (section 1.8, and RabbitMQ's), and how each reply text begins. */
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
}

/** The refusal of what RabbitMQ serves and this broker does not. */
export function notServed(what: string): AmqpError {
  return new AmqpError(540, `${what} is not served by the embedded broker`);
}

/** A cursor over bytes that belong to someone else: `at` is the next one to read, nothing is read from `end` on. */
export type ByteReader = { bytes: Uint8Array<ArrayBuffer>; view: DataView; at: number; end: number };

/** A growing buffer; `at` is the number of bytes written so far. */
export type ByteWriter = { bytes: Uint8Array<ArrayBuffer>; view: DataView; at: number };

const decoder = new TextDecoder();
const encoder = new TextEncoder();

export function byteReader(bytes: Uint8Array<ArrayBuffer>): ByteReader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { bytes, view, at: 0, end: bytes.byteLength };
}

/** Steps over `length` bytes and answers with the offset they begin at. Errors: `AmqpError` 502 when fewer are left. */
function skip(reader: ByteReader, length: number): number {
  const start = reader.at;
  const left = reader.end - start;
  if (length > left) {
    throw new AmqpError(502, `field of ${length} bytes exceeds the ${left} bytes that are left`);
  }
  reader.at = start + length;
  return start;
}

/** Names and keys are short ASCII: a loop beats the decoder's call there. */
function readText(reader: ByteReader, length: number): string {
  const start = skip(reader, length);
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
 * Errors: `AmqpError` 502 beyond the reader's end, and for a number above 2^53 - 1, where no tag or size of ours gets.
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
  shortstr: (reader: ByteReader): string => readText(reader, read.octet(reader)),
  longstr: (reader: ByteReader): string => readText(reader, read.long(reader)),
};

export function byteWriter(capacity = 256): ByteWriter {
  const bytes = new Uint8Array(capacity);
  return { bytes, view: new DataView(bytes.buffer), at: 0 };
}

/** The bytes written so far, as a view that later writes may change. */
export function writtenBytes(writer: ByteWriter): Uint8Array<ArrayBuffer> {
  return writer.bytes.subarray(0, writer.at);
}

/**
 * Makes room for `length` more bytes, which end at `at` then, and answers with the view to write them through: another one
 * than before when the buffer had to grow.
 */
function room(writer: ByteWriter, length: number): DataView {
  const start = writer.at;
  const needed = start + length;
  if (needed > writer.bytes.byteLength) {
    const grown = new Uint8Array(Math.max(needed, writer.bytes.byteLength * 2));
    grown.set(writer.bytes.subarray(0, start));
    writer.bytes = grown;
    writer.view = new DataView(grown.buffer);
  }
  writer.at = needed;
  return writer.view;
}

/**
 * Writes a value of the type that AMQP calls so; a `longlong` takes safe integers, a `shortstr` is cut at a character's edge
 * to the 255 bytes that its length can tell.
 */
export const write = {
  octet: (writer: ByteWriter, value: number): void => room(writer, 1).setUint8(writer.at - 1, value),
  short: (writer: ByteWriter, value: number): void => room(writer, 2).setUint16(writer.at - 2, value),
  long: (writer: ByteWriter, value: number): void => room(writer, 4).setUint32(writer.at - 4, value),
  longlong(writer: ByteWriter, value: number): void {
    write.long(writer, Math.floor(value / 0x1_0000_0000));
    write.long(writer, value % 0x1_0000_0000);
  },
  shortstr(writer: ByteWriter, text: string): void {
    const start = writer.at + 1;
    room(writer, 1 + Math.min(text.length, 255) * 3);
    const { written } = encoder.encodeInto(
      text,
      writer.bytes.subarray(start, Math.min(writer.at, start + 255)),
    );
    writer.view.setUint8(start - 1, written);
    writer.at = start + written;
  },
  longstr(writer: ByteWriter, text: string): void {
    writeSized(writer, () => writeBytes(writer, encoder.encode(text)));
  },
};

export function writeBytes(writer: ByteWriter, bytes: Uint8Array): void {
  room(writer, bytes.byteLength);
  writer.bytes.set(bytes, writer.at - bytes.byteLength);
}

/** Writes what `body` writes after its own length in four bytes: long strings, tables, arrays, a frame's payload. */
export function writeSized(writer: ByteWriter, body: () => void): void {
  write.long(writer, 0);
  const start = writer.at;
  body();
  writer.view.setUint32(start - 4, writer.at - start);
}

/** A field table in the order of the wire. */
export type FieldTable = ReadonlyMap<string, Field>;

/**
 * A table's value as the broker itself uses it: every integer a number, bytes and decimals null. Messages do not take this
 * way: their headers stay the bytes that came.
 */
export type Field = string | number | boolean | null | Date | readonly Field[] | FieldTable;

/** Deeper tables are refused: no honest client nests so far, and a hostile one must not exhaust the stack. */
const MAX_DEPTH = 32;

/** The types of fixed size by their letter (RabbitMQ's errata to section 4.2.1): size in bytes, and how they are read. */
const FIXED: Readonly<Record<string, readonly [number, (view: DataView, at: number) => Field]>> = {
  t: [1, (view, at) => view.getUint8(at) !== 0],
  b: [1, (view, at) => view.getInt8(at)],
  B: [1, (view, at) => view.getUint8(at)],
  s: [2, (view, at) => view.getInt16(at)],
  u: [2, (view, at) => view.getUint16(at)],
  I: [4, (view, at) => view.getInt32(at)],
  i: [4, (view, at) => view.getUint32(at)],
  l: [8, (view, at) => Number(view.getBigInt64(at))],
  L: [8, (view, at) => Number(view.getBigUint64(at))],
  f: [4, (view, at) => view.getFloat32(at)],
  d: [8, (view, at) => view.getFloat64(at)],
  T: [8, (view, at) => new Date(Number(view.getBigUint64(at)) * 1000)],
  D: [5, () => null],
  V: [0, () => null],
};

/** Reads a table. Errors: `AmqpError` 502 when it is malformed, or nested deeper than 32. */
export function readTable(reader: ByteReader, depth = 0): FieldTable {
  const table = new Map<string, Field>();
  walk(reader, depth, () => table.set(read.shortstr(reader), readField(reader, depth)));
  return table;
}

/** Checks a table without keeping anything of it, and steps over it. Errors: as `readTable`. */
export function skipTable(reader: ByteReader, depth = 0): void {
  walk(reader, depth, () => {
    skip(reader, read.octet(reader));
    skipField(reader, depth);
  });
}

/** Writes a table: a number as a 64-bit integer, a date in whole seconds. */
export function writeTable(writer: ByteWriter, table: FieldTable): void {
  writeSized(writer, () => writeFields(writer, table));
}

function writeFields(writer: ByteWriter, table: FieldTable): void {
  for (const [name, value] of table) {
    write.shortstr(writer, name);
    writeField(writer, value);
  }
}

/** Calls `step` until the length that a table or array begins with is used up. */
function walk(reader: ByteReader, depth: number, step: () => void): void {
  if (depth > MAX_DEPTH) throw new AmqpError(502, `field table nested deeper than ${MAX_DEPTH}`);
  const length = read.long(reader);
  const start = skip(reader, length);
  const outerEnd = reader.end;
  reader.at = start;
  reader.end = start + length;
  while (reader.at < reader.end) step();
  reader.end = outerEnd;
}

function skipField(reader: ByteReader, depth: number): void {
  const type = String.fromCharCode(read.octet(reader));
  if (type === "F") return skipTable(reader, depth + 1);
  if (type === "A") return walk(reader, depth + 1, () => skipField(reader, depth + 1));
  skip(reader, type === "S" || type === "x" ? read.long(reader) : fixed(type)[0]);
}

function readField(reader: ByteReader, depth: number): Field {
  const type = String.fromCharCode(read.octet(reader));
  if (type === "F") return readTable(reader, depth + 1);
  if (type === "A") {
    const values: Field[] = [];
    walk(reader, depth + 1, () => values.push(readField(reader, depth + 1)));
    return values;
  }
  if (type === "S") return read.longstr(reader);
  if (type === "x") {
    skip(reader, read.long(reader));
    return null;
  }
  const [size, valueAt] = fixed(type);
  return valueAt(reader.view, skip(reader, size));
}

function fixed(type: string) {
  const found = FIXED[type];
  if (!found) throw new AmqpError(502, `unknown field type ${JSON.stringify(type)} in a table`);
  return found;
}

function writeField(writer: ByteWriter, value: Field): void {
  const writeType = (letter: string) => write.octet(writer, letter.charCodeAt(0));
  if (value === null) {
    writeType("V");
  } else if (typeof value === "boolean") {
    writeType("t");
    write.octet(writer, value ? 1 : 0);
  } else if (typeof value === "string") {
    writeType("S");
    write.longstr(writer, value);
  } else if (typeof value === "number" || value instanceof Date) {
    writeType(value instanceof Date ? "T" : "l");
    const integer = BigInt(Math.trunc(value instanceof Date ? +value / 1000 : value));
    room(writer, 8).setBigInt64(writer.at - 8, integer);
  } else if (value instanceof Map) {
    writeType("F");
    writeTable(writer, value);
  } else {
    writeType("A");
    const items = [...value.values()];
    writeSized(writer, () => items.forEach((item) => writeField(writer, item)));
  }
}

/** How many basic properties there are, and the places of some among them (class basic): the first flag bit is the first's. */
const PROPERTIES = 14;
const [HEADERS, DELIVERY_MODE, PRIORITY, EXPIRATION, TIMESTAMP, USER_ID] = [2, 3, 4, 7, 9, 11];

/**
 * Where each of the properties begins in a content header's flags and values, and where the last one ends; one that is not
 * there begins where the next one does. Checks them from end to end, headers included.
 *
 * Errors: `AmqpError` 502 when they are malformed.
 */
function propertyBounds(reader: ByteReader): number[] {
  const flags = read.short(reader);
  if (flags & 3) throw new AmqpError(502, "content header has property flags that class basic does not know");
  const bounds = [reader.at];
  for (let index = 0; index < PROPERTIES; index++) {
    if (flags & (0x8000 >> index)) skipProperty(reader, index);
    bounds.push(reader.at);
  }
  if (reader.at !== reader.end) throw new AmqpError(502, "content header goes on after its last property");
  return bounds;
}

/** All are short strings but the headers, two octets and the time stamp. */
function skipProperty(reader: ByteReader, index: number): void {
  if (index === HEADERS) skipTable(reader);
  else if (index === DELIVERY_MODE || index === PRIORITY) skip(reader, 1);
  else skip(reader, index === TIMESTAMP ? 8 : read.octet(reader));
}

/** Checks raw properties, and answers with those that the broker itself needs. Errors: as `propertyBounds`. */
export function checkProperties(reader: ByteReader) {
  const bounds = propertyBounds(reader);
  const text = (index: number) => {
    const at = bounds[index] ?? 0;
    return at === bounds[index + 1] ? undefined : read.shortstr({ ...reader, at });
  };
  return { expiration: text(EXPIRATION), userId: text(USER_ID) };
}

/**
 * Raw properties with these headers in place of any of the same names, and with `dropExpiration` without their expiration;
 * all others stay byte for byte.
 */
export function withHeaders(
  properties: Uint8Array<ArrayBuffer>,
  headers: FieldTable,
  { dropExpiration = false } = {},
): Uint8Array<ArrayBuffer> {
  const bounds = propertyBounds(byteReader(properties));
  const values = (from: number, to: number) => properties.subarray(bounds[from], bounds[to]);
  const writer = byteWriter(properties.byteLength + 256);
  const flags = read.short(byteReader(properties)) | (0x8000 >> HEADERS);
  write.short(writer, dropExpiration ? flags & ~(0x8000 >> EXPIRATION) : flags);
  writeBytes(writer, values(0, HEADERS));
  writeSized(writer, () => {
    const old = byteReader(values(HEADERS, HEADERS + 1));
    const copyUnlessReplaced = () => {
      const start = old.at;
      const name = read.shortstr(old);
      skipField(old, 0);
      if (!headers.has(name)) writeBytes(writer, old.bytes.subarray(start, old.at));
    };
    if (old.end > 0) walk(old, 0, copyUnlessReplaced);
    writeFields(writer, headers);
  });
  writeBytes(writer, values(HEADERS + 1, dropExpiration ? EXPIRATION : PROPERTIES));
  if (dropExpiration) writeBytes(writer, values(EXPIRATION + 1, PROPERTIES));
  return writtenBytes(writer).slice();
}
