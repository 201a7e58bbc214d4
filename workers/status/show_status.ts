/**
 * The state of the system as lines of text. All pure.
 *
 * @module
 */
import { duration } from "../../shared/command/duration.ts";
import type { LiveProcess } from "../../shared/live.ts";
import type { StatusFigures, SystemStatus } from "../../shared/status.ts";
import { type Column, cut, fitTable } from "./fit_table.ts";

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
