import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { AmqpError } from "./amqp_error.ts";
import { arbitraryTable } from "./testdata/arbitraries.ts";
import { byteReader } from "./byte_reader.ts";
import {
  byteWriter,
  writeShortString,
  writeUint16,
  writeUint64,
  writeUint8,
  writtenBytes,
} from "./byte_writer.ts";
import { checkProperties, readHeaders, withHeaders, withoutExpiration } from "./content_properties.ts";
import { type FieldTable, rawFieldValue, writeTable } from "./field_table.ts";

type Properties = {
  contentType?: string;
  headers?: FieldTable;
  expiration?: string;
  timestamp?: number;
  appId?: string;
};

function encoded(properties: Properties): Uint8Array<ArrayBuffer> {
  const { contentType, headers, expiration, timestamp, appId } = properties;
  const writer = byteWriter(1);
  const flags = [
    contentType,
    undefined,
    headers,
    1,
    undefined,
    undefined,
    undefined,
    expiration,
    undefined,
    timestamp,
    undefined,
    undefined,
    appId,
  ];
  writeUint16(
    writer,
    flags.reduce<number>((bits, value, index) => value === undefined ? bits : bits | (0x8000 >> index), 0),
  );
  if (contentType !== undefined) writeShortString(writer, contentType);
  if (headers) writeTable(writer, headers);
  writeUint8(writer, 2); // delivery-mode
  if (expiration !== undefined) writeShortString(writer, expiration);
  if (timestamp !== undefined) writeUint64(writer, timestamp);
  if (appId !== undefined) writeShortString(writer, appId);
  return writtenBytes(writer).slice();
}

const arbitraryProperties: fc.Arbitrary<Properties> = fc.record({
  contentType: fc.string({ maxLength: 20 }),
  headers: arbitraryTable,
  expiration: fc.nat().map(String),
  timestamp: fc.nat(),
  appId: fc.string({ unit: "grapheme", maxLength: 10 }),
}, { requiredKeys: [] });

Deno.test("checkProperties finds the expiration among whichever properties are there", () => {
  fc.assert(fc.property(arbitraryProperties, (properties) => {
    assertEquals(checkProperties(byteReader(encoded(properties))), {
      expiration: properties.expiration,
      userId: undefined,
    });
  }));
});

Deno.test("withHeaders and withoutExpiration change what they name, and not a byte else", () => {
  fc.assert(fc.property(arbitraryProperties, (properties) => {
    const headers = (properties.headers ?? []).filter(([name]) => name !== "added");
    const added = ["added", { type: "S", value: "here" }] as const;
    const { expiration, ...others } = properties;
    const stripped = withoutExpiration(encoded({ ...properties, headers }));
    assertEquals(stripped.expiration, expiration);
    assertEquals(stripped.properties, encoded({ ...others, headers }));
    const extended = withHeaders(encoded({ ...others, headers }), new Map([added]));
    assertEquals(extended, encoded({ ...others, headers: [...headers, added] }));
    assertEquals(withHeaders(extended, new Map([added])), extended); // replaced, not repeated
    assertEquals(readHeaders(extended).map(rawFieldValue).at(-1), added[1]);
  }));
});

Deno.test("checkProperties fails on damaged properties with AmqpError 502 only", () => {
  const damaged = fc.tuple(arbitraryProperties, fc.nat(), fc.nat(255), fc.nat()).map(
    ([properties, at, byte, cut]) => {
      const bytes = encoded(properties);
      bytes[at % bytes.length] = byte;
      return bytes.slice(0, cut % (bytes.length + 1));
    },
  );
  fc.assert(
    fc.property(damaged, (bytes) => {
      try {
        checkProperties(byteReader(bytes));
      } catch (error) {
        assert(error instanceof AmqpError && error.code === 502, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
