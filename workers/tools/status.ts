// `deno task status`: the whole system's state in the terminal, or what one order waits for.

import { stripVTControlCharacters } from "node:util";
import {
  type Column,
  cut,
  EXIT_DONE,
  EXIT_FOUND,
  flag,
  type FlagValues,
  onOff,
  tableLines,
  task,
  UsageError,
} from "./command.ts";
import {
  type LiveProcess,
  type StatusFigures,
  type SystemStatus,
  systemStatusSchema,
} from "../../shared/ops/live.ts";
import { troublesOf } from "../../shared/ops/health.ts";
import { queuesOf } from "../../shared/ops/story.ts";
import { messageOf } from "../../shared/process/errors.ts";
import { pause, stopOnSignals } from "../../shared/process/stop.ts";
import { type WhyJson, whySchema } from "../../shared/ops/answers.ts";
import { opsApi, urlFlag } from "./ops_api.ts";
import { QUEUES } from "../../shared/topology.ts";
import { duration } from "../../shared/words.ts";
import { findOneOrder, oneOrder } from "./story.ts";

/**
 * What needs attention, a sentence each, with what to do; none where everything is in order. `advise` makes a command out of
 * a task; those of workers start one, the others ask the API.
 */
export function findTroubles(
  { at, database, broker, figures }: SystemStatus,
  advise: (task: string, isOfApi?: boolean) => string,
): string[] {
  if (!figures) {
    const why = database === "up"
      ? "The database does not answer in time: there are no figures"
      : "The database cannot be reached: nothing goes on until it is back";
    return broker === "up" ? [why] : [why, "The broker cannot be reached: events wait in the outbox"];
  }
  const consumers = figures.queues?.map(({ queue }) => queue) ??
    Object.values(QUEUES).map(({ name }) => name);
  const queues = queuesOf(consumers.map((consumer) => ({ consumer, type: "" })));
  return troublesOf({ at, ...figures }, queues).flatMap(({ sentence, help, task }) => {
    if (help === null) return [];
    return [`${sentence}; ${help}${task ? ` ${advise(task, !task.startsWith("worker:"))}` : ""}`];
  });
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
    return ["", dim(heads), ...rows.map((row, i) => (isBad(row) ? bad : String)(lines[i] ?? ""))];
  };
  const services = [service("database", database), service("broker", broker)];
  const lines = [
    cut(`OrderFlow ${version} at ${view.url}, ${at}`, view.columns),
    [...services, ...figures ? [`faults ${figures.faults ? "on" : "off"}`] : []].join("   "),
    troubles.length === 0 ? good("Everything is in order.") : bad("Needs attention:"),
    ...troubles.map((trouble) => bad(`  ${trouble}`)),
  ];
  if (!figures) return lines;
  return [
    ...lines,
    ...table(figures.processes, processColumns(Date.parse(at)), ({ isStale }) => isStale),
    ...table(queueRows(figures), QUEUE_COLUMNS, (row) => row.consumers === 0 || row.deadLetters > 0),
    ...factLines(figures).map((line) => cut(line, view.columns)),
  ];
}

function processColumns(nowMs: number): Column<LiveProcess>[] {
  /** In its largest unit alone. */
  const since = (time: string) => duration(nowMs - Date.parse(time)).split(" ", 2).join(" ");
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

/** Every queue, and whoever else has retries or dead letters; `?` for what the broker does not tell. */
function queueRows({ queues, retries, deadLetters }: StatusFigures) {
  const known = new Map(queues?.map((queue) => [queue.queue, queue]));
  const names = new Set([...known.keys(), ...Object.keys(retries), ...Object.keys(deadLetters)]);
  return [...names].map((queue) => ({
    queue,
    messages: known.get(queue)?.messages ?? "?",
    consumers: known.get(queue)?.consumers ?? "?",
    retries: retries[queue] ?? 0,
    deadLetters: deadLetters[queue] ?? 0,
  }));
}

const QUEUE_COLUMNS: readonly Column<ReturnType<typeof queueRows>[number]>[] = [
  { head: "QUEUE", cell: ({ queue }) => queue },
  { head: "MESSAGES", cell: ({ messages }) => `${messages}`, isFigure: true },
  { head: "CONSUMERS", cell: ({ consumers }) => `${consumers}`, isFigure: true, leaveAway: 1 },
  { head: "RETRIES", cell: ({ retries }) => `${retries}`, isFigure: true },
  { head: "LETTERS", cell: ({ deadLetters }) => `${deadLetters}`, isFigure: true },
];

function factLines({ outbox, orders, latency, rates, replays, faults }: StatusFigures): string[] {
  const fact = (label: string, text: string) => `${label.padEnd(10)}${text}`;
  const oldest = outbox.pending > 0 ? `, the oldest for ${duration(outbox.oldestSeconds * 1000)}` : "";
  const newest = Object.values(orders).reduce((sum, count) => sum + count, 0);
  const perSecond = rates.orders >= 0.05 ? `; ${rates.orders.toFixed(1)}/s come in` : "";
  const [half, most] = [latency.p50, latency.p99].map((ms) => `${ms?.toFixed(0) ?? "?"} ms`);
  const armed = (faults ?? []).map(({ point, consumer, times }) =>
    `${times} x ${point}${consumer === null ? "" : ` at ${consumer}`}`
  );
  return [
    fact("outbox", `${outbox.pending} waiting${oldest}`),
    fact("orders", newest === 0 ? "none yet" : `of the newest ${newest}: ${listOf(orders)}${perSecond}`),
    ...latency.p50 === null
      ? []
      : [fact("latency", `half of them ended within ${half}, 99 % within ${most}`)],
    ...replays.map(({ id, sent, total, lastError }) =>
      fact("replay", `${id}: ${sent} of ${total} messages sent${lastError === null ? "" : `, ${lastError}`}`)
    ),
    ...armed.length > 0 ? [fact("faults", armed.join(", "))] : [],
  ];
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
/** The API asks the database and the broker, which may take two seconds and one; in milliseconds. */
const ANSWER_MS = 8000;
/** Between two looks of `--watch`, in milliseconds. */
const WATCH_MS = 1000;

async function run(
  { watch, url: given, json }: FlagValues<typeof FLAGS>,
  rest: readonly string[],
): Promise<number> {
  const search = oneOrder(rest);
  if (json && watch) throw new UsageError("--json prints one object: leave --watch away");
  using stop = watch ? stopOnSignals(null) : null;
  const { url, ask, advise } = opsApi(given, ANSWER_MS, stop?.signal);
  const isTerminal = Deno.stdout.isTerminal();
  const lookAtSystem = async () => {
    const status = await ask(systemStatusSchema, "/ops/status");
    const troubles = findTroubles(status, advise);
    const columns = isTerminal ? Deno.consoleSize().columns : Infinity;
    const lines = statusLines(status, troubles, { url, columns, isColoured: isTerminal && !Deno.noColor });
    return { told: { ...status, attention: troubles }, isFine: troubles.length === 0, lines };
  };
  const lookAtOrder = async (search: string) => {
    const told = await ask(whySchema, `/ops/orders/${await findOneOrder(ask, search)}/why`);
    return { told, isFine: told.action === null, lines: whyLines(told) };
  };
  const look = () => search === undefined ? lookAtSystem() : lookAtOrder(search);
  if (stop) {
    await keepShowing(() => look().then(({ lines }) => lines, (error) => [messageOf(error)]), stop.signal);
    return EXIT_DONE;
  }
  const { told, isFine, lines } = await look();
  console.log(json ? JSON.stringify(told) : lines.join("\n"));
  return isFine ? EXIT_DONE : EXIT_FOUND;
}

function whyLines({ orderId, status, since, sentence, action }: WhyJson): string[] {
  return [`Order ${orderId}: ${status}`, sentence, `Since ${since}.`, ...action === null ? [] : [action]];
}

/** To the terminal's second screen (ECMA-48 and xterm's control sequences), with the cursor hidden. */
const ENTER_SCREEN = "\x1b[?1049h\x1b[?25l";
/** Back to the first one, as it was. */
const LEAVE_SCREEN = "\x1b[?25h\x1b[?1049l";

/** Shows the state until `stop`, whatever becomes of the API. Where nothing can be drawn over, it is printed again. */
async function keepShowing(look: () => Promise<readonly string[]>, stop: AbortSignal): Promise<void> {
  const isTerminal = Deno.stdout.isTerminal();
  const write = (text: string) => void Deno.stdout.writeSync(new TextEncoder().encode(text));
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

/**
 * A frame as one piece of text: each line is written over the old one and its rest cleared, then what is below; nothing is
 * ever blank in between. What does not fit on the screen, lines that wrap counted, is left away, and the last row says so.
 */
export function frameOf(
  lines: readonly string[],
  { columns, rows }: { readonly columns: number; readonly rows: number },
): string {
  let used = 0;
  const lastRows = lines.map((line) =>
    used += Math.ceil(stripVTControlCharacters(line).length / columns) || 1
  );
  const shown = lines.filter((_, i) => (lastRows[i] ?? 0) <= (used > rows ? rows - 1 : rows));
  const hidden = lines.length - shown.length;
  const hint = hidden > 0 ? [`… ${hidden} more lines: make the window larger`.slice(0, columns)] : [];
  return `\x1b[H${[...shown, ...hint].map((line) => `${line}\x1b[K`).join("\r\n")}\x1b[J`;
}

if (import.meta.main) {
  await task({
    name: "status",
    about: "the whole system's state, or what one order waits for",
    flags: FLAGS,
    takesRest: true,
    ends:
      `Names an order, by its id, the beginning of it, or its correlation id: says what it waits for, since when, and what helps.

Needs attention: a database or broker that is away, a process that is silent or missing or has a wrong
clock, a queue without a consumer, a part that is held, events that wait in the outbox for half a minute, dead
letters; an order that an action helps on.

Ends with 0 where everything is in order (and after --watch), 1 where the API cannot be asked, 2 where something needs
attention, 64 for a wrong usage, 78 for a wrong OPS_TOKEN.`,
    example: "--watch",
    run,
  });
}
