import { AmqpError } from "./amqp_error.ts";
import {
  type ByteReader,
  byteReader,
  decodeText,
  readBytes,
  readShortString,
  readUint32,
  readUint8,
  skip,
} from "./byte_reader.ts";
import {
  type ByteWriter,
  byteWriter,
  reserve,
  writeBytes,
  writeLongString,
  writeShortString,
  writeSized,
  writeUint32,
  writeUint8,
  writtenBytes,
} from "./byte_writer.ts";

/** A table's value with the type letter it has on the wire (RabbitMQ's errata to section 4.2.1). */
export type FieldValue =
  | { readonly type: "t"; readonly value: boolean }
  | { readonly type: "b" | "B" | "s" | "u" | "I" | "i" | "f" | "d"; readonly value: number }
  | { readonly type: "l" | "L" | "T"; readonly value: bigint }
  | { readonly type: "D"; readonly places: number; readonly value: number }
  | { readonly type: "S"; readonly value: string }
  | { readonly type: "x"; readonly value: Uint8Array<ArrayBuffer> }
  | { readonly type: "A"; readonly value: readonly FieldValue[] }
  | { readonly type: "F"; readonly value: FieldTable }
  | { readonly type: "V" };

/** A field table in the order of the wire. */
export type FieldTable = readonly (readonly [name: string, value: FieldValue])[];

/** A table's entry whose value, type letter included, is kept as it came. */
export type RawField = { readonly name: string; readonly bytes: Uint8Array<ArrayBuffer> };

/** Deeper tables are refused: no honest client nests so far, and a hostile one must not exhaust the stack. */
const MAX_DEPTH = 32;

const FIXED_SIZES: Readonly<Record<string, number>> = {
  t: 1,
  b: 1,
  B: 1,
  s: 2,
  u: 2,
  I: 4,
  i: 4,
  f: 4,
  D: 5,
  l: 8,
  L: 8,
  d: 8,
  T: 8,
  V: 0,
};

/** The value named `name` (the first, should it be there twice), or `undefined`. */
export function tableValue(table: FieldTable, name: string): FieldValue | undefined {
  return table.find(([key]) => key === name)?.[1];
}

/**
 * Reads a table.
 *
 * Throws {@linkcode AmqpError} 502 when it is malformed, or nested deeper than 32.
 */
export function readTable(reader: ByteReader, depth = 0): FieldTable {
  const table: [string, FieldValue][] = [];
  forEachField(reader, depth, (inner) => {
    const name = readShortString(inner);
    table.push([name, readFieldValue(inner, depth)]);
  });
  return table;
}

/** Checks a table without keeping anything of it, and steps over it. Throws as {@linkcode readTable} does. */
export function skipTable(reader: ByteReader, depth = 0): void {
  forEachField(reader, depth, (inner) => {
    skip(inner, readUint8(inner));
    skipFieldValue(inner, depth);
  });
}

/** Splits a table into entries whose values stay as the bytes they came in. */
export function readRawTable(reader: ByteReader): RawField[] {
  const fields: RawField[] = [];
  forEachField(reader, 0, (inner) => {
    const name = readShortString(inner);
    const start = inner.at;
    skipFieldValue(inner, 0);
    fields.push({ name, bytes: inner.bytes.slice(start, inner.at) });
  });
  return fields;
}

/** Writes what {@linkcode readRawTable} read, byte for byte. */
export function writeRawTable(writer: ByteWriter, fields: readonly RawField[]): void {
  writeSized(writer, () => {
    for (const { name, bytes } of fields) {
      writeShortString(writer, name);
      writeBytes(writer, bytes);
    }
  });
}

/** A raw entry made from a value. */
export function rawField(name: string, value: FieldValue): RawField {
  const writer = byteWriter();
  writeFieldValue(writer, value);
  return { name, bytes: writtenBytes(writer).slice() };
}

/** The value of a raw entry. */
export function rawFieldValue(field: RawField): FieldValue {
  return readFieldValue(byteReader(field.bytes), 0);
}

/** Writes a table. */
export function writeTable(writer: ByteWriter, table: FieldTable): void {
  writeSized(writer, () => {
    for (const [name, value] of table) {
      writeShortString(writer, name);
      writeFieldValue(writer, value);
    }
  });
}

/** Calls `readField` until the table's or array's own length is used up. */
function forEachField(reader: ByteReader, depth: number, readField: (reader: ByteReader) => void): void {
  if (depth > MAX_DEPTH) throw new AmqpError(502, `field table nested deeper than ${MAX_DEPTH}`);
  const length = readUint32(reader);
  const start = skip(reader, length);
  const outerEnd = reader.end;
  reader.at = start;
  reader.end = start + length;
  while (reader.at < reader.end) readField(reader);
  reader.end = outerEnd;
}

function skipFieldValue(reader: ByteReader, depth: number): void {
  const type = String.fromCharCode(readUint8(reader));
  const size = FIXED_SIZES[type];
  if (size !== undefined) skip(reader, size);
  else if (type === "S" || type === "x") skip(reader, readUint32(reader));
  else if (type === "F") skipTable(reader, depth + 1);
  else if (type === "A") forEachField(reader, depth + 1, (inner) => skipFieldValue(inner, depth + 1));
  else throw new AmqpError(502, `unknown field type ${JSON.stringify(type)} in a table`);
}

function readFieldValue(reader: ByteReader, depth: number): FieldValue {
  const type = String.fromCharCode(readUint8(reader));
  if (type === "F") return { type, value: readTable(reader, depth + 1) };
  if (type === "A") {
    const value: FieldValue[] = [];
    forEachField(reader, depth + 1, (inner) => value.push(readFieldValue(inner, depth + 1)));
    return { type, value };
  }
  if (type === "S") {
    const length = readUint32(reader);
    return { type, value: decodeText(reader, skip(reader, length), length) };
  }
  if (type === "x") return { type, value: readBytes(reader, readUint32(reader)) };
  const size = FIXED_SIZES[type];
  if (size === undefined) throw new AmqpError(502, `unknown field type ${JSON.stringify(type)} in a table`);
  return readFixed(reader.view, type, skip(reader, size));
}

function readFixed(view: DataView, type: string, at: number): FieldValue {
  switch (type) {
    case "t":
      return { type, value: view.getUint8(at) !== 0 };
    case "b":
      return { type, value: view.getInt8(at) };
    case "B":
      return { type, value: view.getUint8(at) };
    case "s":
      return { type, value: view.getInt16(at) };
    case "u":
      return { type, value: view.getUint16(at) };
    case "I":
      return { type, value: view.getInt32(at) };
    case "i":
      return { type, value: view.getUint32(at) };
    case "l":
      return { type, value: view.getBigInt64(at) };
    case "L":
    case "T":
      return { type, value: view.getBigUint64(at) };
    case "f":
      return { type, value: view.getFloat32(at) };
    case "d":
      return { type, value: view.getFloat64(at) };
    case "D":
      return { type, places: view.getUint8(at), value: view.getUint32(at + 1) };
    default:
      return { type: "V" };
  }
}

function writeFieldValue(writer: ByteWriter, field: FieldValue): void {
  writeUint8(writer, field.type.charCodeAt(0));
  switch (field.type) {
    case "S":
      return writeLongString(writer, field.value);
    case "x":
      writeUint32(writer, field.value.byteLength);
      return writeBytes(writer, field.value);
    case "F":
      return writeTable(writer, field.value);
    case "A":
      return writeSized(writer, () => field.value.forEach((item) => writeFieldValue(writer, item)));
    default:
      return writeFixed(writer, field);
  }
}

type FixedField = Exclude<FieldValue, { type: "S" | "x" | "F" | "A" }>;

function writeFixed(writer: ByteWriter, field: FixedField): void {
  const at = reserve(writer, FIXED_SIZES[field.type] ?? 0);
  const { view } = writer;
  switch (field.type) {
    case "t":
      return view.setUint8(at, field.value ? 1 : 0);
    case "b":
      return view.setInt8(at, field.value);
    case "B":
      return view.setUint8(at, field.value);
    case "s":
      return view.setInt16(at, field.value);
    case "u":
      return view.setUint16(at, field.value);
    case "I":
      return view.setInt32(at, field.value);
    case "i":
      return view.setUint32(at, field.value);
    case "l":
      return view.setBigInt64(at, field.value);
    case "L":
    case "T":
      return view.setBigUint64(at, field.value);
    case "f":
      return view.setFloat32(at, field.value);
    case "d":
      return view.setFloat64(at, field.value);
    case "D":
      view.setUint8(at, field.places);
      return view.setUint32(at + 1, field.value);
    case "V":
      return;
  }
}
