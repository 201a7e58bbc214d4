/**
 * `deno task replay`: shows which events would be sent to their consumers once more, and has the relay send them. The
 * exit code is 0 when it is done, 1 when it was cancelled or has failed, 64 for a wrong usage, 78 for a wrong
 * configuration.
 *
 * @module
 */
import { EXIT_DONE, EXIT_NOT_DONE } from "../shared/command/exit_codes.ts";
import { UsageError } from "../shared/command/flags.ts";
import { startProgress } from "../shared/command/progress.ts";
import { runCommand } from "../shared/command/run_command.ts";
import { readConfig } from "../shared/config.ts";
import { stopOnSignals } from "../shared/stop.ts";
import { opsApi } from "./ops_client/ops_api.ts";
import { followReplay } from "./replay/follow_replay.ts";
import {
  REPLAY_ANSWER_MS,
  type ReplayApi,
  replayApi,
  type ToldReplay,
  type ToldSet,
} from "./replay/replay_api.ts";
import { readReplayFlags, type ReplayOptions, USAGE } from "./replay/replay_flags.ts";
import { countOf, showEnd, showSet } from "./replay/show_replay.ts";

if (import.meta.main) {
  Deno.exit(await runCommand({ task: "replay", usage: USAGE, read: readReplayFlags, run }, Deno.args));
}

async function run(options: ReplayOptions): Promise<number> {
  const { url, dryRun, yes, json } = options;
  const token = readConfig(["OPS_TOKEN"]).OPS_TOKEN;
  const api = replayApi(opsApi({ url, token, timeoutMs: REPLAY_ANSWER_MS }));
  const say = json ? () => {} : (line: string) => console.log(line);
  const mayAsk = Deno.stdin.isTerminal() && !json;
  if (!dryRun && !yes && !mayAsk) {
    throw new UsageError("There is nobody to ask: add --yes to send, or --dry-run to look only");
  }
  const replay = await setOf(options, api);
  showSet(replay, replay).forEach(say);
  if (dryRun || replay.total === 0) {
    if (json) console.log(JSON.stringify(replay));
    else if (replay.total === 0) say("Nothing to send: no published event matches that has a consumer.");
    else say(`Nothing has been sent. Send exactly these with: deno task replay --start=${replay.id}`);
    return EXIT_DONE;
  }
  if (!yes && !confirm(`Send ${countOf(replay.total)}, at most ${options.rate} a second?`)) {
    await api.cancel(replay.id);
    console.error("Nothing has been sent.");
    return EXIT_NOT_DONE;
  }
  const end = await send(replay, options, api);
  console.log(json ? JSON.stringify(end) : showEnd(end));
  return end.state === "DONE" ? EXIT_DONE : EXIT_NOT_DONE;
}

async function setOf({ set }: ReplayOptions, api: ReplayApi): Promise<ToldReplay & ToldSet> {
  if ("filter" in set) return await api.prepare(set.filter);
  const [replay, page] = await Promise.all([api.find(set.id), api.firstMessages(set.id)]);
  return { ...replay, ...page };
}

/** Starts the replay and follows it until it has ended; a Ctrl-C cancels it. */
async function send(
  { id, total }: ToldReplay,
  { rate }: ReplayOptions,
  api: ReplayApi,
): Promise<ToldReplay> {
  using stop = stopOnSignals(null);
  await api.start(id, rate);
  using progress = startProgress("messages", total);
  return await followReplay(api, id, {
    progress: ({ sent }) => progress.at(sent),
    stalled: ({ lastError }) => progress.say(`Nothing has moved for ten seconds. ${lastError ?? HINT}`),
  }, stop.signal);
}

const HINT = "Is the outbox relay running, and can it reach the broker?";
