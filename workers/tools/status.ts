/**
 * `deno task status`: the whole system's state in the terminal.
 *
 * @module
 */
import {
  apiUrl,
  type Column,
  countOf,
  cut,
  duration,
  EXIT_DONE,
  EXIT_FOUND,
  type FlagValues,
  onOff,
  readFlags,
  runCommand,
  tableLines,
  UsageError,
} from "./command.ts";
import {
  type LiveProcess,
  type StatusFigures,
  type SystemStatus,
  systemStatusSchema,
} from "../../shared/ops/live.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { aborted, pause, stopOnSignals } from "../../shared/process/stop.ts";
import { PROCESSES } from "../dev/processes.ts";
import { type AskOps, opsApi } from "./ops_api.ts";

/** To the terminal's second screen (ECMA-48 and xterm's control sequences), with the cursor hidden. */
const ENTER_SCREEN = "\x1b[?1049h\x1b[?25l";
/** Back to the first one, as it was. */
const LEAVE_SCREEN = "\x1b[?25h\x1b[?1049l";

/**
 * A frame as one piece of text: each line is written over the old one and its rest cleared, then what is below; nothing is
 * ever blank in between. What does not fit on a screen of so many characters and lines is left away, and the last line
 * says so. Lines may be wider than the screen only where they wrap into the count of `rowsOf`. Pure.
 */
export function frameOf(
  lines: readonly string[],
  { columns, rows }: { readonly columns: number; readonly rows: number },
): string {
  const shown: string[] = [];
  let used = 0;
  for (const line of lines) {
    used += rowsOf(line, columns);
    if (used > rows - 1) break; // the last row is for the hint, or free
    shown.push(line);
  }
  const hidden = lines.length - shown.length;
  const hint = hidden > 0 ? [`… ${hidden} more lines: make the window larger`.slice(0, columns)] : [];
  return `\x1b[H${[...shown, ...hint].map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`;
}

/** How many rows of a terminal a line takes; colours take none. */
function rowsOf(line: string, columns: number): number {
  // deno-lint-ignore no-control-regex -- the escape character is what colours start with
  const { length } = line.replaceAll(/\x1b\[\d+m/g, "");
  return Math.max(Math.ceil(length / columns), 1);
}

/** An event that waits this long for the relay, in seconds, is not on its way: the relay looks every second. */
const OUTBOX_OLD_S = 30;

/**
 * What needs attention, a sentence each, with what to do; none where everything is in order. `expected` are the names of
 * the processes that there must be.
 */
export function findTroubles(status: SystemStatus, expected: readonly string[]): string[] {
  const { at, database, broker, figures } = status;
  const services = [
    ...database === "up" ? [] : ["the database cannot be reached: nothing goes on until it is back"],
    ...broker === "up" ? [] : ["the broker cannot be reached: events wait in the outbox until it is back"],
  ];
  if (!figures) {
    const late = "the database does not answer in time: there are no figures";
    return database === "up" ? [...services, late] : services;
  }
  const { processes, queues, outbox, deadLetters } = figures;
  const silent = processes.filter(({ isStale }) => isStale).map(({ name, pid, host, seenAt }) => {
    const silence = duration((Date.parse(at) - Date.parse(seenAt)) / 1000);
    return `${name} (process ${pid} on ${host}) has been silent for ${silence}: it was killed, or is stuck`;
  });
  const missing = expected.filter((name) => !processes.some((process) => process.name === name))
    .map((name) => `no ${name} runs: start one with deno task ${name === "api" ? name : `worker:${name}`}`);
  const unheard = (queues ?? []).filter(({ consumers }) => consumers === 0).map(({ queue, messages }) => {
    return `nobody consumes ${queue}, where ${countOf(messages, "message waits", "messages wait")}`;
  });
  const { pending, oldestSeconds } = outbox;
  const waiting = `${countOf(pending, "event waits", "events wait")} in the outbox, the oldest for `;
  const unsent = oldestSeconds < OUTBOX_OLD_S ? [] : [
    `${waiting}${duration(oldestSeconds)}: is the relay running, and does the broker take it? ` +
    "/ops/outbox?published=false has its last error",
  ];
  const letters = Object.entries(deadLetters).map(([consumer, letters]) => {
    const look = `deno task redrive --consumer=${consumer} --dry-run`;
    return `${countOf(letters, "dead letter")} of ${consumer}: look at them with ${look}`;
  });
  return [...services, ...silent, ...missing, ...unheard, ...unsent, ...letters];
}

interface View {
  readonly url: string;
  /** The most characters that a line may have. */
  readonly columns: number;
  readonly isColoured: boolean;
}

const LABEL_WIDTH = 10;
/** How many characters of an instance's uuid are shown: enough to tell copies apart. */
const INSTANCE_WIDTH = 8;

/** The state, with `troubles` as its last part. No line is longer than the view is wide, but for those. */
export function statusLines(status: SystemStatus, troubles: readonly string[], view: View): string[] {
  const { at, version, database, broker, figures } = status;
  const paint = (code: number) => (text: string) => view.isColoured ? `\x1b[${code}m${text}\x1b[0m` : text;
  const [bad, good, dim] = [paint(31), paint(32), paint(2)];
  const service = (name: string, state: string) => `${name} ${state === "up" ? good(state) : bad(state)}`;
  const head = [
    cut(`OrderFlow ${version} at ${view.url}, ${at}`, view.columns),
    `${service("database", database)}   ${service("broker", broker)}`,
    "",
  ];
  const end = troubles.length === 0
    ? [good("Everything is in order.")]
    : [bad("Needs attention:"), ...troubles.map((trouble) => bad(`  ${trouble}`))];
  if (!figures) return [...head, ...end];
  const table = <R>(rows: readonly R[], columns: readonly Column<R>[], isBad: (row: R) => boolean) => {
    const [heads = "", ...lines] = tableLines(rows, columns, view.columns);
    return [dim(heads), ...rows.map((row, i) => isBad(row) ? bad(lines[i] ?? "") : lines[i] ?? ""), ""];
  };
  return [
    ...head,
    ...table(figures.processes, processColumns(Date.parse(at)), ({ isStale }) => isStale),
    ...table(
      queueRows(figures),
      QUEUE_COLUMNS,
      ({ consumers, deadLetters }) => consumers === 0 || deadLetters > 0,
    ),
    ...factLines(figures).map((line) => cut(line, view.columns)),
    "",
    ...end,
  ];
}

function processColumns(nowMs: number): Column<LiveProcess>[] {
  const since = (time: string) => duration((nowMs - Date.parse(time)) / 1000);
  return [
    { head: "PROCESS", cell: ({ name }) => name },
    { head: "INSTANCE", cell: ({ instance }) => instance.slice(0, INSTANCE_WIDTH), leaveAway: 2 },
    { head: "HOST", cell: ({ host }) => host, leaveAway: 3 },
    { head: "PID", cell: ({ pid }) => `${pid}`, isFigure: true },
    { head: "VERSION", cell: ({ version }) => version, leaveAway: 1 },
    { head: "UP", cell: ({ startedAt, isStale }) => isStale ? "gone" : since(startedAt), isFigure: true },
    { head: "LAST BEAT", cell: ({ seenAt }) => since(seenAt), isFigure: true },
    {
      head: "LAST BATCH",
      cell: ({ lastBatchAt }) => lastBatchAt ? since(lastBatchAt) : "none",
      isFigure: true,
    },
    { head: "COUNTS", cell: ({ counts }) => listOf(counts) },
  ];
}

/** Every queue, and whoever else has retries or dead letters; null for what the broker does not tell. */
function queueRows({ queues, retries, deadLetters }: StatusFigures) {
  const known = new Map((queues ?? []).map((queue) => [queue.queue, queue]));
  const names = new Set([...known.keys(), ...Object.keys(retries), ...Object.keys(deadLetters)]);
  return [...names].map((queue) => ({
    queue,
    messages: known.get(queue)?.messages ?? null,
    consumers: known.get(queue)?.consumers ?? null,
    retries: retries[queue] ?? 0,
    deadLetters: deadLetters[queue] ?? 0,
  }));
}

const QUEUE_COLUMNS: readonly Column<ReturnType<typeof queueRows>[number]>[] = [
  { head: "QUEUE", cell: ({ queue }) => queue },
  { head: "MESSAGES", cell: ({ messages }) => `${messages ?? "?"}`, isFigure: true },
  { head: "CONSUMERS", cell: ({ consumers }) => `${consumers ?? "?"}`, isFigure: true },
  { head: "RETRIES", cell: ({ retries }) => `${retries}`, isFigure: true },
  { head: "DEAD LETTERS", cell: ({ deadLetters }) => `${deadLetters}`, isFigure: true },
];

function factLines({ outbox, orders, latency, rates, replays, faults }: StatusFigures): string[] {
  const fact = (label: string, text: string) => `${label.padEnd(LABEL_WIDTH)}${text}`;
  const oldest = outbox.pending > 0 ? `, the oldest for ${duration(outbox.oldestSeconds)}` : "";
  const newest = Object.values(orders).reduce((sum, count) => sum + count, 0);
  const ms = (value: number | null) => `${value?.toFixed(0) ?? "?"} ms`;
  const perSecond = rates.orders >= 0.05 ? `; ${rates.orders.toFixed(1)}/s come in` : "";
  const sending = replays.map(({ id, sent, total, lastError }) => {
    return `${id}: ${sent} of ${total} messages sent${lastError === null ? "" : `, ${lastError}`}`;
  });
  const armed = (faults ?? []).map(({ point, consumer, times }) => {
    return `${times} x ${point}${consumer === null ? "" : ` at ${consumer}`}`;
  });
  return [
    fact("outbox", `${outbox.pending} waiting${oldest}`),
    fact("orders", newest === 0 ? "none yet" : `of the newest ${newest}: ${listOf(orders)}${perSecond}`),
    ...latency.p50 === null
      ? []
      : [fact("latency", `half of them ended within ${ms(latency.p50)}, 99 % within ${ms(latency.p99)}`)],
    ...(sending.length > 0 ? sending : ["none under way"]).map((text) => fact("replay", text)),
    fact("faults", faults === null ? "off" : armed.length === 0 ? "none armed" : armed.join(", ")),
  ];
}

/** The largest first: what is cut off on a narrow terminal matters least. */
function listOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts).filter(([, count]) => count > 0).toSorted(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${count}`).join(", ");
}

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

function readStatusFlags(args: readonly string[]): StatusFlags | null {
  const flags = readFlags(args, FLAGS)?.flags ?? null;
  if (flags?.json && flags.watch) throw new UsageError("--json prints one object: leave --watch away");
  return flags;
}

async function run({ watch, url, json }: StatusFlags): Promise<number> {
  const ask = opsApi(url, ANSWER_MS);
  if (watch) return await keepShowing(url, ask);
  const { status, troubles } = await look(ask);
  if (json) console.log(JSON.stringify({ ...status, attention: troubles }));
  else console.log(statusLines(status, troubles, viewOf(url)).join("\n"));
  return troubles.length === 0 ? EXIT_DONE : EXIT_FOUND;
}

async function look(ask: AskOps) {
  const status = await ask(systemStatusSchema, "/ops/status");
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

if (import.meta.main) {
  Deno.exit(await runCommand({ task: "status", usage: USAGE, read: readStatusFlags, run }, Deno.args));
}
