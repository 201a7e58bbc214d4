/**
 * `deno task status`: the whole system's state in the terminal.
 *
 * @module
 */
import {
  apiUrl,
  duration,
  EXIT_DONE,
  EXIT_FOUND,
  type FlagValues,
  onOff,
  readFlags,
  runCommand,
  UsageError,
} from "./command.ts";
import {
  type LiveProcess,
  type StatusFigures,
  type SystemStatus,
  systemStatusSchema,
} from "../../shared/ops/live.ts";
import { readConfig } from "../../shared/process/config.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { aborted, pause, stopOnSignals } from "../../shared/process/stop.ts";
import { PROCESSES } from "../dev/processes.ts";
import { type AskOps, opsApi } from "./ops_api.ts";

/** A column. */
export interface Column {
  /** What stands above it. */
  readonly head: string;
  /** Its cells, from above. */
  readonly cells: readonly string[];
  /** Whether it holds figures, which stand to the right. */
  readonly isFigure?: boolean;
  /** Left away where there is no room, the highest first; without a number it stays. */
  readonly leaveAway?: number;
}

const GAP = "  ";

/**
 * The table's lines, each at most `columns` characters wide, the heads first. Where it is too wide, columns are left away
 * one by one; what is still too wide is cut, and ends in `…`.
 */
export function fitTable(table: readonly Column[], columns: number): string[] {
  const widths = table.map(({ head, cells }) => Math.max(head.length, ...cells.map((cell) => cell.length)));
  const width = widths.reduce((sum, each) => sum + each + GAP.length, -GAP.length);
  const least = leastNeeded(table);
  if (width > columns && least !== undefined) {
    return fitTable(table.filter((each) => each !== least), columns);
  }
  const rows = table[0]?.cells.length ?? 0;
  const line = (textOf: (column: Column) => string) =>
    table.map((column, i) => {
      const [text, width] = [textOf(column), widths[i] ?? 0];
      return column.isFigure ? text.padStart(width) : text.padEnd(width);
    }).join(GAP).trimEnd();
  const lines = [
    line(({ head }) => head),
    ...Array.from({ length: rows }, (_, row) => line(({ cells }) => cells[row] ?? "")),
  ];
  return lines.map((text) => cut(text, columns));
}

function leastNeeded(table: readonly Column[]): Column | undefined {
  const optional = table.filter(({ leaveAway }) => leaveAway !== undefined);
  return optional.toSorted((a, b) => (b.leaveAway ?? 0) - (a.leaveAway ?? 0))[0];
}

/** The text, at most `columns` characters of it; what was cut ends in `…`. */
export function cut(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(columns - 1, 0))}…`;
}

/** The size of a terminal, in characters. */
export interface Size {
  /** Characters in a line. */
  readonly columns: number;
  /** Lines. */
  readonly rows: number;
}

/** To the terminal's second screen (ECMA-48 and xterm's control sequences), with the cursor hidden. */
export const ENTER_SCREEN = "\x1b[?1049h\x1b[?25l";

/** Back to the first one, as it was. */
export const LEAVE_SCREEN = "\x1b[?25h\x1b[?1049l";

/**
 * A frame as one piece of text: each line is written over the old one and its rest cleared, then what is below; nothing is
 * ever blank in between. What does not fit on the screen is left away, and the last line says so. Lines may be wider than
 * the screen only where they wrap into the count of `rowsOf`. Pure.
 */
export function frameOf(lines: readonly string[], { columns, rows }: Size): string {
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
  return [
    ...services,
    ...processTroubles(figures.processes, expected, Date.parse(at)),
    ...queueTroubles(figures),
    ...outboxTroubles(figures),
    ...letterTroubles(figures),
  ];
}

function processTroubles(
  processes: readonly LiveProcess[],
  expected: readonly string[],
  nowMs: number,
): string[] {
  const silent = processes.filter(({ isStale }) => isStale).map(({ name, pid, host, seenAt }) => {
    const silence = duration((nowMs - Date.parse(seenAt)) / 1000);
    return `${name} (process ${pid} on ${host}) has been silent for ${silence}: it was killed, or is stuck`;
  });
  const missing = expected.filter((name) => !processes.some((process) => process.name === name));
  return [...silent, ...missing.map((name) => `no ${name} runs: start one with ${taskOf(name)}`)];
}

function taskOf(name: string): string {
  return name === "api" ? "deno task api" : `deno task worker:${name}`;
}

function queueTroubles({ queues }: StatusFigures): string[] {
  return (queues ?? []).filter(({ consumers }) => consumers === 0).map(({ queue, messages }) => {
    return `nobody consumes ${queue}, where ${count(messages, "message waits", "messages wait")}`;
  });
}

function outboxTroubles({ outbox: { pending, oldestSeconds } }: StatusFigures): string[] {
  if (oldestSeconds < OUTBOX_OLD_S) return [];
  const age = duration(oldestSeconds);
  return [
    `${
      count(pending, "event waits", "events wait")
    } in the outbox, the oldest for ${age}: is the relay running, ` +
    "and does the broker take it? /ops/outbox?published=false has its last error",
  ];
}

function letterTroubles({ deadLetters }: StatusFigures): string[] {
  return Object.entries(deadLetters).map(([consumer, letters]) => {
    const look = `deno task redrive --consumer=${consumer} --dry-run`;
    return `${count(letters, "dead letter", "dead letters")} of ${consumer}: look at them with ${look}`;
  });
}

function count(n: number, one: string, many: string): string {
  return `${n} ${n === 1 ? one : many}`;
}

/** How it is shown. */
export interface View {
  /** Where the API is. */
  readonly url: string;
  /** The most characters that a line may have. */
  readonly columns: number;
  /** Whether colours may be used. */
  readonly isColoured: boolean;
}

type Paint = (text: string) => string;

const LABEL_WIDTH = 10;
/** How many characters of an instance's uuid are shown: enough to tell copies apart. */
const INSTANCE_WIDTH = 8;

/** The state, with `troubles` as its last part. No line is longer than the view is wide, but for those. */
export function statusLines(status: SystemStatus, troubles: readonly string[], view: View): string[] {
  const { at, version, database, broker, figures } = status;
  const paint = (code: number): Paint => (text) => view.isColoured ? `\x1b[${code}m${text}\x1b[0m` : text;
  const [bad, good, dim] = [paint(31), paint(32), paint(2)];
  const fit = (lines: readonly string[]) => lines.map((line) => cut(line, view.columns));
  const title = cut(`OrderFlow ${version} at ${view.url}, ${at}`, view.columns);
  const service = (name: string, state: string) => `${name} ${state === "up" ? good(state) : bad(state)}`;
  const head = [title, `${service("database", database)}   ${service("broker", broker)}`, ""];
  const end = troubles.length === 0
    ? [good("Everything is in order.")]
    : [bad("Needs attention:"), ...troubles.map((trouble) => bad(`  ${trouble}`))];
  if (!figures) return [...head, ...end];
  const table = (lines: readonly string[], isBad: (row: number) => boolean) =>
    lines.map((line, i) => i === 0 ? dim(line) : isBad(i - 1) ? bad(line) : line);
  const { processes } = figures;
  const queues = queueRows(figures);
  return [
    ...head,
    ...table(
      fitTable(processColumns(processes, Date.parse(at)), view.columns),
      (row) => processes[row]?.isStale ?? false,
    ),
    "",
    ...table(fitTable(queueColumns(queues), view.columns), (row) => {
      return queues[row]?.consumers === "0" || queues[row]?.deadLetters !== "0";
    }),
    "",
    ...fit(factLines(figures)),
    "",
    ...end,
  ];
}

function processColumns(processes: readonly LiveProcess[], nowMs: number): Column[] {
  const since = (time: string) => duration((nowMs - Date.parse(time)) / 1000);
  const column = (head: string, cell: (process: LiveProcess) => string, more: Partial<Column> = {}) => {
    return { head, cells: processes.map(cell), ...more };
  };
  return [
    column("PROCESS", ({ name }) => name),
    column("INSTANCE", ({ instance }) => instance.slice(0, INSTANCE_WIDTH), { leaveAway: 2 }),
    column("HOST", ({ host }) => host, { leaveAway: 3 }),
    column("PID", ({ pid }) => String(pid), { isFigure: true }),
    column("VERSION", ({ version }) => version, { leaveAway: 1 }),
    column("UP", ({ startedAt, isStale }) => isStale ? "gone" : since(startedAt), { isFigure: true }),
    column("LAST BEAT", ({ seenAt }) => since(seenAt), { isFigure: true }),
    column("LAST BATCH", ({ lastBatchAt }) => lastBatchAt ? since(lastBatchAt) : "none", { isFigure: true }),
    column("COUNTS", ({ counts }) => listOf(counts)),
  ];
}

interface QueueRow {
  readonly queue: string;
  readonly messages: string;
  readonly consumers: string;
  readonly retries: string;
  readonly deadLetters: string;
}

/** Every queue, and whoever else has retries or dead letters; `?` for what the broker does not tell. */
function queueRows({ queues, retries, deadLetters }: StatusFigures): QueueRow[] {
  const known = new Map((queues ?? []).map((queue) => [queue.queue, queue]));
  const names = new Set([...known.keys(), ...Object.keys(retries), ...Object.keys(deadLetters)]);
  return [...names].map((queue) => ({
    queue,
    messages: String(known.get(queue)?.messages ?? "?"),
    consumers: String(known.get(queue)?.consumers ?? "?"),
    retries: String(retries[queue] ?? 0),
    deadLetters: String(deadLetters[queue] ?? 0),
  }));
}

function queueColumns(rows: readonly QueueRow[]): Column[] {
  const figures = (head: string, cell: (row: QueueRow) => string) => {
    return { head, cells: rows.map(cell), isFigure: true };
  };
  return [
    { head: "QUEUE", cells: rows.map(({ queue }) => queue) },
    figures("MESSAGES", ({ messages }) => messages),
    figures("CONSUMERS", ({ consumers }) => consumers),
    figures("RETRIES", ({ retries }) => retries),
    figures("DEAD LETTERS", ({ deadLetters }) => deadLetters),
  ];
}

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
