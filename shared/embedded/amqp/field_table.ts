import {
  AmqpError,
  type ByteReader,
  type ByteWriter,
  read,
  reserve,
  skip,
  write,
  writeSized,
} from "./bytes.ts";

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
const FIXED: Readonly<
  Record<string, readonly [size: number, valueAt: (view: DataView, at: number) => Field]>
> = {
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

/** Calls `visit` with each field's name, and where its bytes begin and end, name included. Errors: as `readTable`. */
export function splitTable(
  reader: ByteReader,
  visit: (name: string, start: number, end: number) => void,
): void {
  walk(reader, 0, () => {
    const start = reader.at;
    const name = read.shortstr(reader);
    skipField(reader, 0);
    visit(name, start, reader.at);
  });
}

/** Writes a field's name and value, as they stand in a table; a number as a 64-bit integer, a date in whole seconds. */
export function writeField(writer: ByteWriter, name: string, value: Field): void {
  write.shortstr(writer, name);
  writeValue(writer, value);
}

/** Writes a table. */
export function writeTable(writer: ByteWriter, table: FieldTable): void {
  writeSized(writer, () => {
    for (const [name, value] of table) writeField(writer, name, value);
  });
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

function writeValue(writer: ByteWriter, value: Field): void {
  if (value === null) return writeType(writer, "V");
  if (typeof value === "boolean") {
    writeType(writer, "t");
    return write.octet(writer, value ? 1 : 0);
  }
  if (typeof value === "string") {
    writeType(writer, "S");
    return write.longstr(writer, value);
  }
  if (typeof value === "number" || value instanceof Date) {
    writeType(writer, value instanceof Date ? "T" : "l");
    const start = reserve(writer, 8);
    return writer.view.setBigInt64(start, BigInt(Math.trunc(value instanceof Date ? +value / 1000 : value)));
  }
  if (value instanceof Map) {
    writeType(writer, "F");
    return writeTable(writer, value);
  }
  writeType(writer, "A");
  const items = [...value.values()];
  writeSized(writer, () => items.forEach((item) => writeValue(writer, item)));
}

function writeType(writer: ByteWriter, letter: string): void {
  write.octet(writer, letter.charCodeAt(0));
}
