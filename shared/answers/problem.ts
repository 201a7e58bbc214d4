/**
 * What every refusal looks like: problem details (RFC 9457, https://www.rfc-editor.org/rfc/rfc9457).
 *
 * @module
 */
import * as z from "zod/mini";
import type { Parsed } from "../schema.ts";
import { text } from "./fields.ts";

/**
 * One field of a request that is at fault.
 *
 * @internal
 */
export const fieldErrorSchema = z.object({
  field: text("The field's name; nested ones with dots."),
  in: z.enum(["body", "query", "path"]).check(z.meta({ description: "Which part of the request it is in." })),
  pointer: z.optional(
    text(
      "Where it stands in the body, as a JSON pointer fragment (RFC 6901, section 6); for the body alone.",
    ),
  ),
  detail: text("What is wrong with it, for people, such as `must be greater than zero`."),
}).check(z.meta({ ref: "FieldError" }));

/**
 * Problem details.
 *
 * @internal
 */
export const problemSchema = z.object({
  type: text("`about:blank`: the status code says which kind of problem it is."),
  title: text("The kind of problem in a few words, such as `Conflict`."),
  status: z.number().check(z.meta({ description: "The status code.", type: "integer" })),
  detail: text("What is wrong, and what to do about it."),
  instance: text("The path that was asked for."),
  errors: z.optional(
    z.array(fieldErrorSchema).check(z.meta({ description: "Every field that is at fault." })),
  ),
}).check(z.meta({ ref: "Problem" }));

/** One field of a request that is at fault. */
export type FieldError = Parsed<typeof fieldErrorSchema>;
/** Problem details. */
export type Problem = Parsed<typeof problemSchema>;
