/**
 * The flags of `deno task redrive`.
 *
 * @module
 */
import { z } from "zod";
import { apiUrl, onOff, readFlags, text, UsageError } from "../../shared/command/flags.ts";
import { idSchema } from "../../shared/events/envelope.ts";
import type { Schema } from "../../shared/schema.ts";
import type { LetterFilter } from "./letters_api.ts";

/** What the command prints with `--help`. */
export const USAGE = `deno task redrive: sends dead letters to their consumers again, or discards them

Which of those that are open: their ids, or at least one of
  --consumer=<name>            only of this consumer
  --reason=<words>             only with this reason, such as "retries exhausted"
  --type=order.created         only with an event of this type
  --order=<uuid>               only about this order
  --older-than=<age>           only those given up on longer ago than that: 90s, 15m, 2h, 7d
  --newer-than=<age>           only those given up on since then
  --all                        all of them

How:
  --dry-run                    show them, do nothing
  --discard                    close them unprocessed, for good; takes --because
  --because=<words>            why they are discarded; everybody can read it on the letter
  --yes                        do not ask before
  --url=http://127.0.0.1:8000  where the API is; OPS_TOKEN is sent to it where that is set
  --json                       print what came of it as JSON; progress goes to standard error
  --help                       print this

Ends with 0 when all were dealt with, 1 when it was cancelled or has failed, 2 when some are left (the broker refused
them, or there are more than one run takes), 64 for a wrong usage, 78 for a wrong OPS_TOKEN.

Example: deno task redrive --consumer=payments.order-created.v1 --newer-than=2h --dry-run`;

/** What the flags ask for. */
export interface RedriveOptions {
  /** The letters with these ids, or those that match a filter. */
  readonly which: { readonly ids: readonly string[] } | { readonly filter: LetterFilter };
  /** Why they are discarded; null where they are to be redriven. */
  readonly because: string | null;
  /** Whether to show them only. */
  readonly dryRun: boolean;
  /** Whether to begin without asking. */
  readonly yes: boolean;
  /** Where the API is, without a slash at the end. */
  readonly url: string;
  /** Whether to print JSON. */
  readonly json: boolean;
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** An age such as `15m`, in milliseconds. */
const age: Schema<number> = z.string()
  .regex(/^\d{1,5}[smhd]$/, { error: "takes an age such as 90s, 15m, 2h or 7d" })
  .transform((given) => Number(given.slice(0, -1)) * (UNIT_MS[given.slice(-1)] ?? NaN));

const FLAGS = {
  consumer: text.optional(),
  reason: text.optional(),
  type: text.optional(),
  order: idSchema.optional(),
  "older-than": age.optional(),
  "newer-than": age.optional(),
  all: onOff,
  "dry-run": onOff,
  discard: onOff,
  because: text.optional(),
  yes: onOff,
  url: apiUrl,
  json: onOff,
};

/**
 * Reads the flags; null for `--help`. Ages count back from `nowMs`.
 *
 * Errors: `UsageError`, which names the flag at fault.
 */
export function readRedriveFlags(args: readonly string[], nowMs: number): RedriveOptions | null {
  const given = readFlags(args, FLAGS, true);
  if (!given) return null;
  const { discard, because = null, all, "dry-run": dryRun, yes, url, json, ...filter } = given.flags;
  if (discard && because === null && !dryRun) throw new UsageError("--discard takes --because=<why>");
  if (!discard && because !== null) throw new UsageError("--because is for --discard");
  const { consumer, reason, type, order: orderId, "older-than": olderMs, "newer-than": newerMs } = filter;
  const ago = (ms: number | undefined) => ms === undefined ? undefined : new Date(nowMs - ms).toISOString();
  const wanted = { consumer, reason, type, orderId, from: ago(newerMs), to: ago(olderMs) };
  const ways = [
    given.rest.length > 0,
    all,
    Object.values(wanted).some((value) => value !== undefined),
  ].filter(Boolean);
  if (ways.length !== 1) {
    throw new UsageError("Say which dead letters: ids, or at least one filter, or --all; not two of these");
  }
  const which = given.rest.length > 0 ? { ids: given.rest.map(idOf) } : { filter: wanted };
  return { which, because: discard ? because ?? "" : null, dryRun, yes, url, json };
}

function idOf(given: string): string {
  const id = idSchema.safeParse(given);
  if (id.success) return id.data;
  throw new UsageError(`${JSON.stringify(given)} is no id of a dead letter`);
}
