/**
 * `deno task replay`: shows which events would be sent to their consumers once more, and has the relay send them. The
 * exit code is 0 when it is done, 1 when it was cancelled or has failed, 2 for a wrong usage, 78 for a wrong
 * configuration.
 *
 * @module
 */
import { ConfigError, readConfig } from "../shared/config.ts";
import { EXIT_CONFIG } from "../shared/process.ts";
import { followReplay, type Onlooker } from "./replay/follow_replay.ts";
import { ApiError, type ReplayApi, replayApi, type ToldReplay, type ToldSet } from "./replay/replay_api.ts";
import { readReplayFlags, type ReplayOptions, USAGE, UsageError } from "./replay/replay_flags.ts";
import { countOf, progressBar, showEnd, showSet } from "./replay/show_replay.ts";

const EXIT_NOT_DONE = 1;
const EXIT_USAGE = 2;
const BAD_REQUEST = 400;
const silent: Onlooker = { progress: () => {}, stalled: () => {} };

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  try {
    const options = readReplayFlags(Deno.args);
    if (options) return await run(options, replayApi(options.url, readConfig(["OPS_TOKEN"]).OPS_TOKEN));
    console.log(USAGE);
    return 0;
  } catch (error) {
    if (error instanceof ConfigError) return fail(error.message, EXIT_CONFIG);
    if (error instanceof UsageError) return fail(`${error.message}\n\n${USAGE}`, EXIT_USAGE);
    if (error instanceof ApiError) {
      return fail(error.message, error.status === BAD_REQUEST ? EXIT_USAGE : EXIT_NOT_DONE);
    }
    throw error;
  }
}

function fail(message: string, code: number): number {
  console.error(message);
  return code;
}

async function run(options: ReplayOptions, api: ReplayApi): Promise<number> {
  const { dryRun, yes, json } = options;
  const say = json ? () => {} : (line: string) => console.log(line);
  const mayAsk = Deno.stdin.isTerminal() && !json;
  if (!dryRun && !yes && !mayAsk) {
    return fail("There is nobody to ask: add --yes to send, or --dry-run to look only.", EXIT_USAGE);
  }
  const replay = await setOf(options, api);
  showSet(replay, replay).forEach(say);
  if (dryRun || replay.total === 0) {
    if (json) console.log(JSON.stringify(replay));
    else if (replay.total === 0) say("Nothing to send: no published event matches that has a consumer.");
    else say(`Nothing has been sent. Send exactly these with: deno task replay --start=${replay.id}`);
    return 0;
  }
  if (!yes && !confirm(`Send ${countOf(replay.total)}, at most ${options.rate} a second?`)) {
    await api.cancel(replay.id);
    return fail("Nothing has been sent.", EXIT_NOT_DONE);
  }
  const end = await send(replay.id, options, api);
  console.log(json ? JSON.stringify(end) : showEnd(end));
  return end.state === "DONE" ? 0 : EXIT_NOT_DONE;
}

async function setOf({ set }: ReplayOptions, api: ReplayApi): Promise<ToldReplay & ToldSet> {
  if ("filter" in set) return await api.prepare(set.filter);
  const [replay, page] = await Promise.all([api.find(set.id), api.firstMessages(set.id)]);
  return { ...replay, ...page };
}

/** Starts the replay and follows it until it has ended; a Ctrl-C cancels it. */
async function send(id: string, { rate, json }: ReplayOptions, api: ReplayApi): Promise<ToldReplay> {
  const stop = new AbortController();
  const onSignal = () => stop.abort();
  const signals = ["SIGINT", "SIGTERM"] as const;
  for (const signal of signals) Deno.addSignalListener(signal, onSignal);
  try {
    await api.start(id, rate);
    const onlooker = json ? silent : Deno.stdout.isTerminal() ? bar() : lines();
    return await followReplay(api, id, onlooker, stop.signal);
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, onSignal);
  }
}

/** Draws the bar over itself; the line ends with the replay. */
function bar(): Onlooker {
  const draw = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(text));
  return {
    progress: (replay) => draw(`\r${progressBar(replay)}\x1b[K${replay.state === "RUNNING" ? "" : "\n"}`),
    stalled: (replay) => draw(`\n${hintOf(replay)}\n`),
  };
}

/** A line for each tenth, where nothing can be drawn over. */
function lines(): Onlooker {
  let tenths = -1;
  return {
    progress(replay) {
      const now = Math.floor((replay.sent / Math.max(replay.total, 1)) * 10);
      if (now > tenths) console.log(progressBar(replay));
      tenths = now;
    },
    stalled: (replay) => console.log(hintOf(replay)),
  };
}

function hintOf({ lastError }: ToldReplay): string {
  return `Nothing has moved for ten seconds. ${
    lastError ?? "Is the outbox relay running, and can it reach the broker?"
  }`;
}
