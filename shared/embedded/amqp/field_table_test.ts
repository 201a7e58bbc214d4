import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AmqpError } from "./amqp_error.ts";
import { byteReader } from "./byte_reader.ts";
import { byteWriter, writtenBytes } from "./byte_writer.ts";
import { arbitraryTable } from "./testdata/arbitraries.ts";
import {
  type FieldTable,
  rawField,
  rawFieldValue,
  readRawTable,
  readTable,
  skipTable,
  writeRawTable,
  writeTable,
} from "./field_table.ts";

function encoded(table: FieldTable): Uint8Array<ArrayBuffer> {
  const writer = byteWriter(1); // grows again and again
  writeTable(writer, table);
  return writtenBytes(writer).slice();
}

Deno.test("readTable reads what writeTable wrote, every type of field", () => {
  fc.assert(fc.property(arbitraryTable, (table) => {
    const reader = byteReader(encoded(table));
    assertEquals(readTable(reader), table);
    assertEquals(reader.at, reader.end);
  }));
});

Deno.test("readRawTable and writeRawTable keep every byte", () => {
  fc.assert(fc.property(arbitraryTable, (table) => {
    const bytes = encoded(table);
    const writer = byteWriter(1);
    writeRawTable(writer, readRawTable(byteReader(bytes)));
    assertEquals(writtenBytes(writer), bytes);
  }));
});

Deno.test("rawFieldValue reads what rawField wrote", () => {
  fc.assert(fc.property(arbitraryTable, (table) => {
    for (const [name, value] of table) assertEquals(rawFieldValue(rawField(name, value)), value);
  }));
});

Deno.test("readTable and skipTable agree on any bytes, and fail with AmqpError 502 only", () => {
  const outcome = (read: () => unknown) => {
    try {
      read();
      return "fine";
    } catch (error) {
      assert(error instanceof AmqpError && error.code === 502, String(error));
      return "refused";
    }
  };
  const damaged = fc.tuple(arbitraryTable, fc.nat(), fc.nat(255)).map(([table, at, byte]) => {
    const bytes = encoded(table);
    bytes[at % bytes.length] = byte;
    return bytes;
  });
  const junk = fc.uint8Array({ maxLength: 200 }).map((bytes) => new Uint8Array(bytes));
  fc.assert(
    fc.property(fc.oneof(damaged, junk), (bytes) => {
      assertEquals(outcome(() => skipTable(byteReader(bytes))), outcome(() => readTable(byteReader(bytes))));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("skipTable refuses tables nested deeper than 32, however short", () => {
  const nested = (depth: number): FieldTable =>
    depth === 0 ? [] : [["t", { type: "F", value: nested(depth - 1) }]];
  skipTable(byteReader(encoded(nested(32))));
  assertThrows(() => skipTable(byteReader(encoded(nested(33)))), AmqpError, "nested deeper than 32");
});
