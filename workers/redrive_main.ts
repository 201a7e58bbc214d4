/**
 * `deno task redrive`: sends dead letters to their consumers again, or discards them. The exit code is 0 when all were
 * dealt with, 1 when it was cancelled or has failed, 2 when some are left, 64 for a wrong usage, 78 for a wrong
 * configuration.
 *
 * @module
 */
import { EXIT_DONE, EXIT_FOUND, EXIT_NOT_DONE } from "../shared/command/exit_codes.ts";
import { UsageError } from "../shared/command/flags.ts";
import { startProgress } from "../shared/command/progress.ts";
import { runCommand } from "../shared/command/run_command.ts";
import { readConfig } from "../shared/config.ts";
import { stopOnSignals } from "../shared/stop.ts";
import { opsApi } from "./ops_client/ops_api.ts";
import { type LettersApi, lettersApi } from "./redrive/letters_api.ts";
import { readRedriveFlags, type RedriveOptions, USAGE } from "./redrive/redrive_flags.ts";
import { showLetters, showOutcome } from "./redrive/show_letters.ts";
import { dealWith, findLetters, type FoundLetters, type Outcome } from "./redrive/take_letters.ts";

/** How long the API may take to answer, in milliseconds: the broker has five seconds for a batch. */
const ANSWER_MS = 15_000;

if (import.meta.main) {
  const read = (args: readonly string[]) => readRedriveFlags(args, Date.now());
  Deno.exit(await runCommand({ task: "redrive", usage: USAGE, read, run }, Deno.args));
}

async function run(options: RedriveOptions): Promise<number> {
  const { url, which, because, dryRun, yes, json } = options;
  if (!dryRun && !yes && (json || !Deno.stdin.isTerminal())) {
    throw new UsageError("There is nobody to ask: add --yes, or --dry-run to look only");
  }
  const token = readConfig(["OPS_TOKEN"]).OPS_TOKEN;
  const api = lettersApi(opsApi({ url, token, timeoutMs: ANSWER_MS }));
  const found = await findLetters(api, which);
  const isEmpty = found.letters.length === 0;
  if (!json) {
    (isEmpty ? ["No open dead letter matches."] : showLetters(found)).forEach((line) => console.log(line));
  }
  if (dryRun || isEmpty) {
    tell(options, found, null);
    return EXIT_DONE;
  }
  if (
    !yes && !confirm(because === null ? "Send them to their consumers again?" : "Discard them, for good?")
  ) {
    console.error("Nothing has been done.");
    return EXIT_NOT_DONE;
  }
  const outcome = await deal(api, found, because);
  tell(options, found, outcome);
  if (outcome.untouched > 0) return EXIT_NOT_DONE;
  return found.more || outcome.refused.length > 0 ? EXIT_FOUND : EXIT_DONE;
}

/** Deals with the letters; a Ctrl-C ends it behind the batch in hand. */
async function deal(api: LettersApi, { letters }: FoundLetters, because: string | null): Promise<Outcome> {
  using stop = stopOnSignals(null);
  using progress = startProgress("dead letters", letters.length);
  progress.at(0);
  return await dealWith(api, letters, { because, onProgress: progress.at, stop: stop.signal });
}

/** Says what came of the letters; null is that nothing was done. */
function tell({ because, dryRun, json }: RedriveOptions, found: FoundLetters, outcome: Outcome | null): void {
  const action = because === null ? "redrive" : "discard";
  if (json) console.log(JSON.stringify({ action, dryRun, ...found, outcome }));
  else (outcome ? showOutcome(outcome) : ["Nothing has been done."]).forEach((line) => console.log(line));
}
