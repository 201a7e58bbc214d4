// A stand-in for `jsr:@std/assert` where JSR cannot be reached: the same names, each with its meaning there
// (https://jsr.io/@std/assert/doc), a thin layer over `node:assert/strict`. Delete the `links` line in `deno.json` to use
// the real package instead.

import nodeAssert, { AssertionError } from "node:assert/strict";

/** Runs a check of node's; where it fails, `msg` stands before what was expected and what there was. */
function checked(msg: string | undefined, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (msg === undefined || !(error instanceof AssertionError)) throw error;
    throw new AssertionError({ message: `${msg}\n${error.message}` });
  }
}

export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError({ message: msg || "Expected a truthy value" });
}

export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  checked(msg, () => nodeAssert.deepStrictEqual(actual, expected));
}

/** Further properties of `actual` are ignored. */
export function assertObjectMatch(
  actual: object,
  expected: Record<PropertyKey, unknown>,
  msg?: string,
): void {
  checked(msg, () => nodeAssert.partialDeepStrictEqual(actual, expected));
}

export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  checked(msg, () => nodeAssert.match(actual, expected));
}

export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  const [text, part] = [actual, expected].map((each) => JSON.stringify(each));
  assert(actual.includes(expected), msg ?? `Expected ${text} to include ${part}`);
}

export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  assert(actual > expected, msg ?? `Expected ${actual} > ${expected}`);
}

export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  assert(actual < expected, msg ?? `Expected ${actual} < ${expected}`);
}

// deno-lint-ignore no-explicit-any -- the real package's own signature: any class that can be thrown
type ErrorClass<E extends Error> = new (...args: any[]) => E;

/** Answers with the error, an instance of `cls` whose message has `includes`. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  cls?: ErrorClass<E>,
  includes = "",
  msg = "Expected the function to throw",
): E {
  try {
    fn();
  } catch (error) {
    assert(error instanceof Error, "A value was thrown that is not an Error");
    if (cls) assert(error instanceof cls, `Expected ${cls.name}, got ${error.name}: ${error.message}`);
    assertStringIncludes(error.message, includes);
    return error as E;
  }
  throw new AssertionError({ message: msg });
}

/** As `assertThrows`, of a promise. */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  cls?: ErrorClass<E>,
  includes?: string,
  msg = "Expected the promise to reject",
): Promise<E> {
  const again = await Promise.try(fn).then(() => () => {}, (error) => () => {
    throw error;
  });
  return assertThrows(again, cls, includes, msg);
}
