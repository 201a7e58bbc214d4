/**
 * The flags of the load generator.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { z } from "zod";
import { messageOf } from "../../shared/errors.ts";

/** What `--help` prints, and whoever gives a wrong flag. */
export const USAGE = `Usage: deno task load [flags]

  --url URL         where the API is (default http://127.0.0.1:8000)
  --database URL    the Postgres whose table orders tells how the orders end (default: DATABASE_URL)
  --orders N        orders to create, up to 1,000,000 (default 2000)
  --connections N   connections, each with one request at a time, up to 1000 (default 16)
  --rate N          orders per second, due at even distances; otherwise as many as the connections allow
  --no-wait         do not wait until the orders have ended; needs no database
  --json            print the report as JSON
  --help            print this`;

/** What load to put on. */
export interface LoadFlags {
  /** Where the API is: an http URL. */
  readonly url: string;
  /** The Postgres to see the orders end in; null when nobody waits for that. */
  readonly database: string | null;
  /** How many orders. */
  readonly orders: number;
  /** How many connections. */
  readonly connections: number;
  /** Orders per second; undefined for as many as the connections allow. */
  readonly rate: number | undefined;
  /** Whether the report is JSON. */
  readonly json: boolean;
}

const number = (max: number) => {
  const error = `must be a whole number from 1 to ${max}`;
  return z.string().regex(/^\d{1,10}$/, { error }).transform(Number)
    .refine((n) => n >= 1 && n <= max, { error });
};

const schema = z.object({
  url: z.url({ protocol: /^http$/, error: "must be an http:// URL" }),
  database: z.url({ protocol: /^postgres(ql)?$/, error: "must be a postgres:// URL" }).optional(),
  orders: number(1_000_000),
  connections: number(1000),
  rate: number(1_000_000).optional(),
  "no-wait": z.boolean(),
  json: z.boolean(),
});

/**
 * Reads the flags; null when they ask for help. `databaseUrl` stands in for a missing `--database`.
 *
 * Errors: an unknown flag or a wrong value, with what it takes; no database to wait with.
 */
export function readLoadFlags(args: readonly string[], databaseUrl: string | undefined): LoadFlags | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      url: { type: "string", default: "http://127.0.0.1:8000" },
      database: { type: "string" },
      orders: { type: "string", default: "2000" },
      connections: { type: "string", default: "16" },
      rate: { type: "string" },
      "no-wait": { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return null;
  const parsed = schema.safeParse(values);
  if (!parsed.success) {
    throw new Error(
      parsed.error.issues.map(({ path, message }) => `--${path.join(".")} ${message}`).join("\n"),
    );
  }
  const { "no-wait": noWait, database = databaseUrl, rate, ...flags } = parsed.data;
  if (noWait) return { ...flags, rate, database: null };
  if (!database) {
    throw new Error("Cannot see the orders end: give --database or DATABASE_URL, or --no-wait");
  }
  return { ...flags, rate, database };
}

/** What is wrong with the flags, and how they are used. */
export function wrongFlags(error: unknown): string {
  return `${messageOf(error)}\n\n${USAGE}`;
}
