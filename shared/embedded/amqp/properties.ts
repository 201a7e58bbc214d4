import {
  AmqpError,
  type ByteReader,
  byteReader,
  byteWriter,
  decodeText,
  read,
  skip,
  write,
  writeBytes,
  writeSized,
  writtenBytes,
} from "./bytes.ts";
import { type FieldTable, skipTable, splitTable, writeField } from "./field_table.ts";

/** The fourteen basic properties, first flag bit first (section 4.2.6.1 and class basic). */
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

/** What the broker itself needs to know of a message's properties. */
export type PropertySummary = {
  readonly expiration: string | undefined;
  readonly userId: string | undefined;
};

/**
 * Checks raw properties (flags and values, as in a content header) from end to end, headers included.
 *
 * Errors: `AmqpError` 502 when they are malformed.
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

/**
 * Raw properties with these headers in place of any of the same names, and with `dropExpiration` without their expiration;
 * all others stay byte for byte.
 */
export function withHeaders(
  properties: Uint8Array<ArrayBuffer>,
  headers: FieldTable,
  { dropExpiration = false } = {},
): Uint8Array<ArrayBuffer> {
  const reader = byteReader(properties);
  const flags = readFlags(reader);
  const writer = byteWriter(properties.byteLength + 256);
  write.short(writer, (flags | (0x8000 >> HEADERS)) & ~(dropExpiration ? 0x8000 >> EXPIRATION : 0));
  for (let index = 0; index < PROPERTY_TYPES.length; index++) {
    const isThere = (flags & (0x8000 >> index)) !== 0;
    const start = reader.at;
    if (index === HEADERS) {
      writeSized(writer, () => {
        if (isThere) {
          splitTable(reader, (name, from, to) => {
            if (!headers.has(name)) writeBytes(writer, properties.subarray(from, to));
          });
        }
        for (const [name, value] of headers) writeField(writer, name, value);
      });
    } else if (isThere) {
      skipProperty(reader, index);
      if (index !== EXPIRATION || !dropExpiration) writeBytes(writer, properties.subarray(start, reader.at));
    }
  }
  return writtenBytes(writer).slice();
}

function readFlags(reader: ByteReader): number {
  const flags = reader.view.getUint16(skip(reader, 2));
  if (flags & 3) throw new AmqpError(502, "content header has property flags that class basic does not know");
  return flags;
}

function skipProperty(reader: ByteReader, index: number): void {
  const type = PROPERTY_TYPES[index];
  if (type === "shortstr") skip(reader, read.octet(reader));
  else if (type === "table") skipTable(reader);
  else skip(reader, type === "octet" ? 1 : 8);
}
