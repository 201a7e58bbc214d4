/**
 * The flags of `deno task replay`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { idSchema } from "../../shared/events/envelope.ts";
import {
  DEFAULT_REPLAY_RATE,
  MAX_REPLAY_RATE,
  type ReplayFilter,
  replayFilterSchema,
  replayRateSchema,
} from "../../shared/replay.ts";
import type { Schema } from "../../shared/schema.ts";

/** What the command prints with `--help`, and after a wrong usage. */
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
  --json                       print JSON
  --help

Ends with 0 when it is done, 1 when it was cancelled or has failed, 2 for a wrong usage.`;

/** The command was called wrongly; the message says what is wrong. */
export class UsageError extends Error {
  /** The error's name, as logs show it. */
  override name = "UsageError";
}

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

const FLAG_OF: Readonly<Record<string, string>> = { orderId: "order", correlationId: "correlation-id" };

/**
 * Reads the flags; null for `--help`.
 *
 * Errors: `UsageError`, which names the flag at fault.
 */
export function readReplayFlags(args: readonly string[]): ReplayOptions | null {
  const flags = parse(args);
  if (flags.help) return null;
  const { url } = flags;
  if (!/^https?:\/\/[^/]/.test(url) || !URL.canParse(url)) {
    throw new UsageError(`--url takes a URL such as http://127.0.0.1:8000, not ${JSON.stringify(url)}`);
  }
  const rate = check(replayRateSchema, /^\d+$/.test(flags.rate) ? Number(flags.rate) : NaN, "rate");
  return {
    set: setOf(flags),
    dryRun: flags["dry-run"],
    rate,
    yes: flags.yes,
    url: url.replace(/\/+$/, ""),
    json: flags.json,
  };
}

function setOf(flags: ReturnType<typeof parse>): ReplayOptions["set"] {
  const { type, from, to, order: orderId, "correlation-id": correlationId, consumer, start } = flags;
  const given = Object.entries({ type, from, to, orderId, correlationId, consumer })
    .filter(([, value]) => value !== undefined);
  if (start === undefined) return { filter: check(replayFilterSchema, Object.fromEntries(given)) };
  if (given.length > 0) throw new UsageError("--start takes the set as it was shown: leave the filters away");
  return { id: check(idSchema, start, "start") };
}

function parse(args: readonly string[]) {
  const [text, flag] = [{ type: "string" }, { type: "boolean", default: false }] as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        type: text,
        from: text,
        to: text,
        order: text,
        "correlation-id": text,
        consumer: text,
        start: text,
        rate: { type: "string", default: String(DEFAULT_REPLAY_RATE) },
        url: { type: "string", default: "http://127.0.0.1:8000" },
        "dry-run": flag,
        yes: flag,
        json: flag,
        help: flag,
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function check<T>(schema: Schema<T>, value: unknown, flag?: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const name = flag ?? issue?.path[0]?.toString();
  if (name === undefined) throw new UsageError("Say which events: at least one filter, or --start");
  throw new UsageError(`--${FLAG_OF[name] ?? name} ${issue?.message ?? "is not valid"}`);
}
