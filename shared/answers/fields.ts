/**
 * The fields that answers are made of, in zod/mini, which costs the browser a fraction of zod. Formats and ranges are
 * said to whoever reads the API's description; the page, which reads answers by the same schemas, insists on types alone.
 *
 * @module
 */
import * as z from "zod/mini";

/**
 * A text.
 *
 * @internal
 */
export function text(description: string): z.ZodMiniString {
  return z.string().check(z.meta({ description }));
}

/**
 * A text, or null.
 *
 * @internal
 */
export function textOrNull(description: string): z.ZodMiniNullable<z.ZodMiniString> {
  return z.nullable(z.string()).check(z.meta({ description }));
}

/**
 * An id: a uuid in lower case.
 *
 * @internal
 */
export function id(description: string): z.ZodMiniString {
  return z.string().check(z.meta({ description, format: "uuid" }));
}

/**
 * An id, or null.
 *
 * @internal
 */
export function idOrNull(description: string): z.ZodMiniNullable<z.ZodMiniString> {
  return z.nullable(z.string()).check(z.meta({ description, format: "uuid" }));
}

/**
 * A time: ISO 8601, in UTC.
 *
 * @internal
 */
export function time(description: string): z.ZodMiniString {
  return z.string().check(z.meta({ description, format: "date-time" }));
}

/**
 * A time, or null.
 *
 * @internal
 */
export function timeOrNull(description: string): z.ZodMiniNullable<z.ZodMiniString> {
  return z.nullable(z.string()).check(z.meta({ description, format: "date-time" }));
}

/**
 * A whole number, 0 or more.
 *
 * @internal
 */
export function count(description: string): z.ZodMiniNumber {
  return z.number().check(z.meta({ description, type: "integer", minimum: 0 }));
}

/**
 * A number, 0 or more, or null.
 *
 * @internal
 */
export function countOrNull(description: string): z.ZodMiniNullable<z.ZodMiniNumber> {
  return z.nullable(z.number()).check(z.meta({ description, minimum: 0 }));
}

/**
 * The cursor of the page behind this one.
 *
 * @internal
 */
export const nextCursor = textOrNull(
  "The `cursor` of the page behind this one; null on the last one.",
);
