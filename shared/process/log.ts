// Structured logs: one line per thing worth knowing, JSON for machines or plain text for people.

import {
  configure,
  getJsonLinesFormatter,
  getLogger,
  getTextFormatter,
  type Logger,
  type LogLevel,
  type LogRecord,
} from "@logtape/logtape";
import type { Config } from "./config.ts";
export type { Logger };

/** Up to this many things that happened together get a line each. More mean load, and are summed up in one line. */
export const ONE_BY_ONE = 4;

/**
 * How long a line waits, in milliseconds. Written at once it would hold up the event that it tells of, which is with the
 * next process by now, where there are few cores: 1.2 of 26 ms from POST to COMPLETED at rest.
 */
const WAIT_MS = 25;
/** Lines that may wait: more of them are written, and hold up what they hold up. */
const MAX_WAITING = 100;
/** Such a line leaves at once, and all that waits leaves ahead of it. */
const URGENT: ReadonlySet<LogLevel> = new Set(["warning", "error", "fatal"]);

/**
 * Sets up the process's logs and gives its logger. `process` names the process on every line. Lines go to standard output,
 * whole, within `WAIT_MS`; what explains an end does so at once, and so does the end itself, unless it is a SIGKILL.
 */
export async function startLog(
  process: string,
  { LOG_LEVEL, LOG_FORMAT }: Config<"LOG_LEVEL" | "LOG_FORMAT">,
): Promise<Logger> {
  const format = LOG_FORMAT === "json"
    ? getJsonLinesFormatter({ properties: "flatten", categorySeparator: "." })
    : getTextFormatter({
      format: ({ message, record }) => `${record.level.padEnd(7)} ${message}${pairs(record.properties)}`,
    });
  await configure({
    reset: true,
    sinks: { stdout: writeSoon(format) },
    loggers: [
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["stdout"] },
      { category: ["orderflow"], lowestLevel: LOG_LEVEL, sinks: ["stdout"] },
    ],
  });
  return getLogger(["orderflow", process]);
}

/** A line is made at once, by what is true then, and one that cannot be made is lost alone. */
function writeSoon(format: (record: LogRecord) => string): (record: LogRecord) => void {
  const encoder = new TextEncoder();
  let waiting: string[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    const lines = encoder.encode(waiting.join(""));
    waiting = [];
    writeWhole(lines);
  }

  for (const end of ["unload", "error", "unhandledrejection"]) globalThis.addEventListener(end, flush);
  return (record) => {
    waiting.push(format(record));
    if (URGENT.has(record.level) || waiting.length >= MAX_WAITING) return flush();
    if (timer !== undefined) return;
    timer = setTimeout(flush, WAIT_MS);
    Deno.unrefTimer(timer); // the end flushes, too
  };
}

function pairs(properties: Record<string, unknown>): string {
  return Object.entries(properties)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([key, value]) => `  ${key}=${value instanceof Error ? value.message : shown(value)}`)
    .join("");
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function writeWhole(lines: Uint8Array): void {
  try {
    for (let at = 0; at < lines.length;) at += Deno.stdout.writeSync(lines.subarray(at));
  } catch {
    // Whoever reads the log is gone or too slow, or the disk is full. That is no reason to stop charging and enrolling.
  }
}
