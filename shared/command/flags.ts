/**
 * Reads the flags of a task: their names are the keys of an object, their values are checked by its schemas.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { z } from "zod";
import type { Parsed, Schema } from "../schema.ts";

/** A task was called wrongly; the message says in one line which flag is at fault, and what it takes. */
export class UsageError extends Error {
  /** The error's name, as logs show it. */
  override name = "UsageError";
}

/** A flag that is given or not, such as `--json`. All others take a value. */
export const onOff: Schema<boolean> = z.boolean().default(false);

/** A flag that takes a text, which is not empty. */
export const text: Schema<string> = z.string().min(1, { error: "must not be empty" });

/** A flag that takes a whole number from `min` to `max`, both included. */
export function wholeNumber(min: number, max: number): Schema<number> {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.string().regex(/^\d{1,10}$/, { error }).transform(Number)
    .refine((value) => value >= min && value <= max, { error });
}

/** A flag that says where the API is; the URL that comes of it has no slash at its end. */
export const apiUrl: Schema<string> = z.string()
  .refine((value) => /^https?:\/\/[^/]/.test(value) && URL.canParse(value), {
    error: "takes a URL such as http://127.0.0.1:8000",
  })
  .transform((value) => value.replace(/\/+$/, "")).default("http://127.0.0.1:8000");

/** What a task takes: the schema of each flag's value by the flag's name. */
export type Flags = Readonly<Record<string, Schema<unknown>>>;

/** The values that `F` makes of what was given. */
export type FlagValues<F extends Flags> = { readonly [K in keyof F]: Parsed<F[K]> };

/** What a task was called with. */
export interface Given<F extends Flags> {
  /** The flags' values. */
  readonly flags: FlagValues<F>;
  /** What was given besides, such as names; empty unless the task takes some. */
  readonly rest: readonly string[];
}

/**
 * Reads `args`: `--flag=value` or `--flag value`. With `takesRest`, words that are no flags are kept. Null where `--help`
 * or `-h` is among them, whatever else is wrong.
 *
 * Errors: `UsageError`, which names the first flag at fault and what it takes.
 */
export function readFlags<F extends Flags>(
  args: readonly string[],
  flags: F,
  takesRest = false,
): Given<F> | null {
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, schema]) => {
      return [name, { type: schema === onOff ? "boolean" : "string" }] as const;
    }),
  );
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    options: { ...options, help: { type: "boolean", short: "h" } },
    strict: false, // the messages are ours
    allowPositionals: true,
    tokens: true,
  });
  if (values.help) return null;
  for (const token of tokens) {
    if (token.kind === "option") checkOption(token, options[token.name]?.type);
  }
  if (!takesRest && positionals.length > 0) {
    throw new UsageError(`${JSON.stringify(positionals[0])} is no flag, and nothing else is taken`);
  }
  const checked = Object.entries(flags).map(([name, schema]) => [name, check(name, schema, values[name])]);
  return { flags: Object.fromEntries(checked) as FlagValues<F>, rest: positionals };
}

interface Option {
  readonly rawName: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}

function checkOption({ rawName, value, inlineValue }: Option, type: "boolean" | "string" | undefined): void {
  if (type === undefined) throw new UsageError(`There is no flag ${rawName}`);
  if (type === "boolean" && inlineValue) throw new UsageError(`${rawName} takes no value`);
  const isFlag = !inlineValue && value?.startsWith("--");
  if (type === "string" && (value === undefined || isFlag)) throw new UsageError(`${rawName} takes a value`);
}

function check(name: string, schema: Schema<unknown>, value: unknown): unknown {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new UsageError(`--${name} ${issue?.message ?? "is not valid"}, not ${JSON.stringify(value)}`);
}
