import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { AmqpError } from "./amqp_error.ts";
import { arbitraryTable } from "./testdata/arbitraries.ts";
import { byteReader } from "./byte_reader.ts";
import { byteWriter, writtenBytes } from "./byte_writer.ts";
import type { FieldTable } from "./field_table.ts";
import { readMethod, writeMethod } from "./method_codec.ts";

const shortText = fc.string({ unit: "grapheme", maxLength: 40 });
const flag = fc.boolean();

Deno.test("readMethod reads what writeMethod wrote: bits, numbers, texts, tables", () => {
  const args = fc.record({
    ticket: fc.nat(65_535),
    queue: shortText,
    passive: flag,
    durable: flag,
    exclusive: flag,
    autoDelete: flag,
    noWait: flag,
    arguments: arbitraryTable,
  });
  fc.assert(fc.property(args, (declare) => {
    const writer = byteWriter(1);
    writeMethod(writer, "queue.declare", declare);
    assertEquals(readMethod(byteReader(writtenBytes(writer))), {
      name: "queue.declare",
      args: { ...declare },
    });
  }));
});

Deno.test("readMethod reads what writeMethod wrote: 64-bit tags and bits between texts", () => {
  const args = fc.record({
    consumerTag: shortText,
    deliveryTag: fc.maxSafeNat(),
    redelivered: flag,
    exchange: shortText,
    routingKey: shortText,
  });
  fc.assert(fc.property(args, (deliver) => {
    const writer = byteWriter(1);
    writeMethod(writer, "basic.deliver", deliver);
    assertEquals(readMethod(byteReader(writtenBytes(writer))), {
      name: "basic.deliver",
      args: { ...deliver },
    });
  }));
});

Deno.test("writeMethod lays out basic.ack as the specification has it", () => {
  const writer = byteWriter();
  writeMethod(writer, "basic.ack", { deliveryTag: 258, multiple: true });
  assertEquals([...writtenBytes(writer)], [0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 1, 2, 1]);
});

Deno.test("writeMethod cuts short strings to 255 bytes at a character's edge", () => {
  const writer = byteWriter();
  writeMethod(writer, "connection.blocked", { reason: "ž".repeat(200) });
  assertEquals(readMethod(byteReader(writtenBytes(writer))), {
    name: "connection.blocked",
    args: { reason: "ž".repeat(127) },
  });
});

Deno.test("readMethod fails on any other bytes with AmqpError 502 or 503 only", () => {
  const table: FieldTable = [["x-queue-type", { type: "S", value: "quorum" }]];
  const writer = byteWriter();
  writeMethod(writer, "basic.consume", {
    ticket: 0,
    queue: "queue",
    consumerTag: "tag",
    noLocal: false,
    noAck: false,
    exclusive: false,
    noWait: false,
    arguments: table,
  });
  const valid = writtenBytes(writer);
  const damaged = fc.tuple(fc.nat(valid.length - 1), fc.nat(255), fc.nat(valid.length)).map(
    ([at, byte, length]) => {
      const bytes = valid.slice();
      bytes[at] = byte;
      return bytes.slice(0, length);
    },
  );
  const junk = fc.uint8Array({ maxLength: 60 }).map((bytes) => new Uint8Array(bytes));
  fc.assert(
    fc.property(fc.oneof(damaged, junk), (bytes) => {
      try {
        readMethod(byteReader(bytes));
      } catch (error) {
        assert(error instanceof AmqpError && (error.code === 502 || error.code === 503), String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
