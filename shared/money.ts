/**
 * Money as it travels: a decimal string, never a float.
 *
 * @module
 */
import { z } from "zod";
import type { Schema } from "./schema.ts";

/**
 * A positive amount of at most two decimal places that fits `numeric(12,2)`. What comes out has exactly two places,
 * so that the API, the events and the tables show one and the same string.
 */
export const amountSchema: Schema<string> = z
  .string({ error: 'must be a decimal string such as "49.90"' })
  .regex(/^(0|[1-9]\d{0,9})(\.\d{1,2})?$/, {
    error: 'must be a decimal string such as "49.90": digits, at most two decimal places, below 10000000000',
  })
  .refine((amount) => /[1-9]/.test(amount), { error: "must be greater than zero" })
  .transform(twoPlaces);

function twoPlaces(amount: string): string {
  const [whole = "0", fraction = ""] = amount.split(".");
  return `${whole}.${fraction.padEnd(2, "0")}`;
}
