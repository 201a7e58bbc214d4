// `deno task replay`: sends published events to their consumers once more.

import {
  ASKING,
  EXIT_DONE,
  EXIT_NOT_DONE,
  flag,
  type FlagValues,
  isWanted,
  listed,
  refuseUnasked,
  startProgress,
  task,
  teller,
  UsageError,
  wholeNumber,
} from "./command.ts";
import { counted } from "../../shared/words.ts";
import { idSchema } from "../../shared/events.ts";
import {
  type PreparedReplay,
  preparedReplaySchema,
  replayEventsPageSchema,
  type ReplayJson,
  replaySchema,
} from "../../shared/ops/answers.ts";
import { DEFAULT_REPLAY_RATE, MAX_REPLAY_RATE, replayFilterSchema } from "../../shared/ops/replays.ts";
import { ApiError, type AskOps, opsApi, urlFlag } from "./ops_api.ts";
import { pause, stopOnSignals } from "../../shared/process/stop.ts";

const { type, from, to, orderId, correlationId, consumer } = replayFilterSchema.shape;
const WHICH = {
  type: flag(type, "only of this type", "order.created"),
  from: flag(from, "only those that happened then or later", "2026-11-22T17:00:00Z"),
  to: flag(to, "only those that happened before then", "2026-11-22T18:00:00Z"),
  order: flag(orderId, "only those about this order", "<uuid>"),
  "correlation-id": flag(correlationId, "only those with this correlation id", "<id>"),
  consumer: flag(consumer, "only for this consumer, not for each that is bound to the type", "<name>"),
};
const HOW = {
  start: flag(
    idSchema.optional(),
    "the set that an earlier --dry-run has shown, in the place of all above",
    "<replay id>",
  ),
  rate: flag(
    wholeNumber(1, MAX_REPLAY_RATE).default(DEFAULT_REPLAY_RATE),
    `messages per second at most, 1 to ${MAX_REPLAY_RATE}`,
  ),
  ...ASKING,
  url: urlFlag,
};
export const REPLAY_FLAGS = { ...WHICH, ...HOW };

/** Makes options of the flags. Errors: `UsageError`, which names the flag at fault. */
export function replayOptions(given: FlagValues<typeof REPLAY_FLAGS>) {
  const { start, type, from, to, order: orderId, "correlation-id": correlationId, consumer } = given;
  const filter = { type, from, to, orderId, correlationId, consumer };
  const isFiltered = Object.values(filter).some((value) => value !== undefined);
  if (start && isFiltered) {
    throw new UsageError("--start takes the set as it was shown: leave the filters away");
  }
  if (!start && !isFiltered) throw new UsageError("Say which events: at least one filter, or --start");
  refuseUnasked(given);
  return { ...given, filter };
}

const ROOT = "/ops/replays";
/** How long the API may take to answer, in milliseconds: a set may take a minute to write down. */
const ANSWER_MS = 75_000;

/** The set: its count, and its first messages. */
export function showSet({ id, total, alreadyProcessed, events }: PreparedReplay): string[] {
  const repeat = "of them their consumer has processed: it will absorb those, and count the repeat.";
  return [
    `Replay ${id}: ${counted(total, "message")}.`,
    ...alreadyProcessed > 0 ? [`${alreadyProcessed} ${repeat}`] : [],
    ...listed(events, total, [
      ({ occurredAt }) => occurredAt ?? "pruned",
      ({ type }) => type ?? "-",
      ({ orderId }) => orderId ? `order ${orderId}` : "-",
      ({ consumer }) => consumer,
    ], `: ${ROOT}/${id}/events`),
  ];
}

/** How a replay ended. */
export function showEnd({ state, sent, total, skipped, reason }: ReplayJson): string {
  const left = skipped > 0 ? `, ${skipped} of them skipped: their events are too old or pruned` : "";
  if (state === "DONE") return `Done: ${counted(sent, "message")}${left}.`;
  return `Cancelled after ${sent} of ${counted(total, "message")}${left}: ${reason ?? "no reason given"}.`;
}

/** Between two looks, in milliseconds. */
const LOOK_MS = 500;
/** Looks in a row that may fail: half a minute, so that the API may be restarted meanwhile. */
const MAX_FAILED_LOOKS = 60;
/** Looks in a row without progress after which that is told: ten seconds. */
const STALLED_LOOKS = 20;
const HINT = "Is the outbox relay running, and can it reach the broker?";
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
  while (!stop.signal.aborted) {
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
  return await ask(replaySchema, `${ROOT}/${id}/cancel`, "POST").catch((error) => {
    if (!(error instanceof ApiError) || error.status !== CONFLICT) throw error;
    return ask(replaySchema, `${ROOT}/${id}`); // it has ended in the same moment
  });
}

async function run(options: ReturnType<typeof replayOptions>): Promise<number> {
  const { start, filter, url, rate, "dry-run": dryRun, yes, json } = options;
  const tell = teller(json);
  const { ask, advise } = opsApi(url, ANSWER_MS);
  const at = `${ROOT}/${start}`;
  const replay: PreparedReplay = start === undefined
    ? await ask(preparedReplaySchema, ROOT, "POST", filter)
    : { ...await ask(replaySchema, at), ...await ask(replayEventsPageSchema, `${at}/events`) };
  const { id, total } = replay;
  tell(showSet(replay).join("\n"));
  if (dryRun || total === 0) {
    const next = `Nothing has been sent. Send exactly these with: ${advise(`replay --start=${id}`)}`;
    tell(total > 0 ? next : "Nothing to send: no published event matches that has a consumer.", replay);
    return EXIT_DONE;
  }
  if (!isWanted(yes, `Send ${counted(total, "message")}, at most ${rate} a second?`)) {
    await ask(replaySchema, `${ROOT}/${id}/cancel`, "POST");
    return EXIT_NOT_DONE;
  }
  const end = await send(ask, replay, rate);
  tell(showEnd(end), end);
  return end.state === "DONE" ? EXIT_DONE : EXIT_NOT_DONE;
}

if (import.meta.main) {
  await task({
    name: "replay",
    about: "sends published events to their consumers once more",
    flags: REPLAY_FLAGS,
    groups: { "Which events, at least one of": WHICH, "How:": HOW },
    ends:
      "Ends with 0 when it is done, 1 when it was cancelled or has failed, 64 for a wrong usage, 78 for a wrong OPS_TOKEN.",
    example: "--type=order.created --from=2026-11-22T17:00:00Z --dry-run",
    run: (flags) => run(replayOptions(flags)),
  });
}
