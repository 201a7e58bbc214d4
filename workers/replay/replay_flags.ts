/**
 * The flags of `deno task replay`.
 *
 * @module
 */
import { apiUrl, onOff, readFlags, text, UsageError, wholeNumber } from "../../shared/command/flags.ts";
import { idSchema } from "../../shared/events/envelope.ts";
import {
  DEFAULT_REPLAY_RATE,
  MAX_REPLAY_RATE,
  type ReplayFilter,
  replayFilterSchema,
} from "../../shared/replay.ts";
import type { Schema } from "../../shared/schema.ts";

/** What the command prints with `--help`. */
export const USAGE = `deno task replay: sends published events to their consumers once more

Which events, at least one of:
  --type=order.created         only of this type
  --from=2026-11-22T17:00:00Z  only those that happened then or later
  --to=2026-11-22T18:00:00Z    only those that happened before then
  --order=<uuid>               only those about this order
  --correlation-id=<id>        only those with this correlation id
  --consumer=<name>            only for this consumer; otherwise for each that is bound to the event's type
or
  --start=<replay id>          the set that an earlier --dry-run has shown

How:
  --dry-run                    show the set, send nothing
  --rate=${DEFAULT_REPLAY_RATE}                   messages per second at most, 1 to ${MAX_REPLAY_RATE}
  --yes                        do not ask before sending
  --url=http://127.0.0.1:8000  where the API is; OPS_TOKEN is sent to it where that is set
  --json                       print the replay as JSON; progress goes to standard error
  --help                       print this

Ends with 0 when it is done, 1 when it was cancelled or has failed, 64 for a wrong usage, 78 for a wrong OPS_TOKEN.

Example: deno task replay --type=order.created --from=2026-11-22T17:00:00Z --dry-run`;

/** What the flags ask for. */
export interface ReplayOptions {
  /** A new set by this filter, or the id of one that is prepared. */
  readonly set: { readonly filter: ReplayFilter } | { readonly id: string };
  /** Whether to show the set only. */
  readonly dryRun: boolean;
  /** Messages per second, at most. */
  readonly rate: number;
  /** Whether to start without asking. */
  readonly yes: boolean;
  /** Where the API is, without a slash at the end. */
  readonly url: string;
  /** Whether to print JSON. */
  readonly json: boolean;
}

const FLAGS = {
  type: text.optional(),
  from: text.optional(),
  to: text.optional(),
  order: text.optional(),
  "correlation-id": text.optional(),
  consumer: text.optional(),
  start: idSchema.optional(),
  "dry-run": onOff,
  rate: wholeNumber(1, MAX_REPLAY_RATE).default(DEFAULT_REPLAY_RATE),
  yes: onOff,
  url: apiUrl,
  json: onOff,
};
const FLAG_OF: Readonly<Record<string, string>> = { orderId: "order", correlationId: "correlation-id" };

/**
 * Reads the flags; null for `--help`.
 *
 * Errors: `UsageError`, which names the flag at fault.
 */
export function readReplayFlags(args: readonly string[]): ReplayOptions | null {
  const given = readFlags(args, FLAGS);
  if (!given) return null;
  const { "dry-run": dryRun, rate, yes, url, json, start, ...filter } = given.flags;
  const { order: orderId, "correlation-id": correlationId, ...others } = filter;
  const entries = Object.entries({ ...others, orderId, correlationId }).filter(([, value]) =>
    value !== undefined
  );
  const how = { dryRun, rate, yes, url, json };
  if (start === undefined) {
    return { ...how, set: { filter: check(replayFilterSchema, Object.fromEntries(entries)) } };
  }
  if (entries.length > 0) {
    throw new UsageError("--start takes the set as it was shown: leave the filters away");
  }
  return { ...how, set: { id: start } };
}

function check<T>(schema: Schema<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const name = issue?.path[0]?.toString();
  if (name === undefined) throw new UsageError("Say which events: at least one filter, or --start");
  throw new UsageError(`--${FLAG_OF[name] ?? name} ${issue?.message ?? "is not valid"}`);
}
