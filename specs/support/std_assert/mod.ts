/**
 * A stand-in for `jsr:@std/assert` where JSR cannot be reached: the same names and meaning, a thin layer over
 * `node:assert/strict`. Delete the `links` line in `deno.json` to use the real package instead.
 *
 * @module
 */
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

/** Fails unless `expr` is truthy, and narrows its type. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) {
    throw new AssertionError({ message: msg || "Expected a truthy value" });
  }
}

/** Fails unless the two are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  checked(msg, () => nodeAssert.deepStrictEqual(actual, expected));
}

/** Fails if the two are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  checked(msg, () => nodeAssert.notDeepStrictEqual(actual, expected));
}

/** Fails unless `actual` contains `expected`. */
export function assertStringIncludes(
  actual: string,
  expected: string,
  msg?: string,
): void {
  assert(
    actual.includes(expected),
    msg ??
      `Expected ${JSON.stringify(actual)} to include ${JSON.stringify(expected)}`,
  );
}

/** Fails unless `actual` matches `expected`. */
export function assertMatch(
  actual: string,
  expected: RegExp,
  msg?: string,
): void {
  checked(msg, () => nodeAssert.match(actual, expected));
}

/** Fails unless `actual` is greater than `expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  assert(actual > expected, msg ?? `Expected ${actual} > ${expected}`);
}

/** Fails unless `actual` is less than `expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  assert(actual < expected, msg ?? `Expected ${actual} < ${expected}`);
}

/** Fails unless every property of `expected` equals the one of `actual`; further properties are ignored. */
export function assertObjectMatch(
  actual: object,
  expected: Record<PropertyKey, unknown>,
  msg?: string,
): void {
  checked(msg, () => nodeAssert.partialDeepStrictEqual(actual, expected));
}

// deno-lint-ignore no-explicit-any -- the real package's own signature: any class that can be thrown
type ErrorClass<E extends Error> = new (...args: any[]) => E;

function checkError<E extends Error>(error: unknown, cls?: ErrorClass<E>, includes = ""): E {
  assert(error instanceof Error, "A value was thrown that is not an Error");
  if (cls) assert(error instanceof cls, `Expected ${cls.name}, got ${error.name}: ${error.message}`);
  assertStringIncludes(error.message, includes);
  return error as E;
}

/** Fails unless `fn` throws (an instance of `cls`, its message with `includes`); answers with the error. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  cls?: ErrorClass<E>,
  includes?: string,
  msg = "Expected the function to throw",
): E {
  try {
    fn();
  } catch (error) {
    return checkError(error, cls, includes);
  }
  throw new AssertionError({ message: msg });
}

/** Fails unless the promise of `fn` rejects (as `assertThrows`); answers with the error. */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  cls?: ErrorClass<E>,
  includes?: string,
  msg = "Expected the promise to reject",
): Promise<E> {
  try {
    await fn();
  } catch (error) {
    return checkError(error, cls, includes);
  }
  throw new AssertionError({ message: msg });
}
