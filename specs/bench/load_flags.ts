/**
 * The flags of the load generator.
 *
 * @module
 */
import { z } from "zod";
import { onOff, readFlags, UsageError, wholeNumber } from "../../workers/tools/command.ts";

/** What `--help` prints. */
export const USAGE = `Usage: deno task load [flags]

  --url URL         where the API is (default http://127.0.0.1:8000)
  --database URL    the Postgres whose table orders tells how the orders end (default: DATABASE_URL)
  --orders N        orders to create, up to 1,000,000 (default 2000)
  --connections N   connections, each with one request at a time, up to 1000 (default 16)
  --rate N          orders per second, due at even distances; otherwise as many as the connections allow
  --no-wait         do not wait until the orders have ended; needs no database
  --json            print the report as JSON; progress goes to standard error
  --help            print this

Ends with 0 when all orders were created and, where it waits, have ended; 1 when not; 64 for a wrong usage.

Example: deno task load --orders 10000 --connections 64`;

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

const FLAGS = {
  url: z.url({ protocol: /^http$/, error: "must be an http:// URL" }).default("http://127.0.0.1:8000"),
  database: z.url({ protocol: /^postgres(ql)?$/, error: "must be a postgres:// URL" }).optional(),
  orders: wholeNumber(1, 1_000_000).default(2000),
  connections: wholeNumber(1, 1000).default(16),
  rate: wholeNumber(1, 1_000_000).optional(),
  "no-wait": onOff,
  json: onOff,
};

/**
 * Reads the flags; null when they ask for help. `databaseUrl` stands in for a missing `--database`.
 *
 * Errors: `UsageError` for an unknown flag or a wrong value, with what it takes; no database to wait with.
 */
export function readLoadFlags(args: readonly string[], databaseUrl: string | undefined): LoadFlags | null {
  const given = readFlags(args, FLAGS);
  if (!given) return null;
  const { "no-wait": noWait, database = databaseUrl, ...flags } = given.flags;
  if (noWait) return { ...flags, database: null };
  if (!database) {
    throw new UsageError("Cannot see the orders end: give --database or DATABASE_URL, or --no-wait");
  }
  return { ...flags, database };
}
