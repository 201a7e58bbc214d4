/**
 * `deno task status`: the whole system's state, as a table in a terminal. The exit code is 0 where everything is in order,
 * 1 where the API cannot be asked, 2 where something needs attention, 64 for a wrong usage, 78 for a wrong configuration.
 *
 * @module
 */
import { EXIT_DONE, EXIT_FOUND } from "../shared/command/exit_codes.ts";
import { apiUrl, type FlagValues, onOff, readFlags, UsageError } from "../shared/command/flags.ts";
import { runCommand } from "../shared/command/run_command.ts";
import { readConfig } from "../shared/config.ts";
import { messageOf } from "../shared/errors.ts";
import { systemStatusSchema } from "../shared/status.ts";
import { aborted, pause, stopOnSignals } from "../shared/stop.ts";
import { PROCESSES } from "./dev/processes.ts";
import { type AskOps, opsApi } from "./ops_client/ops_api.ts";
import { findTroubles } from "./status/find_troubles.ts";
import { ENTER_SCREEN, frameOf, LEAVE_SCREEN } from "./status/screen.ts";
import { statusLines } from "./status/show_status.ts";

const USAGE = `deno task status: the whole system's state

  --watch                      draw it again every second, until Ctrl-C
  --url=http://127.0.0.1:8000  where the API is; OPS_TOKEN is sent to it where that is set
  --json                       print one JSON object; "attention" lists what needs it
  --help                       print this

Needs attention: a database or broker that is away, a process that is silent or missing, a queue without a consumer,
events that wait in the outbox for half a minute, dead letters.

Ends with 0 where everything is in order (and after --watch), 1 where the API cannot be asked, 2 where something needs
attention, 64 for a wrong usage, 78 for a wrong OPS_TOKEN.

Example: deno task status --watch`;

const FLAGS = { watch: onOff, url: apiUrl, json: onOff };

type StatusFlags = FlagValues<typeof FLAGS>;

/** The API asks the database and the broker, which may take two seconds and one; in milliseconds. */
const ANSWER_MS = 8000;
/** Between two looks of `--watch`, in milliseconds. */
const WATCH_MS = 1000;
const EXPECTED = PROCESSES.map(({ name }) => name);

if (import.meta.main) {
  Deno.exit(await runCommand({ task: "status", usage: USAGE, read: readStatusFlags, run }, Deno.args));
}

function readStatusFlags(args: readonly string[]): StatusFlags | null {
  const flags = readFlags(args, FLAGS)?.flags ?? null;
  if (flags?.json && flags.watch) throw new UsageError("--json prints one object: leave --watch away");
  return flags;
}

async function run({ watch, url, json }: StatusFlags): Promise<number> {
  const ask = opsApi({ url, token: readConfig(["OPS_TOKEN"]).OPS_TOKEN, timeoutMs: ANSWER_MS });
  if (watch) return await keepShowing(url, ask);
  const { status, troubles } = await look(ask);
  if (json) console.log(JSON.stringify({ ...status, attention: troubles }));
  else console.log(statusLines(status, troubles, viewOf(url)).join("\n"));
  return troubles.length === 0 ? EXIT_DONE : EXIT_FOUND;
}

async function look(ask: AskOps) {
  const status = await ask(systemStatusSchema, "GET", "/ops/status");
  return { status, troubles: findTroubles(status, EXPECTED) };
}

function viewOf(url: string) {
  const isTerminal = Deno.stdout.isTerminal();
  return {
    url,
    columns: isTerminal ? Deno.consoleSize().columns : Infinity,
    isColoured: isTerminal && !Deno.noColor,
  };
}

/** Shows the state until Ctrl-C, whatever becomes of the API. Where nothing can be drawn over, it is printed again. */
async function keepShowing(url: string, ask: AskOps): Promise<number> {
  using stop = stopOnSignals(null);
  const { signal } = stop;
  const isTerminal = Deno.stdout.isTerminal();
  const encoder = new TextEncoder();
  const write = (text: string) => void Deno.stdout.writeSync(encoder.encode(text));
  let lines: readonly string[] = [];
  if (isTerminal) write(ENTER_SCREEN);
  try {
    while (!signal.aborted) {
      const next = await Promise.race([linesOf(url, ask), aborted(signal)]);
      if (!next) break;
      lines = next;
      write(isTerminal ? frameOf(lines, Deno.consoleSize()) : `${lines.join("\n")}\n\n`);
      await pause(WATCH_MS, signal);
    }
  } finally {
    if (isTerminal) write(`${LEAVE_SCREEN}${lines.join("\n")}\n`); // the last state stays to be read
  }
  return EXIT_DONE;
}

async function linesOf(url: string, ask: AskOps): Promise<string[]> {
  try {
    const { status, troubles } = await look(ask);
    return statusLines(status, troubles, viewOf(url));
  } catch (error) {
    return [messageOf(error)];
  }
}
