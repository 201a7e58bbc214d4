import { AmqpError } from "./amqp_error.ts";
import { type ByteReader, byteReader, decodeText, readUint8, skip } from "./byte_reader.ts";
import { byteWriter, writeBytes, writtenBytes } from "./byte_writer.ts";
import {
  type FieldValue,
  type RawField,
  rawField,
  readRawTable,
  skipTable,
  writeRawTable,
} from "./field_table.ts";

/** The fourteen basic properties, first flag bit first (AMQP 0-9-1, section 4.2.6.1 and class basic). */
const PROPERTY_TYPES = [
  "shortstr", // content-type
  "shortstr", // content-encoding
  "table", // headers
  "octet", // delivery-mode
  "octet", // priority
  "shortstr", // correlation-id
  "shortstr", // reply-to
  "shortstr", // expiration
  "shortstr", // message-id
  "timestamp", // timestamp
  "shortstr", // type
  "shortstr", // user-id
  "shortstr", // app-id
  "shortstr", // cluster-id
] as const;

const HEADERS = 2;
const EXPIRATION = 7;
const USER_ID = 11;

/** Offset of a property within the raw bytes; absent ones have `start === end`. */
type PropertyRange = { readonly start: number; readonly end: number };

/** What the broker itself needs to know of a message's properties. */
export type PropertySummary = {
  readonly expiration: string | undefined;
  readonly userId: string | undefined;
};

/**
 * Checks raw properties (flags and values, as in a content header) from end to end, headers included.
 *
 * Throws {@linkcode AmqpError} 502 when they are malformed.
 */
export function checkProperties(reader: ByteReader): PropertySummary {
  const flags = readFlags(reader);
  let expiration: string | undefined;
  let userId: string | undefined;
  for (let index = 0; index < PROPERTY_TYPES.length; index++) {
    if (!(flags & (0x8000 >> index))) continue;
    const start = reader.at;
    skipProperty(reader, index);
    if (index === EXPIRATION) expiration = decodeText(reader, start + 1, reader.at - start - 1);
    if (index === USER_ID) userId = decodeText(reader, start + 1, reader.at - start - 1);
  }
  if (reader.at !== reader.end) throw new AmqpError(502, "content header goes on after its last property");
  return { expiration, userId };
}

/** The headers, their values as they came; none where the property is absent. */
export function readHeaders(properties: Uint8Array<ArrayBuffer>): RawField[] {
  const range = propertyRange(properties, HEADERS);
  if (range.start === range.end) return [];
  const reader = byteReader(properties);
  reader.at = range.start;
  return readRawTable(reader);
}

/** Properties with these headers added or replaced; everything else stays byte for byte. */
export function withHeaders(
  properties: Uint8Array<ArrayBuffer>,
  headers: ReadonlyMap<string, FieldValue>,
): Uint8Array<ArrayBuffer> {
  const kept = readHeaders(properties).filter((field) => !headers.has(field.name));
  const added = [...headers].map(([name, value]) => rawField(name, value));
  const table = byteWriter();
  writeRawTable(table, [...kept, ...added]);
  return replaceProperty(properties, HEADERS, writtenBytes(table));
}

/** Properties without the expiration, and what it was. */
export function withoutExpiration(
  properties: Uint8Array<ArrayBuffer>,
): { properties: Uint8Array<ArrayBuffer>; expiration: string | undefined } {
  const { start, end } = propertyRange(properties, EXPIRATION);
  if (start === end) return { properties, expiration: undefined };
  const expiration = decodeText(byteReader(properties), start + 1, end - start - 1);
  return { properties: replaceProperty(properties, EXPIRATION, undefined), expiration };
}

function replaceProperty(
  properties: Uint8Array<ArrayBuffer>,
  index: number,
  bytes: Uint8Array | undefined,
): Uint8Array<ArrayBuffer> {
  const { start, end } = propertyRange(properties, index);
  const writer = byteWriter(properties.byteLength + (bytes?.byteLength ?? 0));
  writeBytes(writer, properties.subarray(0, start));
  if (bytes) writeBytes(writer, bytes);
  writeBytes(writer, properties.subarray(end));
  const flag = 0x8000 >> index;
  const flags = writer.view.getUint16(0);
  writer.view.setUint16(0, bytes ? flags | flag : flags & ~flag);
  return writtenBytes(writer).slice();
}

function propertyRange(properties: Uint8Array<ArrayBuffer>, wanted: number): PropertyRange {
  const reader = byteReader(properties);
  const flags = readFlags(reader);
  for (let index = 0; index < wanted; index++) {
    if (flags & (0x8000 >> index)) skipProperty(reader, index);
  }
  const start = reader.at;
  if (flags & (0x8000 >> wanted)) skipProperty(reader, wanted);
  return { start, end: reader.at };
}

function readFlags(reader: ByteReader): number {
  const flags = reader.view.getUint16(skip(reader, 2));
  if (flags & 3) throw new AmqpError(502, "content header has property flags that class basic does not know");
  return flags;
}

function skipProperty(reader: ByteReader, index: number): void {
  const type = PROPERTY_TYPES[index];
  if (type === "shortstr") skip(reader, readUint8(reader));
  else if (type === "table") skipTable(reader);
  else skip(reader, type === "octet" ? 1 : 8);
}
