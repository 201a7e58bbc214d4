import { AmqpError } from "./amqp_error.ts";
import {
  type ByteReader,
  readBytes,
  readShortString,
  readUint16,
  readUint32,
  readUint64,
  readUint8,
} from "./byte_reader.ts";
import {
  type ByteWriter,
  writeBytes,
  writeShortString,
  writeUint16,
  writeUint32,
  writeUint64,
  writeUint8,
} from "./byte_writer.ts";
import { type FieldTable, readTable, writeTable } from "./field_table.ts";
import { type ArgumentType, type MethodName, METHODS } from "./method_table.ts";

/** What an argument of each type is in JavaScript. */
export type ArgumentValues = {
  bit: boolean;
  octet: number;
  short: number;
  long: number;
  longlong: number;
  shortstr: string;
  longstr: Uint8Array<ArrayBuffer>;
  table: FieldTable;
};

/** The types of method `N`'s arguments, by name. */
export type ArgumentTypes<N extends MethodName> = (typeof METHODS)[N]["args"];

/** The arguments of method `N`, by name. */
export type MethodArguments<N extends MethodName> = {
  -readonly [K in keyof ArgumentTypes<N>]: ArgumentTypes<N>[K] extends ArgumentType
    ? ArgumentValues[ArgumentTypes<N>[K]]
    : never;
};

/** Method `N` with its arguments. */
export type MethodOf<N extends MethodName> = { readonly name: N; readonly args: MethodArguments<N> };

/** Any method with its arguments, told apart by `name`. */
export type Method = { [N in MethodName]: MethodOf<N> }[MethodName];

type Plan = {
  readonly name: MethodName;
  readonly key: number;
  readonly args: readonly (readonly [string, ArgumentType])[];
};

const PLANS = planMethods();
const PLANS_BY_KEY = new Map([...PLANS.values()].map((plan) => [plan.key, plan]));

/** The {@linkcode methodKey} of `basic.publish`. */
export const BASIC_PUBLISH_KEY: number = methodKey("basic.publish");

/** Class id in the upper, method id in the lower 16 bits: what a method frame's payload begins with. */
export function methodKey(name: MethodName): number {
  return METHODS[name].classId * 0x10000 + METHODS[name].methodId;
}

/**
 * Reads a method frame's payload.
 *
 * Throws {@linkcode AmqpError} 503 on an unknown method and 502 on malformed arguments.
 */
export function readMethod(reader: ByteReader): Method {
  const key = readUint32(reader);
  const plan = PLANS_BY_KEY.get(key);
  if (!plan) throw new AmqpError(503, `unknown method (${key >>> 16}, ${key & 0xffff})`);
  const args: Record<string, unknown> = {};
  let bits = 0;
  let bitCount = 0;
  for (const [argument, type] of plan.args) {
    if (type !== "bit") {
      bitCount = 0;
      args[argument] = readArgument(reader, type);
      continue;
    }
    if (bitCount % 8 === 0) bits = readUint8(reader);
    args[argument] = (bits & (1 << (bitCount % 8))) !== 0;
    bitCount++;
  }
  // Sound: the plan that filled `args` was made from the very table that the type is derived from.
  return { name: plan.name, args } as Method;
}

/** Writes a method frame's payload: ids, then arguments, runs of bits packed into octets (section 4.2.5.2). */
export function writeMethod<N extends MethodName>(
  writer: ByteWriter,
  name: N,
  args: MethodArguments<N>,
): void {
  const plan = PLANS.get(name);
  if (!plan) throw new TypeError(`No plan for the method ${name}`);
  const values: Readonly<Record<string, unknown>> = args;
  writeUint32(writer, plan.key);
  let bitCount = 0;
  for (const [argument, type] of plan.args) {
    const value = values[argument];
    if (type !== "bit") {
      bitCount = 0;
      writeArgument(writer, type, value);
      continue;
    }
    if (bitCount % 8 === 0) writeUint8(writer, 0);
    if (value === true) {
      const last = writer.at - 1;
      writer.view.setUint8(last, writer.view.getUint8(last) | (1 << (bitCount % 8)));
    }
    bitCount++;
  }
}

function planMethods(): Map<MethodName, Plan> {
  const plans = new Map<MethodName, Plan>();
  for (const name of Object.keys(METHODS)) {
    if (isMethodName(name)) {
      plans.set(name, { name, key: methodKey(name), args: Object.entries(METHODS[name].args) });
    }
  }
  return plans;
}

function isMethodName(name: string): name is MethodName {
  return Object.hasOwn(METHODS, name);
}

function readArgument(reader: ByteReader, type: Exclude<ArgumentType, "bit">): unknown {
  switch (type) {
    case "octet":
      return readUint8(reader);
    case "short":
      return readUint16(reader);
    case "long":
      return readUint32(reader);
    case "longlong":
      return readUint64(reader);
    case "shortstr":
      return readShortString(reader);
    case "longstr":
      return readBytes(reader, readUint32(reader));
    case "table":
      return readTable(reader);
  }
}

function writeArgument(writer: ByteWriter, type: Exclude<ArgumentType, "bit">, value: unknown): void {
  if (type === "shortstr" && typeof value === "string") return writeShortString(writer, value);
  if (type === "octet" && typeof value === "number") return writeUint8(writer, value);
  if (type === "short" && typeof value === "number") return writeUint16(writer, value);
  if (type === "long" && typeof value === "number") return writeUint32(writer, value);
  if (type === "longlong" && typeof value === "number") return writeUint64(writer, value);
  if (type === "table" && Array.isArray(value)) return writeTable(writer, value);
  if (type === "longstr" && value instanceof Uint8Array) {
    writeUint32(writer, value.byteLength);
    return writeBytes(writer, value);
  }
  throw new TypeError(`Cannot write ${Deno.inspect(value)} as a method argument of type ${type}`);
}
