/**
 * Structured logs: one line per thing worth knowing, JSON for machines or plain text for people.
 *
 * @module
 */
import {
  configure,
  getJsonLinesFormatter,
  getLogger,
  getTextFormatter,
  type Logger,
  type LogLevel,
} from "@logtape/logtape";
export type { Logger };

/** Up to this many things that happened together get a line each. More mean load, and are summed up in one line. */
export const ONE_BY_ONE = 4;

/**
 * Sets up the process's logs and gives its logger. `process` names the process on every line. Lines go to standard
 * output, whole and at once: a log that waits in a buffer is lost with the process that it would explain.
 */
export async function startLog(
  process: string,
  options: { readonly level: LogLevel; readonly format: "json" | "pretty" },
): Promise<Logger> {
  const format = options.format === "json"
    ? getJsonLinesFormatter({ properties: "flatten", categorySeparator: "." })
    : getTextFormatter({
      format: ({ message, record }) => `${record.level.padEnd(7)} ${message}${pairs(record.properties)}`,
    });
  const encoder = new TextEncoder();
  await configure({
    reset: true,
    sinks: { stdout: (record) => writeWhole(encoder.encode(format(record))) },
    loggers: [
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["stdout"] },
      { category: ["orderflow"], lowestLevel: options.level, sinks: ["stdout"] },
    ],
  });
  return getLogger(["orderflow", process]);
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

function writeWhole(line: Uint8Array): void {
  try {
    for (let at = 0; at < line.length;) at += Deno.stdout.writeSync(line.subarray(at));
  } catch (error) {
    // Whoever reads the log is gone, or too slow. That is no reason to stop charging and enrolling.
    if (!(error instanceof Deno.errors.BrokenPipe) && !(error instanceof Deno.errors.WouldBlock)) throw error;
  }
}
