/**
 * `deno task replay`: sends published events to their consumers once more.
 *
 * @module
 */
import {
  apiUrl,
  countOf,
  EXIT_DONE,
  EXIT_NOT_DONE,
  type FlagValues,
  onOff,
  readFlags,
  runCommand,
  startProgress,
  tableLines,
  text,
  UsageError,
  wholeNumber,
} from "./command.ts";
import { idSchema } from "../../shared/events.ts";
import {
  type PreparedReplay,
  preparedReplaySchema,
  type ReplayEventJson,
  replayEventsPageSchema,
  type ReplayJson,
  replaySchema,
} from "../../shared/ops/answers.ts";
import {
  DEFAULT_REPLAY_RATE,
  MAX_REPLAY_RATE,
  type ReplayFilter,
  replayFilterSchema,
} from "../../shared/ops/replays.ts";
import { ApiError, type AskOps, opsApi } from "./ops_api.ts";
import { pause, stopOnSignals } from "../../shared/process/stop.ts";

const USAGE = `deno task replay: sends published events to their consumers once more

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

interface ReplayOptions extends Pick<FlagValues<typeof FLAGS>, "dry-run" | "rate" | "yes" | "url" | "json"> {
  /** A new set by this filter, or the id of one that is prepared. */
  readonly set: { readonly filter: ReplayFilter } | { readonly id: string };
}

/** Reads the flags; null for `--help`. Errors: `UsageError`, which names the flag at fault. */
function readReplayFlags(args: readonly string[]): ReplayOptions | null {
  const given = readFlags(args, FLAGS);
  if (!given) return null;
  const { start, type, from, to, order: orderId, "correlation-id": correlationId, consumer, ...how } =
    given.flags;
  const filter = Object.fromEntries(
    Object.entries({ type, from, to, consumer, orderId, correlationId }).filter(([, value]) =>
      value !== undefined
    ),
  );
  if (start === undefined) return { ...how, set: { filter: checkFilter(filter) } };
  if (Object.keys(filter).length > 0) {
    throw new UsageError("--start takes the set as it was shown: leave the filters away");
  }
  return { ...how, set: { id: start } };
}

function checkFilter(filter: unknown): ReplayFilter {
  const parsed = replayFilterSchema.safeParse(filter);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const name = issue?.path[0]?.toString();
  if (name === undefined) throw new UsageError("Say which events: at least one filter, or --start");
  throw new UsageError(`--${FLAG_OF[name] ?? name} ${issue?.message ?? "is not valid"}`);
}

const ROOT = "/ops/replays";
/** How long the API may take to answer, in milliseconds: a set may take a minute to write down. */
const ANSWER_MS = 75_000;
/** Messages of the set that are shown. */
const SHOWN = 10;

/** The set: its count, and its first messages. */
export function showSet(
  { id, total, alreadyProcessed }: Pick<ReplayJson, "id" | "total" | "alreadyProcessed">,
  events: readonly Pick<ReplayEventJson, "consumer" | "type" | "orderId" | "occurredAt">[],
): string[] {
  const shown = events.slice(0, SHOWN);
  const table = tableLines(shown, [
    { cell: ({ occurredAt }) => occurredAt ?? "pruned" },
    { cell: ({ type }) => type ?? "-" },
    { cell: ({ orderId }) => orderId ? `order ${orderId}` : "-" },
    { cell: ({ consumer }) => consumer },
  ]);
  return [
    `Replay ${id}: ${countOf(total, "message")}.`,
    ...alreadyProcessed > 0
      ? [
        `${alreadyProcessed} of them their consumer has processed: it will absorb those, and count the repeat.`,
      ]
      : [],
    ...table.map((line) => `  ${line}`),
    ...total > shown.length ? [`  and ${total - shown.length} more: ${ROOT}/${id}/events`] : [],
  ];
}

/** How a replay ended. */
export function showEnd(
  { state, sent, total, skipped, reason }: Pick<
    ReplayJson,
    "state" | "sent" | "total" | "skipped" | "reason"
  >,
): string {
  const left = skipped > 0 ? `, ${skipped} of them skipped: their events are too old or pruned` : "";
  if (state === "DONE") return `Done: ${countOf(sent, "message")}${left}.`;
  return `Cancelled after ${sent} of ${countOf(total, "message")}${left}: ${reason ?? "no reason given"}.`;
}

/** Between two looks, in milliseconds. */
const LOOK_MS = 500;
/** Looks in a row that may fail: half a minute, so that the API may be restarted meanwhile. */
const MAX_FAILED_LOOKS = 60;
/** Looks in a row without progress after which that is told: ten seconds. */
const STALLED_LOOKS = 20;
const CONFLICT = 409;

/**
 * Starts the replay and looks at it until it has ended, and answers with how; a Ctrl-C cancels it.
 *
 * Errors: `ApiError` when the API cannot be asked for half a minute. The replay goes on without anybody looking.
 */
async function send(ask: AskOps, { id, total }: ReplayJson, ratePerSecond: number): Promise<ReplayJson> {
  using stop = stopOnSignals(null);
  await ask(replaySchema, `${ROOT}/${id}/start`, "POST", { ratePerSecond });
  using progress = startProgress("messages", total);
  let [failed, still, sent] = [0, 0, 0];
  for (;;) {
    if (stop.signal.aborted) {
      const ended = await cancel(ask, id);
      progress.at(ended.sent);
      return ended;
    }
    try {
      const replay = await ask(replaySchema, `${ROOT}/${id}`);
      progress.at(replay.sent);
      if (replay.state === "DONE" || replay.state === "CANCELLED") return replay;
      still = replay.sent > sent ? 0 : still + 1;
      if (still === STALLED_LOOKS) {
        progress.say(`Nothing has moved for ten seconds. ${replay.lastError ?? HINT}`);
      }
      [failed, sent] = [0, replay.sent];
    } catch (error) {
      if (!(error instanceof ApiError) || ++failed > MAX_FAILED_LOOKS) throw error;
    }
    await pause(LOOK_MS, stop.signal);
  }
}

const HINT = "Is the outbox relay running, and can it reach the broker?";

/** Cancels it, unless it has ended in the same moment. */
async function cancel(ask: AskOps, id: string): Promise<ReplayJson> {
  try {
    return await ask(replaySchema, `${ROOT}/${id}/cancel`, "POST");
  } catch (error) {
    if (error instanceof ApiError && error.status === CONFLICT) {
      return await ask(replaySchema, `${ROOT}/${id}`);
    }
    throw error;
  }
}

async function run(options: ReplayOptions): Promise<number> {
  const { set, url, rate, "dry-run": dryRun, yes, json } = options;
  const say = json ? () => {} : (line: string) => console.log(line);
  if (!dryRun && !yes && (json || !Deno.stdin.isTerminal())) {
    throw new UsageError("There is nobody to ask: add --yes to send, or --dry-run to look only");
  }
  const ask = opsApi(url, ANSWER_MS);
  const replay =
    await ("filter" in set ? ask(preparedReplaySchema, ROOT, "POST", set.filter) : find(ask, set.id));
  showSet(replay, replay.events).forEach(say);
  if (dryRun || replay.total === 0) {
    if (json) console.log(JSON.stringify(replay));
    else if (replay.total === 0) say("Nothing to send: no published event matches that has a consumer.");
    else say(`Nothing has been sent. Send exactly these with: deno task replay --start=${replay.id}`);
    return EXIT_DONE;
  }
  if (!yes && !confirm(`Send ${countOf(replay.total, "message")}, at most ${rate} a second?`)) {
    await ask(replaySchema, `${ROOT}/${replay.id}/cancel`, "POST");
    console.error("Nothing has been sent.");
    return EXIT_NOT_DONE;
  }
  const end = await send(ask, replay, rate);
  console.log(json ? JSON.stringify(end) : showEnd(end));
  return end.state === "DONE" ? EXIT_DONE : EXIT_NOT_DONE;
}

async function find(ask: AskOps, id: string): Promise<PreparedReplay> {
  const questions = [
    ask(replaySchema, `${ROOT}/${id}`),
    ask(replayEventsPageSchema, `${ROOT}/${id}/events`),
  ] as const;
  const [replay, page] = await Promise.all(questions);
  return { ...replay, ...page };
}

if (import.meta.main) {
  Deno.exit(await runCommand({ task: "replay", usage: USAGE, read: readReplayFlags, run }, Deno.args));
}
