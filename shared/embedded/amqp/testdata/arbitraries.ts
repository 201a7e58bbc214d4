/**
 * Generators for property-based tests.
 *
 * @module
 */
import fc from "fast-check";
import type { FieldTable, FieldValue } from "../field_table.ts";

/** Records with a prototype like any literal's, so that deep equality holds. */
function record<T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true });
}

const shortText = fc.string({ unit: "grapheme", maxLength: 20 });
const bytes = fc.uint8Array({ maxLength: 40 }).map((value) => new Uint8Array(value));
const unsigned64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

const plainField: fc.Arbitrary<FieldValue> = fc.oneof(
  record({ type: fc.constant("t" as const), value: fc.boolean() }),
  record({ type: fc.constant("b" as const), value: fc.integer({ min: -128, max: 127 }) }),
  record({ type: fc.constant("B" as const), value: fc.nat(255) }),
  record({ type: fc.constant("s" as const), value: fc.integer({ min: -32_768, max: 32_767 }) }),
  record({ type: fc.constant("u" as const), value: fc.nat(65_535) }),
  record({ type: fc.constant("I" as const), value: fc.integer() }),
  record({ type: fc.constant("i" as const), value: fc.nat(2 ** 32 - 1) }),
  record({
    type: fc.constant("l" as const),
    value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  }),
  record({ type: fc.constantFrom("L" as const, "T" as const), value: unsigned64 }),
  record({ type: fc.constant("f" as const), value: fc.float() }),
  record({ type: fc.constant("d" as const), value: fc.double() }),
  record({ type: fc.constant("D" as const), places: fc.nat(255), value: fc.nat(2 ** 32 - 1) }),
  record({ type: fc.constant("S" as const), value: fc.string({ unit: "grapheme", maxLength: 60 }) }),
  record({ type: fc.constant("x" as const), value: bytes }),
  record({ type: fc.constant("V" as const) }),
);

const fields = fc.letrec<{ field: FieldValue; table: FieldTable }>((tie) => ({
  field: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    plainField,
    record({ type: fc.constant("A" as const), value: fc.array(tie("field"), { maxLength: 4 }) }),
    record({ type: fc.constant("F" as const), value: tie("table") }),
  ),
  table: fc.array(fc.tuple(shortText, tie("field")), { maxLength: 5 }),
}));

/** Field tables with every type of field, nested a few levels deep. */
export const arbitraryTable: fc.Arbitrary<FieldTable> = fields.table;
