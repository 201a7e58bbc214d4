/**
 * What signatures here say of schemas. zod itself documents the types behind these names.
 *
 * @module
 */
import type { z } from "zod";

/**
 * Checks a value from outside, and makes a `T` of it.
 *
 * @internal
 */
export type Schema<T> = z.ZodType<T>;

/**
 * What the schema `S` makes of a value.
 *
 * @internal
 */
export type Parsed<S> = z.infer<S>;
