/**
 * `deno task status`: the whole system's state in the terminal.
 *
 * @module
 */
import {
  type Column,
  countOf,
  cut,
  duration,
  EXIT_DONE,
  EXIT_FOUND,
  flag,
  type FlagValues,
  onOff,
  readFlags,
  runCommand,
  tableLines,
  UsageError,
  usageOf,
} from "./command.ts";
import {
  type LiveProcess,
  type StatusFigures,
  type SystemStatus,
  systemStatusSchema,
} from "../../shared/ops/live.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { pause, stopOnSignals } from "../../shared/process/stop.ts";
import { PROCESSES } from "../dev/processes.ts";
import { opsApi, urlFlag } from "./ops_api.ts";

/** To the terminal's second screen (ECMA-48 and xterm's control sequences), with the cursor hidden. */
const ENTER_SCREEN = "\x1b[?1049h\x1b[?25l";
/** Back to the first one, as it was. */
const LEAVE_SCREEN = "\x1b[?25h\x1b[?1049l";

/** How many rows of a terminal a line takes; colours take none. */
function rowsOf(line: string, columns: number): number {
  // deno-lint-ignore no-control-regex -- the escape character is what colours start with
  return Math.max(Math.ceil(line.replaceAll(/\x1b\[\d+m/g, "").length / columns), 1);
}

/**
 * A frame as one piece of text: each line is written over the old one and its rest cleared, then what is below; nothing is
 * ever blank in between. What does not fit on a screen of so many characters and lines is left away, and the last line
 * says so. Pure.
 */
export function frameOf(
  lines: readonly string[],
  { columns, rows }: { readonly columns: number; readonly rows: number },
): string {
  const fits = (count: number, room: number) =>
    lines.slice(0, count).reduce((used, line) => used + rowsOf(line, columns), 0) <= room;
  let count = lines.length;
  if (!fits(count, rows)) { while (count > 0 && !fits(count, rows - 1)) count--; // the last row is for the hint
   }
  const hidden = lines.length - count;
  const hint = hidden > 0 ? [`… ${hidden} more lines: make the window larger`.slice(0, columns)] : [];
  return `\x1b[H${[...lines.slice(0, count), ...hint].map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`;
}

/** An event that waits this long for the relay, in seconds, is not on its way: the relay looks every second. */
const OUTBOX_OLD_S = 30;

/**
 * What needs attention, a sentence each, with what to do; none where everything is in order. `expected` are the names of
 * the processes that there must be; `advise` makes a command out of a task.
 */
export function findTroubles(
  { at, database, broker, figures }: SystemStatus,
  expected: readonly string[],
  advise: (task: string, isOfApi?: boolean) => string,
): string[] {
  const services = [
    ...database === "up" ? [] : ["the database cannot be reached: nothing goes on until it is back"],
    ...broker === "up" ? [] : ["the broker cannot be reached: events wait in the outbox until it is back"],
  ];
  if (!figures) {
    const late = "the database does not answer in time: there are no figures";
    return database === "up" ? [...services, late] : services;
  }
  const { processes, queues, outbox: { pending, oldestSeconds }, deadLetters } = figures;
  const silent = processes.filter(({ isStale }) => isStale).map(({ name, pid, host, seenAt }) => {
    const silence = duration((Date.parse(at) - Date.parse(seenAt)) / 1000);
    return `${name} (process ${pid} on ${host}) has been silent for ${silence}: it was killed, or is stuck`;
  });
  const missing = expected.filter((name) => !processes.some((process) => process.name === name)).map((name) =>
    `no ${name} runs: start one with ${advise(name === "api" ? name : `worker:${name}`, false)}`
  );
  const unheard = (queues ?? []).filter(({ consumers }) => consumers === 0).map(({ queue, messages }) =>
    `nobody consumes ${queue}, where ${countOf(messages, "message waits", "messages wait")}`
  );
  const unsent = oldestSeconds < OUTBOX_OLD_S ? [] : [
    `${countOf(pending, "event waits", "events wait")} in the outbox, the oldest for ${
      duration(oldestSeconds)
    }: ` +
    "is the relay running, and does the broker take it? /ops/outbox?published=false has its last error",
  ];
  const letters = Object.entries(deadLetters).map(([consumer, count]) => {
    const look = advise(`redrive --consumer=${consumer} --dry-run`);
    return `${countOf(count, "dead letter")} of ${consumer}: look at them with ${look}`;
  });
  return [...services, ...silent, ...missing, ...unheard, ...unsent, ...letters];
}

interface View {
  readonly url: string;
  /** The most characters that a line may have. */
  readonly columns: number;
  readonly isColoured: boolean;
}

/**
 * The state, what needs attention first. With everything in order it fits 80 columns of 24 lines. No line is longer than
 * the view is wide, but for the `troubles`: what they advise is to be pasted.
 */
export function statusLines(status: SystemStatus, troubles: readonly string[], view: View): string[] {
  const { at, version, database, broker, figures } = status;
  const paint = (code: number) => (text: string) => view.isColoured ? `\x1b[${code}m${text}\x1b[0m` : text;
  const [bad, good, dim] = [paint(31), paint(32), paint(2)];
  const service = (name: string, state: string) => `${name} ${state === "up" ? good(state) : bad(state)}`;
  const table = <R>(rows: readonly R[], columns: readonly Column<R>[], isBad: (row: R) => boolean) => {
    const [heads = "", ...lines] = tableLines(rows, columns, view.columns);
    return ["", dim(heads), ...rows.map((row, i) => isBad(row) ? bad(lines[i] ?? "") : lines[i] ?? "")];
  };
  return [
    cut(`OrderFlow ${version} at ${view.url}, ${at}`, view.columns),
    `${service("database", database)}   ${service("broker", broker)}${
      figures ? `   faults ${figures.faults ? "on" : "off"}` : ""
    }`,
    ...troubles.length === 0
      ? [good("Everything is in order.")]
      : [bad("Needs attention:"), ...troubles.map((trouble) => bad(`  ${trouble}`))],
    ...figures
      ? [
        ...table(figures.processes, processColumns(Date.parse(at)), ({ isStale }) => isStale),
        ...table(queueRows(figures), QUEUE_COLUMNS, (row) => row.consumers === 0 || row.deadLetters > 0),
        ...factLines(figures).map((line) => cut(line, view.columns)),
      ]
      : [],
  ];
}

function processColumns(nowMs: number): Column<LiveProcess>[] {
  const since = (time: string) => duration((nowMs - Date.parse(time)) / 1000, 1);
  return [
    { head: "PROCESS", cell: ({ name }) => name },
    { head: "INSTANCE", cell: ({ instance }) => instance.slice(0, 8), leaveAway: 4 }, // tells copies apart
    { head: "HOST", cell: ({ host }) => host, leaveAway: 5 },
    { head: "PID", cell: ({ pid }) => `${pid}`, isFigure: true, leaveAway: 2 },
    { head: "VERSION", cell: ({ version }) => version, leaveAway: 3 },
    { head: "UP", cell: ({ startedAt, isStale }) => isStale ? "gone" : since(startedAt), isFigure: true },
    { head: "BEAT", cell: ({ seenAt }) => since(seenAt), isFigure: true },
    {
      head: "BATCH",
      cell: ({ lastBatchAt }) => lastBatchAt ? since(lastBatchAt) : "none",
      isFigure: true,
      leaveAway: 1,
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
  { head: "CONSUMERS", cell: ({ consumers }) => `${consumers ?? "?"}`, isFigure: true, leaveAway: 1 },
  { head: "RETRIES", cell: ({ retries }) => `${retries}`, isFigure: true },
  { head: "LETTERS", cell: ({ deadLetters }) => `${deadLetters}`, isFigure: true },
];

function factLines({ outbox, orders, latency, rates, replays, faults }: StatusFigures): string[] {
  const oldest = outbox.pending > 0 ? `, the oldest for ${duration(outbox.oldestSeconds)}` : "";
  const newest = Object.values(orders).reduce((sum, count) => sum + count, 0);
  const ms = (value: number | null) => `${value?.toFixed(0) ?? "?"} ms`;
  const perSecond = rates.orders >= 0.05 ? `; ${rates.orders.toFixed(1)}/s come in` : "";
  const armed = (faults ?? []).map(({ point, consumer, times }) =>
    `${times} x ${point}${consumer === null ? "" : ` at ${consumer}`}`
  );
  const facts = [
    ["outbox", `${outbox.pending} waiting${oldest}`],
    ["orders", newest === 0 ? "none yet" : `of the newest ${newest}: ${listOf(orders)}${perSecond}`],
    ...latency.p50 === null
      ? []
      : [["latency", `half of them ended within ${ms(latency.p50)}, 99 % within ${ms(latency.p99)}`]],
    ...replays.map(({ id, sent, total, lastError }) => [
      "replay",
      `${id}: ${sent} of ${total} messages sent${lastError === null ? "" : `, ${lastError}`}`,
    ]),
    ...armed.length > 0 ? [["faults", armed.join(", ")]] : [],
  ];
  return facts.map(([label = "", text]) => `${label.padEnd(10)}${text}`);
}

/** The largest first: what is cut off on a narrow terminal matters least. */
function listOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts).filter(([, count]) => count > 0).toSorted(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${count}`).join(", ");
}

const FLAGS = {
  watch: flag(onOff, "draw it again every second, until Ctrl-C"),
  url: urlFlag,
  json: flag(onOff, 'print one JSON object; "attention" lists what needs it'),
};
const ENDS =
  `Needs attention: a database or broker that is away, a process that is silent or missing, a queue without a consumer,
events that wait in the outbox for half a minute, dead letters.

Ends with 0 where everything is in order (and after --watch), 1 where the API cannot be asked, 2 where something needs
attention, 64 for a wrong usage, 78 for a wrong OPS_TOKEN.`;
const usage = usageOf("status", "the whole system's state", { "How:": FLAGS }, ENDS, "--watch");

/** The API asks the database and the broker, which may take two seconds and one; in milliseconds. */
const ANSWER_MS = 8000;
/** Between two looks of `--watch`, in milliseconds. */
const WATCH_MS = 1000;
const EXPECTED = PROCESSES.map(({ name }) => name);

async function run({ watch, url: given, json }: FlagValues<typeof FLAGS>): Promise<number> {
  if (json && watch) throw new UsageError("--json prints one object: leave --watch away");
  using stop = watch ? stopOnSignals(null) : null;
  const { url, ask, advise } = opsApi(given, ANSWER_MS, stop?.signal);
  const isTerminal = Deno.stdout.isTerminal();
  const look = async () => {
    const status = await ask(systemStatusSchema, "/ops/status");
    const troubles = findTroubles(status, EXPECTED, advise);
    const columns = isTerminal ? Deno.consoleSize().columns : Infinity;
    const lines = statusLines(status, troubles, { url, columns, isColoured: isTerminal && !Deno.noColor });
    return { status, troubles, lines };
  };
  if (stop) {
    await keepShowing(() => look().then(({ lines }) => lines, (error) => [messageOf(error)]), stop.signal);
    return EXIT_DONE;
  }
  const { status, troubles, lines } = await look();
  console.log(json ? JSON.stringify({ ...status, attention: troubles }) : lines.join("\n"));
  return troubles.length === 0 ? EXIT_DONE : EXIT_FOUND;
}

/** Shows the state until `stop`, whatever becomes of the API. Where nothing can be drawn over, it is printed again. */
async function keepShowing(look: () => Promise<readonly string[]>, stop: AbortSignal): Promise<void> {
  const isTerminal = Deno.stdout.isTerminal();
  const encoder = new TextEncoder();
  const write = (text: string) => void Deno.stdout.writeSync(encoder.encode(text));
  let lines: readonly string[] = [];
  if (isTerminal) write(ENTER_SCREEN);
  try {
    while (!stop.aborted) {
      const next = await look();
      if (stop.aborted) break; // which ended the look as well
      lines = next;
      write(isTerminal ? frameOf(lines, Deno.consoleSize()) : `${lines.join("\n")}\n\n`);
      await pause(WATCH_MS, stop);
    }
  } finally {
    if (isTerminal) write(`${LEAVE_SCREEN}${lines.join("\n")}\n`); // the last state stays to be read
  }
}

if (import.meta.main) {
  const read = (args: readonly string[]) => readFlags(args, FLAGS)?.flags ?? null;
  Deno.exit(await runCommand({ task: "status", usage, read, run }, Deno.args));
}
